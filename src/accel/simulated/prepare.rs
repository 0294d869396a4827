//! Making the simulated node under `<paths.state>/sim`.
//!
//! A second run changes nothing. Faults that were switched on stay until the profile names other ones.

use super::state::{SCHEMA, SimCard, SimState};
use crate::accel::{Accelerator as _, Ascend, Places};
use crate::error::Fault;
use crate::facts::cpu::online_cpus;
use crate::host::{Host, dirs, nodes};
use crate::model::{CardId, cpulist};
use crate::profile::{Config, Mount, Profile, Simulation};
use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};

/// Managers' minors start here, above every card's.
const FIRST_MANAGER: u32 = 100;
const TOOL_IN_CONTAINER: &str = "/usr/local/bin/npu-smi";
pub(super) const DRIVER_IN_CONTAINER: &str = "/usr/local/Ascend/driver";
const BUS_IDS: [&str; 8] = ["C1", "C2", "81", "82", "01", "02", "41", "42"];

/// Where the parts of the simulated node are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimNode {
    pub places: Places,
    /// Its state, next to the driver's version file.
    pub state: PathBuf,
}

impl SimNode {
    /// Where the parts are for a config, whether they exist or not.
    pub fn locate(config: &Config) -> Result<Self> {
        let root = config.paths.state.join("sim");
        let mount = |source: PathBuf, target: &str| Mount { source, target: Some(target.into()) };
        let places = Places {
            dev: root.join("dev"),
            npu_smi: root.join("npu-smi"),
            // The program itself and not the link to it: Docker would look for the link's target inside.
            mounts: vec![
                mount(program(config)?, TOOL_IN_CONTAINER),
                mount(root.join("driver"), DRIVER_IN_CONTAINER),
            ],
        };
        Ok(Self { places, state: root.join("driver/sim.json") })
    }

    pub fn is_prepared(&self, host: &dyn Host) -> bool {
        host.exists(&self.state)
    }
}

/// Makes the node, or completes it. Needs root, for mknod.
pub fn prepare(host: &dyn Host, config: &Config, profile: &Profile) -> Result<SimNode> {
    let Some(simulation) = &profile.simulation else {
        return Err(Fault::bug(format!("profile {} is not simulated", profile.name)).into());
    };
    let node = SimNode::locate(config)?;
    let driver = node.state.parent().unwrap_or(Path::new("/"));
    for dir in [&config.paths.state.join("sim"), &node.places.dev, &driver.to_path_buf()] {
        dirs::make_dir(dir, 0o755)?;
    }
    make_nodes(&node.places.dev, profile, simulation)?;
    let version = version_info(&simulation.driver_version);
    let version_path = driver.join("version.info");
    host.write_atomic(&version_path, version.as_bytes(), 0o644)
        .with_context(|| format!("writing {}", version_path.display()))?;
    let old = SimState::read(host, &node.state).context("reading the simulated node's state")?;
    let faults = match old {
        Some(old) if old.simulation.faults == simulation.faults => old.faults,
        _ => simulation.faults.clone(),
    };
    let cards = cards(host, profile.devices.cards);
    SimState { schema: SCHEMA, simulation: simulation.clone(), faults, cards }.write(host, &node.state)?;
    nodes::replace_symlink(&program(config)?, &node.places.npu_smi)
        .with_context(|| format!("linking {}", node.places.npu_smi.display()))?;
    Ok(node)
}

/// The program that is npu-smi under that name.
fn program(config: &Config) -> Result<PathBuf> {
    if !config.ssh.server.as_os_str().is_empty() {
        return Ok(config.ssh.server.clone());
    }
    std::env::current_exe().context("finding this program's own file")
}

fn make_nodes(dev: &Path, profile: &Profile, simulation: &Simulation) -> Result<()> {
    let cards = (0..profile.devices.cards).map(|id| (Ascend.node_name(CardId(id)), id));
    let others = profile.devices.manager.iter().chain(&profile.devices.optional).cloned();
    for (name, minor) in cards.chain(others.zip(FIRST_MANAGER..)) {
        if name.contains('/') {
            return Err(Fault::usage(format!("device `{name}` of the profile is not a plain name")).into());
        }
        let path = dev.join(name);
        nodes::make_char_node(&path, simulation.major, minor, 0o660, simulation.gid).map_err(|error| {
            let fault = Fault::host(format!("device node {} cannot be made: {error}", path.display()));
            fault.help("the simulated node needs root, on a file system that allows device nodes")
        })?;
    }
    Ok(())
}

fn version_info(driver: &str) -> String {
    format!(
        "Version={driver}\nascendhal_version=7.35.23\ncompatible_version_fw=[7.0.0,7.8.99]\npackage_version={driver}\n"
    )
}

/// Two sockets: the first half of the cards near the first half of the CPUs that are really there.
fn cards(host: &dyn Host, count: u32) -> Vec<SimCard> {
    let online: Vec<u32> = online_cpus(host).into_iter().flatten().collect();
    let (first, second) = online.split_at(online.len().div_ceil(2));
    let second = if second.is_empty() { first } else { second };
    let near = |half: &[u32]| match half {
        [] => "0".to_owned(),
        cpus => cpulist::format(&cpus.iter().copied().collect()),
    };
    (0..count)
        .zip(BUS_IDS.iter().cycle())
        .map(|(id, bus)| SimCard {
            id: CardId(id),
            // Each further eight cards in a PCI domain of their own.
            bus_id: format!("{:04X}:{bus}:00.0", id / 8),
            cpus: near(if id < count.div_ceil(2) { first } else { second }),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::FakeHost;

    #[test]
    fn halves_are_made_of_the_cpus_that_are_there() {
        let cpus = |online: &str, count| {
            let host = FakeHost::default().with_file("/sys/devices/system/cpu/online", online);
            let cards = cards(&host, count);
            (cards[0].cpus.clone(), cards[cards.len() - 1].cpus.clone())
        };
        assert_eq!(cpus("0-7\n", 8), ("0-3".into(), "4-7".into()));
        assert_eq!(cpus("2,5,7\n", 2), ("2,5".into(), "7".into()));
        assert_eq!(cpus("0\n", 8), ("0".into(), "0".into()));
        let unknown = super::cards(&FakeHost::default(), 64);
        assert_eq!((unknown[63].cpus.as_str(), unknown[63].bus_id.as_str()), ("0", "0007:42:00.0"));
    }
}
