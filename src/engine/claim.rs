//! What one container was given, out of Docker's record of it: pure, and hostile input throughout.

use super::scan::CardNode;
use super::software;
use crate::model::holder::ContainerReason;
use crate::model::{CardId, DeviceRule};
use bollard::models::{ContainerInspectResponse, DeviceRequest, SystemInfo};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

/// The ascend runtime's own upper bound of a card number.
const MAX_CARD: u32 = 128;
/// `100 + 16 * card + n`
const MAX_VNPU: u32 = 100 + 16 * (MAX_CARD + 1);
const MAX_ENTRIES: usize = 4096;

/// Which of the engine's runtimes do nothing with `ASCEND_VISIBLE_DEVICES`. Any other may hand out cards by it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Runtimes {
    default: String,
    plain: BTreeSet<String>,
}

/// Programs that are known to read nothing of Ascend's.
const PLAIN: [&str; 8] = [
    "runc",
    "docker-runc",
    "crun",
    "youki",
    "runsc",
    "kata-runtime",
    "nvidia-container-runtime",
    "sysbox-runc",
];
/// What an engine's own runtimes are called that have no program in its answer.
const BUILT_IN: [&str; 3] = ["runc", "io.containerd.runc.v2", "io.containerd.runtime.v1.linux"];

/// The program that a runtime's path leads to, behind all links; `None` when that cannot be told.
pub(crate) type ProgramAt<'a> = dyn Fn(&str) -> Option<PathBuf> + 'a;

impl Runtimes {
    pub(crate) fn of(info: &SystemInfo, program_at: &ProgramAt) -> Self {
        let runtimes = info.runtimes.iter().flatten();
        let plain = runtimes.filter(|(name, runtime)| {
            let path = runtime.path.as_deref().unwrap_or_default();
            if path.is_empty() {
                return BUILT_IN.contains(&name.as_str());
            }
            // One that is not found here is what its name says, where that is a name of the engine's own.
            let Some(program) = program_at(path) else { return BUILT_IN.contains(&name.as_str()) };
            let named = program.file_name().and_then(|name| name.to_str());
            named.is_some_and(|named| PLAIN.contains(&named))
        });
        Self {
            plain: plain.map(|(name, _)| name.clone()).collect(),
            default: info.default_runtime.clone().unwrap_or_default(),
        }
    }

    fn may_be_ascend(&self, named: Option<&str>) -> bool {
        let name = named.filter(|name| !name.is_empty()).unwrap_or(&self.default);
        !self.plain.contains(name)
    }
}

/// The device numbers at a path of the host.
pub(crate) type NumbersAt<'a> = dyn Fn(&Path) -> io::Result<Vec<(u32, u32)>> + 'a;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Visible {
    #[default]
    Nothing,
    All,
    Some(BTreeSet<u32>),
}

/// What a container was given that can be a card.
#[derive(Debug, Clone, Default)]
pub(crate) struct Claim {
    /// With Ascend's software in it. Others, such as monitors, have only what they have open.
    privileged: bool,
    requested: Visible,
    paths: Vec<PathBuf>,
    rules: Vec<DeviceRule>,
    visible: Visible,
}

impl Claim {
    /// `None` when the record does not say: that is no answer, and not the answer *nothing*.
    pub(crate) fn of(inspect: &ContainerInspectResponse, runtimes: &Runtimes) -> Option<Self> {
        let host = inspect.host_config.as_ref()?;
        let env = inspect.config.as_ref().and_then(|config| config.env.as_deref()).unwrap_or_default();
        let devices = host.devices.iter().flatten().take(MAX_ENTRIES);
        let ascend = runtimes.may_be_ascend(host.runtime.as_deref());
        let requests = host.device_requests.iter().flatten().take(MAX_ENTRIES);
        Some(Self {
            privileged: host.privileged.unwrap_or(false) && software::is_in(inspect),
            requested: requests.map(requested).fold(Visible::Nothing, Visible::and),
            paths: devices.filter_map(|device| device.path_on_host.as_ref().map(PathBuf::from)).collect(),
            rules: host
                .device_cgroup_rules
                .iter()
                .flatten()
                .take(MAX_ENTRIES)
                .filter_map(|rule| DeviceRule::parse(rule))
                .collect(),
            visible: if ascend { visible(env) } else { Visible::Nothing },
        })
    }

    /// The cards of these that it has, and how. `numbers_at` tells the device numbers at a path of the host.
    pub(crate) fn cards(
        &self,
        cards: &[CardNode],
        numbers_at: &NumbersAt,
    ) -> io::Result<BTreeMap<CardId, ContainerReason>> {
        let mut numbers = BTreeSet::new();
        let mut names = BTreeSet::new();
        for path in &self.paths {
            let at = numbers_at(path)?;
            // A node that is gone now was there when the container started.
            if at.is_empty()
                && let Some(named) = card_of_name(path)
            {
                names.insert(named);
            }
            numbers.extend(at);
        }
        let reason = |card: &CardNode| {
            let by_number = card.number.is_some_and(|number| {
                numbers.contains(&number) || self.rules.iter().any(|rule| rule.covers(number))
            });
            if by_number || names.contains(&(card.id, card.vnpu)) {
                return Some(card.vnpu.map_or(ContainerReason::Device, |_| ContainerReason::Vnpu));
            }
            if self.requested.has(card.id.0) {
                return Some(ContainerReason::Cdi);
            }
            if self.visible.has(card.id.0) {
                return Some(ContainerReason::AscendRuntime);
            }
            self.privileged.then_some(ContainerReason::Privileged)
        };
        // A card has a node of its own and those of its vNPUs; the nearest reason is told.
        let mut found = BTreeMap::<CardId, ContainerReason>::new();
        for card in cards {
            if let Some(reason) = reason(card) {
                found.entry(card.id).and_modify(|known| *known = reason.min(*known)).or_insert(reason);
            }
        }
        // A node that is gone, of a vNPU that is gone.
        for (card, vnpu) in names {
            if vnpu.is_some() && cards.iter().any(|node| node.id == card) {
                found.entry(card).or_insert(ContainerReason::Vnpu);
            }
        }
        Ok(found)
    }
}

impl Visible {
    fn has(&self, card: u32) -> bool {
        match self {
            Self::Nothing => false,
            Self::All => true,
            Self::Some(ids) => ids.contains(&card),
        }
    }

    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::All, _) | (_, Self::All) => Self::All,
            (Self::Nothing, other) | (other, Self::Nothing) => other,
            (Self::Some(left), Self::Some(right)) => Self::Some(left.into_iter().chain(right).collect()),
        }
    }
}

/// A request that names a driver of devices: CDI's `huawei.com/npu=3`, or one that is asked for by capability. What
/// stands behind a name only the driver knows, so that a name that may be a card's and has no number is all of them.
fn requested(request: &DeviceRequest) -> Visible {
    let driver = request.driver.as_deref().unwrap_or_default();
    let ids = || request.device_ids.iter().flatten().take(MAX_ENTRIES);
    if driver.eq_ignore_ascii_case("cdi") {
        return ids().map(|id| cdi_device(id)).fold(Visible::Nothing, Visible::and);
    }
    let words = request.capabilities.iter().flatten().flatten().map(String::as_str).chain([driver]);
    if !words.take(MAX_ENTRIES).any(is_of_cards) {
        return Visible::Nothing;
    }
    let named: Vec<Visible> = ids().map(|id| one_device(id)).collect();
    if named.is_empty() { Visible::All } else { named.into_iter().fold(Visible::Nothing, Visible::and) }
}

fn is_of_cards(word: &str) -> bool {
    let word = word.to_ascii_lowercase();
    ["huawei", "ascend", "davinci", "npu"].iter().any(|known| word.contains(known))
}

fn cdi_device(name: &str) -> Visible {
    match name.rsplit_once('=') {
        Some((kind, _)) if !is_of_cards(kind) => Visible::Nothing,
        Some((_, device)) => one_device(device),
        None => Visible::All,
    }
}

fn one_device(name: &str) -> Visible {
    let device = name.strip_prefix("/dev/").unwrap_or(name);
    if let Some(card) = card_of_name(Path::new(device)) {
        return Visible::Some(BTreeSet::from([card.0.0]));
    }
    let ids: BTreeSet<u32> = ids(device, MAX_CARD).collect();
    if ids.is_empty() { Visible::All } else { Visible::Some(ids) }
}

/// `davinci3`, or the vNPU `vdavinci164`, which is of card 4.
fn card_of_name(path: &Path) -> Option<(CardId, Option<u32>)> {
    let name = path.file_name()?.to_str()?;
    if let Some(vnpu) = name.strip_prefix("vdavinci") {
        let vnpu = vnpu.parse().ok()?;
        return Some((CardId::of_vnpu(vnpu)?, Some(vnpu)));
    }
    Some((CardId(name.strip_prefix("davinci")?.parse().ok()?), None))
}

/// The last occurrence of the variable counts, as for the runtime.
fn visible(env: &[String]) -> Visible {
    let value = |name: &str| {
        let value = env.iter().rev().find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='));
        value.map(str::trim).unwrap_or_default()
    };
    let vnpus = value("ASCEND_RUNTIME_OPTIONS").split(',').any(|option| option.trim() == "VIRTUAL");
    match value("ASCEND_VISIBLE_DEVICES") {
        "" | "void" => Visible::Nothing,
        "all" => Visible::All,
        list if vnpus => {
            let ids = list.split(',').take(MAX_ENTRIES).flat_map(|token| ids(token, MAX_VNPU));
            Visible::Some(ids.map(|id| CardId::of_vnpu(id).map_or(id, |card| card.0)).collect())
        }
        list => {
            Visible::Some(list.split(',').take(MAX_ENTRIES).flat_map(|token| ids(token, MAX_CARD)).collect())
        }
    }
}

/// `3`, `0-2`, `Ascend910-3` or `npu-3`; anything else the runtime refuses, so that nothing was given.
fn ids(token: &str, most: u32) -> std::ops::Range<u32> {
    let none = 0..0;
    let number = |text: &str| text.parse::<u32>().ok().filter(|id| *id <= most);
    let token = token.trim();
    if let Some(id) = number(token) {
        return id..id + 1;
    }
    let Some((left, right)) = token.split_once('-') else { return none };
    let Some(last) = number(right) else { return none };
    match number(left) {
        Some(first) if first <= last => first..last + 1,
        None if matches!(left, "Ascend910" | "Ascend310B" | "Ascend310P" | "Ascend310" | "npu") => {
            last..last + 1
        }
        _ => none,
    }
}

#[cfg(test)]
#[path = "claim_tests.rs"]
mod tests;
