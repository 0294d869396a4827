//! What one container was given, out of Docker's record of it: pure, and hostile input throughout.

use super::scan::CardNode;
use crate::model::CardId;
use crate::model::holder::ContainerReason;
use bollard::models::{ContainerInspectResponse, SystemInfo};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

/// The ascend runtime's own upper bound of a card number.
const MAX_CARD: u32 = 128;
const MAX_ENTRIES: usize = 4096;

/// Which of the engine's runtimes hand out cards by `ASCEND_VISIBLE_DEVICES`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Runtimes {
    default: String,
    ascend: BTreeSet<String>,
}

impl Runtimes {
    pub(crate) fn of(info: &SystemInfo) -> Self {
        let runtimes = info.runtimes.iter().flatten();
        let by_path = runtimes.filter_map(|(name, runtime)| {
            let program = runtime.path.as_deref().unwrap_or_default();
            program.contains("ascend-docker-runtime").then(|| name.clone())
        });
        Self {
            default: info.default_runtime.clone().unwrap_or_default(),
            ascend: by_path.chain(["ascend".to_owned()]).collect(),
        }
    }

    fn is_ascend(&self, named: Option<&str>) -> bool {
        let name = named.filter(|name| !name.is_empty()).unwrap_or(&self.default);
        self.ascend.contains(name)
    }
}

/// The device numbers at a path of the host.
pub(crate) type NumbersAt<'a> = dyn Fn(&Path) -> io::Result<Vec<(u32, u32)>> + 'a;

/// Device access as Docker writes it: `c 236:* rwm`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rule {
    major: Option<u32>,
    minor: Option<u32>,
}

impl Rule {
    /// `None` for rules that open no character device: of blocks, or only for making nodes.
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_ascii_whitespace();
        let (kind, numbers, access) =
            (words.next()?, words.next().unwrap_or("*:*"), words.next().unwrap_or("rwm"));
        if !matches!(kind, "c" | "a") || !access.contains(['r', 'w']) {
            return None;
        }
        // `a` means every device, whatever follows it.
        let (major, minor) = if kind == "a" { ("*", "*") } else { numbers.split_once(':')? };
        let number = |text: &str| if text == "*" { Some(None) } else { text.parse().ok().map(Some) };
        Some(Self { major: number(major)?, minor: number(minor)? })
    }

    fn covers(self, (major, minor): (u32, u32)) -> bool {
        self.major.is_none_or(|own| own == major) && self.minor.is_none_or(|own| own == minor)
    }
}

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
    privileged: bool,
    paths: Vec<PathBuf>,
    rules: Vec<Rule>,
    visible: Visible,
}

impl Claim {
    /// `None` when the record does not say: that is no answer, and not the answer *nothing*.
    pub(crate) fn of(inspect: &ContainerInspectResponse, runtimes: &Runtimes) -> Option<Self> {
        let host = inspect.host_config.as_ref()?;
        let env = inspect.config.as_ref().and_then(|config| config.env.as_deref()).unwrap_or_default();
        let devices = host.devices.iter().flatten().take(MAX_ENTRIES);
        let ascend = runtimes.is_ascend(host.runtime.as_deref());
        Some(Self {
            privileged: host.privileged.unwrap_or(false),
            paths: devices.filter_map(|device| device.path_on_host.as_ref().map(PathBuf::from)).collect(),
            rules: host
                .device_cgroup_rules
                .iter()
                .flatten()
                .take(MAX_ENTRIES)
                .filter_map(|rule| Rule::parse(rule))
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
                && let Some(id) = card_of_name(path)
            {
                names.insert(id);
            }
            numbers.extend(at);
        }
        let reason = |card: &CardNode| {
            let by_number = card.number.is_some_and(|number| {
                numbers.contains(&number) || self.rules.iter().any(|rule| rule.covers(number))
            });
            if by_number || names.contains(&card.id.0) {
                return Some(ContainerReason::Device);
            }
            let visible = match &self.visible {
                Visible::Nothing => false,
                Visible::All => true,
                Visible::Some(ids) => ids.contains(&card.id.0),
            };
            if visible {
                return Some(ContainerReason::AscendRuntime);
            }
            self.privileged.then_some(ContainerReason::Privileged)
        };
        Ok(cards.iter().filter_map(|card| reason(card).map(|reason| (card.id, reason))).collect())
    }
}

fn card_of_name(path: &Path) -> Option<u32> {
    path.file_name()?.to_str()?.strip_prefix("davinci")?.parse().ok()
}

/// The last occurrence of the variable counts, as for the runtime.
fn visible(env: &[String]) -> Visible {
    let value = env.iter().rev().find_map(|entry| entry.strip_prefix("ASCEND_VISIBLE_DEVICES="));
    let value = value.map(str::trim).unwrap_or_default();
    match value {
        "" | "void" => Visible::Nothing,
        "all" => Visible::All,
        list => Visible::Some(list.split(',').take(MAX_ENTRIES).flat_map(ids).collect()),
    }
}

/// `3`, `0-2`, `Ascend910-3` or `npu-3`; anything else the runtime refuses, so that nothing was given.
fn ids(token: &str) -> std::ops::Range<u32> {
    let none = 0..0;
    let number = |text: &str| text.parse::<u32>().ok().filter(|id| *id <= MAX_CARD);
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
mod tests {
    use super::*;
    use bollard::models::{ContainerConfig, DeviceMapping, HostConfig, Runtime};
    use std::collections::HashMap;

    fn cards() -> Vec<CardNode> {
        (0..8).map(|id| CardNode { id: CardId(id), number: Some((236, id)) }).collect()
    }

    fn container(host: HostConfig, env: &[&str]) -> ContainerInspectResponse {
        let env = Some(env.iter().map(ToString::to_string).collect());
        ContainerInspectResponse {
            host_config: Some(host),
            config: Some(ContainerConfig { env, ..ContainerConfig::default() }),
            ..ContainerInspectResponse::default()
        }
    }

    fn given(inspect: &ContainerInspectResponse, runtimes: &Runtimes) -> Vec<(u32, ContainerReason)> {
        let at = |path: &Path| {
            Ok(match path.to_str() {
                Some("/dev/davinci3") => vec![(236, 3)],
                Some("/dev/other") => vec![(236, 4)],
                Some("/dev/dir") => vec![(1, 3), (236, 5), (236, 6)],
                Some("/dev/davinci1") => vec![(240, 1)],
                _ => vec![],
            })
        };
        let claim = Claim::of(inspect, runtimes).unwrap();
        claim.cards(&cards(), &at).unwrap().into_iter().map(|(card, reason)| (card.0, reason)).collect()
    }

    fn devices(paths: &[&str]) -> HostConfig {
        let device =
            |path: &&str| DeviceMapping { path_on_host: Some((*path).into()), ..DeviceMapping::default() };
        HostConfig { devices: Some(paths.iter().map(device).collect()), ..HostConfig::default() }
    }

    fn ids_of(found: &[(u32, ContainerReason)], reason: ContainerReason) -> Vec<u32> {
        assert!(found.iter().all(|(_, got)| *got == reason), "{found:?}");
        found.iter().map(|(id, _)| *id).collect()
    }

    #[test]
    fn devices_are_known_by_number_and_by_name_when_gone() {
        let named = |paths| given(&container(devices(paths), &[]), &Runtimes::default());
        let device = ContainerReason::Device;
        assert_eq!(ids_of(&named(&["/dev/davinci3"]), device), [3]);
        assert_eq!(ids_of(&named(&["/dev/other"]), device), [4]);
        assert_eq!(ids_of(&named(&["/dev/dir"]), device), [5, 6]);
        assert_eq!(ids_of(&named(&["/dev/davinci7"]), device), [7], "a node that is gone");
        assert_eq!(named(&["/dev/davinci1", "/dev/null", ""]), [], "the name of a card, the number of none");
    }

    #[test]
    fn rules_take_in_cards() {
        for (rule, cards) in [
            ("c 236:3 rwm", vec![3]),
            ("c 236:* r", (0..8).collect()),
            ("c *:2 w", vec![2]),
            ("c *:* rwm", (0..8).collect()),
            ("a *:* rwm", (0..8).collect()),
            ("a", (0..8).collect()),
            ("b 236:3 rwm", vec![]),
            ("c 236:3 m", vec![]),
            ("c 235:* rwm", vec![]),
            ("c x:y rwm", vec![]),
            ("", vec![]),
        ] {
            let host = HostConfig { device_cgroup_rules: Some(vec![rule.into()]), ..HostConfig::default() };
            let found = given(&container(host, &[]), &Runtimes::default());
            assert_eq!(ids_of(&found, ContainerReason::Device), cards, "{rule}");
        }
    }

    #[test]
    fn the_ascend_runtime_reads_a_variable() {
        let runtimes = Runtimes { default: "runc".into(), ascend: ["ascend".to_owned()].into() };
        let host = || HostConfig { runtime: Some("ascend".into()), ..HostConfig::default() };
        for (value, cards) in [
            ("0", vec![0]),
            ("1,3", vec![1, 3]),
            ("0-2", vec![0, 1, 2]),
            ("0-1, 5,Ascend910-7", vec![0, 1, 5, 7]),
            ("npu-3", vec![3]),
            ("all", (0..8).collect()),
            ("void", vec![]),
            ("", vec![]),
            ("2-0,x,-1,0-4294967295,129,Ascend999-1", vec![]),
        ] {
            let entry = format!("ASCEND_VISIBLE_DEVICES={value}");
            let found = given(&container(host(), &["ASCEND_VISIBLE_DEVICES=6", &entry]), &runtimes);
            assert_eq!(ids_of(&found, ContainerReason::AscendRuntime), cards, "{value}");
        }
        let env = ["ASCEND_VISIBLE_DEVICES=0"];
        assert_eq!(given(&container(HostConfig::default(), &env), &runtimes), [], "another runtime");
        let default = Runtimes { default: "ascend".into(), ..runtimes };
        assert_eq!(given(&container(HostConfig::default(), &env), &default).len(), 1);
    }

    #[test]
    fn a_runtime_under_another_name_is_known_by_its_program() {
        let program = |path: &str| Runtime { path: Some(path.into()), ..Runtime::default() };
        let info = SystemInfo {
            default_runtime: Some("npu".into()),
            runtimes: Some(HashMap::from([
                ("npu".into(), program("/usr/local/Ascend/Ascend-Docker-Runtime/ascend-docker-runtime")),
                ("runc".into(), program("runc")),
            ])),
            ..SystemInfo::default()
        };
        let runtimes = Runtimes::of(&info);
        assert!(
            runtimes.is_ascend(None) && runtimes.is_ascend(Some("npu")) && runtimes.is_ascend(Some("ascend"))
        );
        assert!(!runtimes.is_ascend(Some("runc")));
    }

    #[test]
    fn privileged_has_every_card_and_the_nearest_reason_is_told() {
        let host = HostConfig { privileged: Some(true), ..devices(&["/dev/davinci3"]) };
        let found = given(&container(host, &[]), &Runtimes::default());
        assert_eq!(found.len(), 8);
        assert_eq!(found[3], (3, ContainerReason::Device));
        assert_eq!(found[0], (0, ContainerReason::Privileged));
    }

    #[test]
    fn what_cannot_be_looked_at_is_an_error() {
        let claim = Claim::of(&container(devices(&["/dev/x"]), &[]), &Runtimes::default()).unwrap();
        let denied = |_: &Path| Err(io::Error::from(io::ErrorKind::PermissionDenied));
        assert!(claim.cards(&cards(), &denied).is_err());
        assert!(Claim::of(&ContainerInspectResponse::default(), &Runtimes::default()).is_none());
    }
}
