//! Who can use which card, as the kernel's own record says, and that record joined with the engine's. It only
//! reads.

use super::taken::Who;
use crate::accel::Nodes;
use crate::engine::{Foreign, Stranger};
use crate::host::cgroups::Cgroups;
use crate::host::namespaces;
use crate::model::holder::{ContainerReason, Unseen};
use crate::model::{Berth, CardId, Holder};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io;
use std::path::Path;

/// A cgroup or process that the kernel allows to use a card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    pub card: CardId,
    pub container_id: Option<String>,
    /// Its cgroup.
    pub path: String,
    pub pid: Option<u32>,
    pub reason: ContainerReason,
}

/// A process whose device nodes could not be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotSeen {
    pub card: CardId,
    pub container_id: Option<String>,
    pub pid: u32,
    pub name: String,
}

/// What was read from the kernel's record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    pub granted: Vec<Granted>,
    pub not_seen: Vec<NotSeen>,
}

/// The berths by the ids of their containers.
pub(crate) type Own = BTreeMap<String, Berth>;

/// Reads whose device cgroup or own /dev has a card. `own` are the containers of berths. An error when the record
/// cannot be read.
pub(crate) fn look(nodes: &Nodes, own: &BTreeSet<String>) -> Result<Record, String> {
    try_look(Path::new("/proc"), nodes, own)
        .map_err(|error| format!("who may open the cards' devices could not be looked at: {error}"))
}

fn try_look(proc_root: &Path, nodes: &Nodes, own: &BTreeSet<String>) -> io::Result<Record> {
    let numbers = nodes.numbers();
    let rdevs: Vec<(u32, u32)> = numbers.iter().map(|(_, rdev)| *rdev).collect();
    if rdevs.is_empty() {
        return Ok(Record::default());
    }
    let cards = |found: &[(u32, u32)]| -> BTreeSet<CardId> {
        numbers.iter().filter(|(_, rdev)| found.contains(rdev)).map(|(card, _)| *card).collect()
    };
    let cgroups = Cgroups::find(proc_root)?;
    let me = cgroups.own(proc_root)?;
    let mut found = Record::default();
    for ruled in cgroups.ruled(&rdevs)? {
        if me.as_ref() == Some(&ruled.path) {
            continue;
        }
        found.granted.extend(cards(&ruled.rdevs).into_iter().map(|card| Granted {
            card,
            container_id: ruled.container_id.clone(),
            path: ruled.path.clone(),
            pid: ruled.pid,
            reason: ContainerReason::DeviceRule,
        }));
    }
    let seen = namespaces::noded(proc_root, &cgroups, &nodes.on_host(), own)?;
    for noded in seen.noded {
        found.granted.extend(cards(&noded.rdevs).into_iter().map(|card| Granted {
            card,
            container_id: noded.container_id.clone(),
            path: noded.cgroup.clone(),
            pid: Some(noded.pid),
            reason: ContainerReason::DeviceNode,
        }));
    }
    for process in seen.not_seen {
        found.not_seen.extend(cards(&process.rdevs).into_iter().map(|card| NotSeen {
            card,
            container_id: process.container_id.clone(),
            pid: process.pid,
            name: process.name.clone(),
        }));
    }
    Ok(found)
}

/// The joined records of the engine and the kernel: who holds cards, and who is exempt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outsiders {
    pub held: Vec<(CardId, Holder)>,
    pub exempt: Vec<(CardId, Holder)>,
    /// Every container that berth did not start, with or without cards.
    pub strangers: Vec<Stranger>,
    /// Why the kernel's record could not be read; `None` when it could.
    pub not_looked: Option<String>,
}

/// Joins both records: one holder for each container and card, with the engine's reason where it has one. A berth's
/// container counts as a holder of cards that the berth was not given, because another administrator of Docker may
/// have edited the container's config.
pub(crate) fn join(foreign: &Foreign, record: &Record, own: &Own) -> Outsiders {
    let strangers: HashMap<&str, &Stranger> =
        foreign.containers.iter().map(|stranger| (stranger.id.as_str(), stranger)).collect();
    let is_exempt = |id: &str| strangers.get(id).is_some_and(|known| known.exempt);
    let mut all: Vec<(CardId, Holder)> = foreign.held.clone();
    let mut told: HashSet<(CardId, Who)> =
        all.iter().filter_map(|(card, holder)| Some((*card, Who::of(holder)?))).collect();
    for grant in &record.granted {
        let berth = grant.container_id.as_ref().and_then(|id| own.get(id));
        if berth.is_some_and(|berth| berth.cards.contains(&grant.card)) {
            continue;
        }
        let holder = holder_of(grant, berth, &strangers);
        if Who::of(&holder).is_none_or(|who| told.insert((grant.card, who))) {
            all.push((grant.card, holder));
        }
    }
    for NotSeen { card, container_id, pid, name } in &record.not_seen {
        if !container_id.as_ref().is_some_and(|id| own.contains_key(id) || is_exempt(id)) {
            let (pid, name, what) = (*pid, name.clone(), Unseen::DeviceNodes);
            all.push((*card, Holder::NotLooked { pid, name, user: None, berth: None, what }));
        }
    }
    all.sort_by_key(|(card, _)| *card);
    let (exempt, held) = all
        .into_iter()
        .partition(|(_, holder)| matches!(holder, Holder::Container { id, .. } if is_exempt(id)));
    Outsiders { held, exempt, strangers: foreign.containers.clone(), not_looked: None }
}

fn holder_of(grant: &Granted, berth: Option<&Berth>, strangers: &HashMap<&str, &Stranger>) -> Holder {
    let Granted { container_id, path, pid, reason, .. } = grant.clone();
    let Some(id) = container_id else { return Holder::Cgroup { path, pid, reason } };
    let (name, image) = match (berth, strangers.get(id.as_str())) {
        (Some(berth), _) => (berth.label(), berth.image.clone()),
        (None, Some(known)) => (known.name.clone(), known.image.clone()),
        (None, None) => (String::new(), String::new()),
    };
    Holder::Container { id, name, image, reason }
}

/// As [`join`], for a caller without a ledger: berths count as any other container.
pub(crate) fn with(nodes: &Nodes, foreign: &Foreign) -> Outsiders {
    let own = Own::new();
    match look(nodes, &BTreeSet::new()) {
        Ok(granted) => join(foreign, &granted, &own),
        Err(reason) => Outsiders { not_looked: Some(reason), ..join(foreign, &Record::default(), &own) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(card: u32, container: Option<&str>) -> Granted {
        Granted {
            card: CardId(card),
            container_id: container.map(Into::into),
            path: "/machine/x".into(),
            pid: Some(9),
            reason: ContainerReason::DeviceRule,
        }
    }

    fn container(id: &str, reason: ContainerReason) -> Holder {
        let known = id != "podman";
        let text = |text: &str| if known { text.to_owned() } else { String::new() };
        Holder::Container { id: id.into(), name: text("n"), image: text("i"), reason }
    }

    #[test]
    fn the_kernels_record_adds_whom_the_engine_does_not_tell_of() {
        let stranger =
            |id: &str, exempt| Stranger { id: id.into(), name: "n".into(), image: "i".into(), exempt };
        let device = container("docker", ContainerReason::Device);
        let foreign = Foreign {
            held: vec![
                (CardId(1), device.clone()),
                (CardId(2), container("monitor", ContainerReason::Privileged)),
            ],
            containers: vec![stranger("docker", false), stranger("monitor", true)],
        };
        let granted = [
            grant(1, Some("docker")),
            grant(4, Some("docker")),
            grant(3, Some("podman")),
            grant(3, Some("podman")),
            grant(2, Some("berth")),
            grant(5, Some("berth")),
            grant(6, None),
            grant(7, Some("monitor")),
        ];
        let hidden = |card, container: Option<&str>| NotSeen {
            card: CardId(card),
            container_id: container.map(Into::into),
            pid: 9,
            name: "x".into(),
        };
        let not_seen = vec![hidden(0, None), hidden(0, Some("monitor")), hidden(0, Some("berth"))];
        let record = Record { granted: granted.to_vec(), not_seen };
        let berth = crate::ops::cards::tests::berth(&[2]);
        let found = join(&foreign, &record, &Own::from([("berth".to_owned(), berth)]));
        let rule = ContainerReason::DeviceRule;
        let outside = Holder::Cgroup { path: "/machine/x".into(), pid: Some(9), reason: rule };
        assert_eq!(
            found.held,
            [
                (
                    CardId(0),
                    Holder::NotLooked {
                        pid: 9,
                        name: "x".into(),
                        user: None,
                        berth: None,
                        what: Unseen::DeviceNodes
                    }
                ),
                (CardId(1), device),
                (CardId(3), container("podman", rule)),
                (CardId(4), container("docker", rule)),
                // Its own card is none of a stranger's; this one it was not given.
                (
                    CardId(5),
                    Holder::Container {
                        id: "berth".into(),
                        name: "alice/a".into(),
                        image: "i".into(),
                        reason: rule
                    }
                ),
                (CardId(6), outside),
            ]
        );
        let exempt: Vec<u32> = found.exempt.iter().map(|(card, _)| card.0).collect();
        assert_eq!(exempt, [2, 7]);
    }

    /// `cargo test --release --lib -- --ignored --nocapture a_thousand_cgroups`
    #[test]
    #[ignore = "a measurement, for people"]
    #[allow(clippy::print_stdout, reason = "what it measured")]
    fn a_thousand_cgroups_cost_little() {
        for count in [2_000_u32, 4_000, 8_000] {
            let ids: Vec<String> = (0..count).map(|number| format!("{number:064x}")).collect();
            let stranger =
                |id: &String| Stranger { id: id.clone(), name: "n".into(), image: "i".into(), exempt: false };
            let foreign = Foreign { held: Vec::new(), containers: ids.iter().map(stranger).collect() };
            let granted = ids.iter().flat_map(|id| (0..8).map(|card| grant(card, Some(id)))).collect();
            let record = Record { granted, not_seen: Vec::new() };
            let began = std::time::Instant::now();
            let found = join(&foreign, &record, &Own::new());
            println!("{count} containers with 8 cards each: {:?}", began.elapsed());
            assert_eq!(found.held.len(), record.granted.len());
        }
    }
}
