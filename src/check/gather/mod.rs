//! `berth check`: runs all probes of a node at the same time, then judges the facts. It changes nothing.

mod docker;

use crate::accel::{self, Accelerator};
use crate::check::report::{CheckReport, CheckResult, ProbeTime, SCHEMA, Summary};
use crate::check::seen::{CheckFacts, DriverAccount, Mounted, NpuLook, SmartDisk, not_asked, silent_card};
use crate::check::{Check, FORWARD, Need, Scope, Wants};
use crate::error::flatten;
use crate::facts;
use crate::host::{Host, apart, firewall, sysctl};
use crate::model::check_facts::{CannSeen, Conflicts, HccnCard, Look, NotLooked};
use crate::model::text::plain;
use crate::profile::{Catalogue, Config, Profile};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

/// What every probe works with.
#[derive(Clone, Copy)]
struct ProbeInput<'a> {
    host: &'a dyn Host,
    accel: &'static dyn Accelerator,
    config: &'a Config,
    profile: &'a Profile,
}

/// Writes the result of a probe into the facts.
type Seen = Box<dyn FnOnce(&mut CheckFacts) + Send>;

/// Runs these checks. That takes as long as the slowest probe that they need.
pub fn run(host: &dyn Host, config: &Config, profile: &Profile, checks: &[&'static Check]) -> CheckReport {
    let began = Instant::now();
    let node = ProbeInput { host, accel: accel::of(profile), config, profile };
    let wants = Wants { profile, config };
    let needs: BTreeSet<Need> = checks
        .iter()
        .filter(|check| check.wanted(&wants).is_ok())
        .flat_map(|check| check.needs.iter().copied())
        .collect();
    let (facts, probes) = gather(node, &needs);
    let scope = Scope { facts: &facts, profile, config };
    let results: Vec<CheckResult> = checks.iter().map(|check| check.run(&scope)).collect();
    CheckReport {
        schema: SCHEMA,
        profile: profile.name.clone(),
        host: hostname(host),
        summary: Summary::of(&results),
        checks: results,
        total_ms: milliseconds(began),
        probes,
    }
}

fn hostname(host: &dyn Host) -> Option<String> {
    let name = sysctl::read(host, sysctl::HOSTNAME).ok()?;
    let name: String = name.chars().filter(|c| plain(*c) == *c).take(64).collect();
    (!name.is_empty()).then_some(name)
}

fn milliseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Runs each probe on its own thread, so that one that hangs does not delay the others.
fn gather(node: ProbeInput, needs: &BTreeSet<Need>) -> (CheckFacts, Vec<ProbeTime>) {
    let mut facts = CheckFacts::nothing(rustix::process::geteuid().is_root());
    let mut times = Vec::new();
    thread::scope(|scope| {
        let probes: Vec<_> = needs
            .iter()
            .map(|need| {
                let probe = scope.spawn(move || {
                    let began = Instant::now();
                    (look(node, *need), milliseconds(began))
                });
                (need, probe)
            })
            .collect();
        for (need, probe) in probes {
            // A probe that broke off leaves its facts unknown, and its checks say so.
            let Ok((seen, ms)) = probe.join() else { continue };
            seen(&mut facts);
            times.push(ProbeTime { probe: format!("{need:?}").to_ascii_lowercase(), ms });
        }
    });
    (facts, times)
}

fn seen<T: Send + 'static>(look: T, put: fn(&mut CheckFacts, T)) -> Seen {
    Box::new(move |facts| put(facts, look))
}

fn look(node: ProbeInput, need: Need) -> Seen {
    let ProbeInput { host, accel, config, profile } = node;
    let devices = &profile.devices;
    match need {
        Need::Npu => seen(npu(node), |facts, look| facts.npu = Ok(look)),
        Need::Board => {
            let look = accel.board(host, &config.tools, devices.cards);
            seen(untold(look), |facts, look| facts.board = look)
        }
        Need::Pci => seen(untold(accel.on_bus(host)), |facts, look| facts.pci = look),
        Need::Nodes => {
            let look = accel::nodes::examine(accel, &config.paths.dev, devices);
            seen(untold(look), |facts, look| facts.nodes = look)
        }
        Need::Driver => {
            seen(untold(facts::driver::gather(host, &driver_dir(profile))), |facts, look| facts.driver = look)
        }
        Need::Cann => seen(cann(node), |facts, look| facts.cann = look),
        Need::Hccn => seen(hccn(node), |facts, look| facts.hccn = Ok(look)),
        Need::HccnConf => {
            let look = facts::addresses::look_at_conf(host, devices.cards);
            seen(untold(look), |facts, look| facts.hccn_conf = look)
        }
        Need::Os => seen(untold(facts::os::gather(host)), |facts, look| facts.os = look),
        Need::Cpu => seen(untold(facts::cpu::gather(host)), |facts, look| facts.cpu = look),
        Need::Memory => seen(untold(facts::memory::gather(host)), |facts, look| facts.memory = look),
        Need::Sysctl => {
            let names = profile.bootstrap.sysctl.keys().map(String::as_str).chain([FORWARD]);
            seen(facts::sysctl::look(host, names), |facts, look| facts.sysctl = Ok(look))
        }
        Need::Disks => seen(untold(facts::block::gather(host)), |facts, look| facts.disks = look),
        Need::Space => seen(untold(facts::space::gather(host)), |facts, look| facts.space = look),
        Need::Mounts => seen(untold(mounts(host)), |facts, look| facts.mounts = look),
        Need::Fstab => seen(untold(facts::fstab::gather(host)), |facts, look| facts.fstab = look),
        Need::Smart => seen(smart(host), |facts, look| facts.smart = look),
        Need::Docker => seen(docker::state(config), |facts, look| facts.docker = look),
        Need::Daemon => seen(facts::daemon_file::gather(host).map_err(docker::not_looked), |facts, look| {
            facts.daemon = look;
        }),
        Need::Metadata => seen(metadata(node), |facts, look| facts.metadata_closed = look),
        Need::BridgeFilter => {
            seen(Ok(apart::can_filter_bridges(host)), |facts, look| facts.can_filter_bridges = look)
        }
        Need::Conflicts => seen(untold(conflicts(node)), |facts, look| facts.conflicts = look),
        Need::Clock => seen(facts::clock::gather(host), |facts, look| facts.clock = look),
        Need::Registries => {
            let look = docker::registries(config, &profile.check.registries);
            seen(look, |facts, look| facts.registries = look)
        }
        Need::Account => seen(account(host), |facts, look| facts.account = look),
        Need::Holders => {
            seen(docker::holders(host, accel, config, profile), |facts, look| facts.holders = Ok(look))
        }
    }
}

fn untold<T>(look: Result<T, String>) -> Look<T> {
    look.map_err(NotLooked::from)
}

fn npu(node: ProbeInput) -> NpuLook {
    let ProbeInput { host, accel, config, .. } = node;
    let facts = accel.table(host, &config.tools);
    let errors = accel.errors(host, &config.tools, &facts);
    NpuLook { tool_there: host.exists(&config.tools.npu_smi), errors, facts }
}

fn conflicts(node: ProbeInput) -> Result<Conflicts, String> {
    let words = node.accel.words();
    facts::conflicts::gather(node.host, words.plugins, words.nodes)
}

/// The mounts of this process, not of pid 1: users other than root may not read those.
fn mounts(host: &dyn Host) -> Result<Vec<Mounted>, String> {
    let lines = facts::mounts::gather_own(host)?;
    let mounted = |mut line: facts::mounts::MountLine| {
        // The mount's own come first, then those of its file system, which repeat some.
        let mut seen = BTreeSet::new();
        line.options.retain(|option| seen.insert(option.clone()));
        Mounted { target: line.target, fs_type: line.kind, options: line.options }
    };
    Ok(lines.into_iter().map(mounted).collect())
}

/// The host's directory with the driver's files, from which berths mount them.
fn driver_dir(profile: &Profile) -> PathBuf {
    let usual = Path::new(facts::driver::DRIVER);
    let mount = profile.mounts.iter().find(|mount| mount.target() == usual);
    mount.map_or_else(|| usual.to_path_buf(), |mount| mount.source.clone())
}

fn cann(node: ProbeInput) -> Look<Vec<CannSeen>> {
    let catalogue = Catalogue::load(node.host, &node.config.paths.images)
        .map_err(|error| NotLooked::from(flatten(&error).message))?;
    Ok(facts::cann::gather(node.host, catalogue.images()))
}

/// Asks each card on its own thread, so that a card that hangs does not hide the others.
fn hccn(node: ProbeInput) -> Vec<HccnCard> {
    let (host, tools) = (node.host, &node.config.tools);
    thread::scope(|scope| {
        let cards = 0..node.profile.devices.cards;
        let asked: Vec<_> =
            cards.map(|id| scope.spawn(move || facts::hccn::gather_card(host, tools, id))).collect();
        asked.into_iter().zip(0..).map(|(card, id)| card.join().unwrap_or_else(|_| silent_card(id))).collect()
    })
}

/// Asks each disk on its own thread.
fn smart(host: &dyn Host) -> Look<Vec<SmartDisk>> {
    let names = facts::smart::disks(host)?;
    Ok(thread::scope(|scope| {
        let asked: Vec<_> = names
            .into_iter()
            .map(|name| {
                let asked = name.clone();
                (name, scope.spawn(move || facts::smart::gather_disk(host, &asked)))
            })
            .collect();
        let answer = |disk: thread::ScopedJoinHandle<'_, Look<Option<bool>>>| {
            disk.join().unwrap_or_else(|_| not_asked())
        };
        asked.into_iter().map(|(name, disk)| SmartDisk { name, healthy: answer(disk) }).collect()
    }))
}

fn metadata(node: ProbeInput) -> Look<bool> {
    // Without Docker there is no chain, and asking could load modules of the kernel.
    if !node.host.exists(&node.config.docker.socket) {
        return Ok(false);
    }
    firewall::is_metadata_closed(node.host)
        .map_err(|fault| NotLooked { reason: fault.message, remedy: fault.help })
}

fn account(host: &dyn Host) -> Look<DriverAccount> {
    let name = facts::driver::account_name(host)?;
    let ids = facts::account::gather_ids(host, &name)?;
    Ok(DriverAccount { name, ids })
}

#[cfg(test)]
mod tests;
