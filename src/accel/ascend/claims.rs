//! How containers that berth did not start ask for these cards: variables that the Ascend runtime reads, and names of
//! devices. Also words that identify software for these cards. Pure; all input is hostile.

use super::names;
use crate::accel::{Asked, Words};
use crate::model::holder::ContainerReason;
use std::collections::BTreeSet;
use std::path::Path;

/// The variable that the runtime reads. It has ids of the host.
pub(super) const VISIBLE: &str = "ASCEND_VISIBLE_DEVICES";
const OPTIONS: &str = "ASCEND_RUNTIME_OPTIONS";
/// The ascend runtime's own upper bound of a card number.
const MAX_CARD: u32 = 128;
/// `100 + 16 * card + n`
const MAX_VNPU: u32 = 100 + 16 * (MAX_CARD + 1);
const MAX_ENTRIES: usize = 4096;

pub(super) const WORDS: Words = Words {
    plain_runtimes: &[
        "runc",
        "docker-runc",
        "crun",
        "youki",
        "runsc",
        "kata-runtime",
        "nvidia-container-runtime",
        "sysbox-runc",
    ],
    by_runtime: ContainerReason::AscendRuntime,
    devices: &["huawei", "ascend", "davinci", "npu"],
    plugins: &["ascend", "davinci", "npu"],
    nodes: names::CARD,
    // `ASCEND_TOOLKIT_HOME`, `/usr/local/Ascend`, `/dev/davinci3`, `vllm-ascend`.
    software: &["ascend", "davinci", "mindspore", "mindie", "npu-smi"],
    // `cann` is in `scanner` too.
    software_words: &["cann", "npu", "torch_npu", "dcmi"],
};

/// The last occurrence of a variable counts, as for the runtime.
pub(super) fn by_variables(env: &[String]) -> Asked {
    let value = |name: &str| {
        let value = env.iter().rev().find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='));
        value.map(str::trim).unwrap_or_default()
    };
    let vnpus = value(OPTIONS).split(',').any(|option| option.trim() == "VIRTUAL");
    match value(VISIBLE) {
        "" | "void" => Asked::Nothing,
        "all" => Asked::All,
        list if vnpus => {
            let ids = list.split(',').take(MAX_ENTRIES).flat_map(|token| ids(token, MAX_VNPU));
            Asked::Some(ids.map(|id| names::card_of_vnpu(id).map_or(id, |card| card.0)).collect())
        }
        list => {
            Asked::Some(list.split(',').take(MAX_ENTRIES).flat_map(|token| ids(token, MAX_CARD)).collect())
        }
    }
}

/// The cards that a device name asks for. A name without a number counts as all cards: only its driver knows what it
/// means.
pub(super) fn by_device(name: &str) -> Asked {
    let device = name.strip_prefix("/dev/").unwrap_or(name);
    let file = Path::new(device).file_name().and_then(|file| file.to_str());
    if let Some(named) = file.and_then(names::named) {
        return Asked::Some(BTreeSet::from([named.card.0]));
    }
    let ids: BTreeSet<u32> = ids(device, MAX_CARD).collect();
    if ids.is_empty() { Asked::All } else { Asked::Some(ids) }
}

/// The ids of `3`, `0-2`, `Ascend910-3` or `npu-3`. Empty for anything else: the runtime refuses it and gives no card.
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
