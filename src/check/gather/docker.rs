//! What `berth check` asks the Docker Engine. Each question has a connection and a time limit of its own.

use crate::accel::{self, Accelerator, Nodes};
use crate::check::seen::{DockerState, Holders, OpenBy};
use crate::engine::{Engine, Foreign, ForeignScan, Known};
use crate::error::{Fault, FaultKind, flatten};
use crate::host::Host;
use crate::model::Holder;
use crate::model::check_facts::{Look, NotLooked};
use crate::ops::kernel::{self, Outsiders};
use crate::ops::{build, survey};
use crate::profile::{Config, Profile};
use anyhow::Result;
use std::collections::BTreeSet;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(10);

pub(super) fn state(config: &Config) -> Look<DockerState> {
    let asked = ask(async { Engine::connect(&config.docker.socket).await?.facts().await });
    let fault = match asked? {
        Ok(facts) => return Ok(DockerState::Answers(facts)),
        Err(error) => flatten(&error),
    };
    // No engine, or one of another time, is a finding, and not a look that failed.
    let remedy = match fault.kind {
        FaultKind::NoEngine => {
            "systemctl start docker; where it is not installed: berth bootstrap".to_owned()
        }
        FaultKind::EngineVersion => fault.help.unwrap_or_default(),
        _ => return Err(not_looked(fault)),
    };
    Ok(DockerState::Unusable { why: fault.message, remedy })
}

/// Turns an error into the reason why the engine was not looked at. Another user than root is told to use sudo.
pub(super) fn not_looked(fault: Fault) -> NotLooked {
    let denied = (fault.kind == FaultKind::Denied).then(|| "sudo berth check".to_owned());
    NotLooked { remedy: denied.or(fault.help), reason: fault.message }
}

/// Asks all registries at the same time.
pub(super) fn registries(config: &Config, names: &[String]) -> Look<Vec<(String, Result<(), String>)>> {
    let asked = ask(async {
        let engine = Engine::connect(&config.docker.socket).await?;
        let each = names.iter().map(|name| async { (name.clone(), engine.reach(name, LIMIT / 2).await) });
        Ok(futures_util::future::join_all(each).await)
    });
    asked?.map_err(|error| not_looked(flatten(&error)))
}

/// Who has cards: containers as the engine records it, processes as the kernel does.
pub(super) fn holders(
    host: &dyn Host,
    accel: &'static dyn Accelerator,
    config: &Config,
    profile: &Profile,
) -> Holders {
    let card_nodes = accel::nodes::scan(accel, &config.paths.dev, profile.devices.cards);
    let open = survey::open_cards(host, &card_nodes, &[]);
    let unfinished = open.unfinished.first().map(|open| {
        format!(
            "process {} ({}) has more open files than could be looked at",
            open.device.pid, open.device.name
        )
    });
    let processes = match open.not_looked.or(unfinished) {
        Some(reason) => Err(NotLooked::new(reason, "sudo berth check --only holders")),
        None => Ok(open
            .open
            .into_iter()
            .map(|open| OpenBy {
                card: open.card.0,
                pid: open.device.pid,
                name: open.device.name,
                user: open.user,
                container_id: open.device.container_id,
            })
            .collect()),
    };
    let nodes = match card_nodes.bad.first() {
        Some((card, why)) => Err(NotLooked::new(
            format!("card {card} could not be looked at: {why}"),
            "berth check --only npu.nodes",
        )),
        None => Ok(()),
    };
    Holders { nodes, containers: containers(host, accel, config, &card_nodes), processes }
}

fn containers(
    host: &dyn Host,
    accel: &'static dyn Accelerator,
    config: &Config,
    nodes: &Nodes,
) -> Look<Vec<(u32, Holder, bool)>> {
    if !host.exists(&config.docker.socket) {
        return outside(kernel::with(nodes, &Foreign::default()), &BTreeSet::new());
    }
    let asked = ask(async {
        let engine = Engine::connect(&config.docker.socket).await?;
        let berths = berths(&engine).await?;
        // With no instance of its own the scan takes every container for another's.
        let mut scan = ForeignScan::new(engine, accel, "").exempting(&config.docker.exempt);
        Ok((scan.look(&nodes.each(), &Known::default()).await?, berths))
    });
    let (foreign, berths) = asked?.map_err(|error| not_looked(flatten(&error)))?;
    outside(kernel::with(nodes, &foreign), &berths)
}

fn outside(seen: Outsiders, berths: &BTreeSet<String>) -> Look<Vec<(u32, Holder, bool)>> {
    if let Some(reason) = seen.not_looked {
        return Err(NotLooked::new(reason, "sudo berth check --only holders"));
    }
    if let Some((card, holder)) = seen.held.iter().find(|(_, holder)| !holder.is_sure()) {
        let reason = format!("card {card} has {holder}");
        return Err(NotLooked::new(reason, "sudo berth check --only holders"));
    }
    let berth = |holder: &Holder| matches!(holder, Holder::Container { id, .. } if berths.contains(id));
    Ok(seen.held.into_iter().map(|(card, holder)| (card.0, holder.clone(), berth(&holder))).collect())
}

/// The ids of berths' containers, found by labels and name together: a container from a copy of a berth's image has the
/// labels, but another name.
async fn berths(engine: &Engine) -> Result<BTreeSet<String>> {
    let named = |container: &crate::engine::OwnedContainer| {
        container.berth.as_ref().is_some_and(|berth| {
            container.container_name == build::name_of(&berth.instance, &berth.owner, &berth.name, berth.id)
        })
    };
    Ok(engine
        .list_labelled()
        .await?
        .into_iter()
        .filter(named)
        .map(|container| container.container_id)
        .collect())
}

/// Runs one question on a small runtime of its own thread.
fn ask<T>(question: impl Future<Output = Result<T>>) -> Look<Result<T>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| NotLooked::from(format!("starting the runtime: {error}")))?;
    runtime.block_on(async { tokio::time::timeout(LIMIT, question).await }).map_err(|_| {
        let limit = humantime::format_duration(LIMIT);
        NotLooked::new(
            format!("the Docker Engine did not answer within {limit}"),
            "journalctl -u docker | tail",
        )
    })
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "the tests make a root of their own")]
mod tests {
    use super::*;
    use crate::host::FakeHost;
    use crate::profile::load_profile;

    #[test]
    fn a_card_whose_node_is_none_was_not_looked_at() {
        let dev = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.paths.dev = dev.path().into();
        let host = FakeHost::default();
        let profile = load_profile(&host, &config).unwrap();
        assert_eq!(holders(&host, &accel::Ascend, &config, &profile).nodes, Ok(()), "no node, no user");
        std::fs::write(dev.path().join("davinci1"), "").unwrap();
        let found = holders(&host, &accel::Ascend, &config, &profile).nodes.unwrap_err();
        assert!(found.reason.starts_with("card 1 could not be looked at: "), "{found:?}");
    }
}
