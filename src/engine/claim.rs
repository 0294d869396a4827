//! What one container was given, read from Docker's record of it. Pure. The record is hostile input.

use super::software;
use crate::accel::{Accelerator, Asked, CardNode, Named, Words};
use crate::model::holder::ContainerReason;
use crate::model::{CardId, DeviceRule};
use bollard::models::{ContainerInspectResponse, DeviceRequest, SystemInfo};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

const MAX_ENTRIES: usize = 4096;

/// The engine's runtimes that ignore a container's environment variables. Any other runtime may hand out cards by
/// them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Runtimes {
    default: String,
    plain: BTreeSet<String>,
}

/// Names of the engine's built-in runtimes, for which its answer names no program.
const BUILT_IN: [&str; 3] = ["runc", "io.containerd.runc.v2", "io.containerd.runtime.v1.linux"];

/// The program that a runtime's path leads to once all links are followed; `None` when that is not known.
pub(crate) type ProgramAt<'a> = dyn Fn(&str) -> Option<PathBuf> + 'a;

impl Runtimes {
    pub(crate) fn of(info: &SystemInfo, program_at: &ProgramAt, words: &Words) -> Self {
        let runtimes = info.runtimes.iter().flatten();
        let plain = runtimes.filter(|(name, runtime)| {
            let path = runtime.path.as_deref().unwrap_or_default();
            if path.is_empty() {
                return BUILT_IN.contains(&name.as_str());
            }
            // One that is not found here is what its name says, where that is a name of the engine's own.
            let Some(program) = program_at(path) else { return BUILT_IN.contains(&name.as_str()) };
            let named = program.file_name().and_then(|name| name.to_str());
            named.is_some_and(|named| words.plain_runtimes.contains(&named))
        });
        Self {
            plain: plain.map(|(name, _)| name.clone()).collect(),
            default: info.default_runtime.clone().unwrap_or_default(),
        }
    }

    fn may_hand_out(&self, named: Option<&str>) -> bool {
        let name = named.filter(|name| !name.is_empty()).unwrap_or(&self.default);
        !self.plain.contains(name)
    }
}

/// The device numbers at a path of the host.
pub(crate) type NumbersAt<'a> = dyn Fn(&Path) -> io::Result<Vec<(u32, u32)>> + 'a;

/// What a container was given that can be a card.
#[derive(Debug, Clone, Default)]
pub(crate) struct Claim {
    /// The container is privileged and has the cards' software in it. Without that software (a monitor, say) it
    /// holds only the cards that its processes have open.
    privileged: bool,
    requested: Asked,
    paths: Vec<PathBuf>,
    rules: Vec<DeviceRule>,
    /// The cards that its environment variables ask for, where its runtime may hand out cards by them.
    visible: Asked,
}

impl Claim {
    /// Reads the claim from Docker's record. `None` when the record is incomplete; that must not be taken for *no
    /// cards*.
    pub(crate) fn of(
        inspect: &ContainerInspectResponse,
        runtimes: &Runtimes,
        accel: &dyn Accelerator,
    ) -> Option<Self> {
        let host = inspect.host_config.as_ref()?;
        let env = inspect.config.as_ref().and_then(|config| config.env.as_deref()).unwrap_or_default();
        let devices = host.devices.iter().flatten().take(MAX_ENTRIES);
        let may_hand_out = runtimes.may_hand_out(host.runtime.as_deref());
        let requests = host.device_requests.iter().flatten().take(MAX_ENTRIES);
        Some(Self {
            privileged: host.privileged.unwrap_or(false) && software::is_in(inspect, accel.words()),
            requested: requests.map(|request| requested(request, accel)).fold(Asked::Nothing, Asked::and),
            paths: devices.filter_map(|device| device.path_on_host.as_ref().map(PathBuf::from)).collect(),
            rules: host
                .device_cgroup_rules
                .iter()
                .flatten()
                .take(MAX_ENTRIES)
                .filter_map(|rule| DeviceRule::parse(rule))
                .collect(),
            visible: if may_hand_out { accel.asked_by_variables(env) } else { Asked::Nothing },
        })
    }

    /// Which of these cards the container has, and for which reason. `numbers_at` returns the device numbers at a
    /// path of the host.
    pub(crate) fn cards(
        &self,
        cards: &[CardNode],
        numbers_at: &NumbersAt,
        accel: &dyn Accelerator,
    ) -> io::Result<BTreeMap<CardId, ContainerReason>> {
        let mut numbers = BTreeSet::new();
        let mut names = BTreeSet::new();
        for path in &self.paths {
            let at = numbers_at(path)?;
            // A node that is gone now was there when the container started.
            if at.is_empty()
                && let Some(named) =
                    path.file_name().and_then(|name| name.to_str()).and_then(|name| accel.named(name))
            {
                names.insert(named);
            }
            numbers.extend(at);
        }
        let reason = |card: &CardNode| {
            let by_number = card.number.is_some_and(|number| {
                numbers.contains(&number) || self.rules.iter().any(|rule| rule.covers(number))
            });
            if by_number || names.contains(&Named { card: card.id, part: card.part }) {
                return Some(card.part.map_or(ContainerReason::Device, |_| ContainerReason::Vnpu));
            }
            if self.requested.has(card.id) {
                return Some(ContainerReason::Cdi);
            }
            if self.visible.has(card.id) {
                return Some(accel.words().by_runtime);
            }
            self.privileged.then_some(ContainerReason::Privileged)
        };
        // A card has a node of its own and those of its parts; the nearest reason is told.
        let mut found = BTreeMap::<CardId, ContainerReason>::new();
        for card in cards {
            if let Some(reason) = reason(card) {
                found.entry(card.id).and_modify(|known| *known = reason.min(*known)).or_insert(reason);
            }
        }
        // A node that is gone, of a part that is gone.
        for Named { card, part } in names {
            if part.is_some() && cards.iter().any(|node| node.id == card) {
                found.entry(card).or_insert(ContainerReason::Vnpu);
            }
        }
        Ok(found)
    }
}

/// The cards that a device request asks for: CDI's `huawei.com/npu=3`, or a driver that is asked for by capability.
/// Only the driver knows what a name stands for. So a name that may be a card's and has no number counts as all
/// cards.
fn requested(request: &DeviceRequest, accel: &dyn Accelerator) -> Asked {
    let driver = request.driver.as_deref().unwrap_or_default();
    let ids = || request.device_ids.iter().flatten().take(MAX_ENTRIES);
    if driver.eq_ignore_ascii_case("cdi") {
        return ids().map(|id| cdi_device(id, accel)).fold(Asked::Nothing, Asked::and);
    }
    let words = request.capabilities.iter().flatten().flatten().map(String::as_str).chain([driver]);
    if !words.take(MAX_ENTRIES).any(|word| is_of_cards(word, accel.words())) {
        return Asked::Nothing;
    }
    let named: Vec<Asked> = ids().map(|id| accel.asked_by_device(id)).collect();
    if named.is_empty() { Asked::All } else { named.into_iter().fold(Asked::Nothing, Asked::and) }
}

fn is_of_cards(word: &str, words: &Words) -> bool {
    let word = word.to_ascii_lowercase();
    words.devices.iter().any(|known| word.contains(known))
}

fn cdi_device(name: &str, accel: &dyn Accelerator) -> Asked {
    match name.rsplit_once('=') {
        Some((kind, _)) if !is_of_cards(kind, accel.words()) => Asked::Nothing,
        Some((_, device)) => accel.asked_by_device(device),
        None => Asked::All,
    }
}

#[cfg(test)]
#[path = "claim_tests.rs"]
mod tests;
