//! The names of a disk: its serial number where no other disk has it, else the name of its namespace or logical unit.

use super::lsblk::LsblkRow;
use crate::host::block::Names;
use crate::model::disk::{DiskId, one_word};

/// What is known of a disk's names among all disks of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Called {
    /// The name that no other disk has.
    pub(super) own: Option<String>,
    pub(super) shared_serial: Option<String>,
    pub(super) wwid: Option<String>,
}

/// Chooses a unique name: two namespaces of one controller share a serial number, and so do some cheap disks.
pub(super) fn call<'a>(names: &Names, others: impl Iterator<Item = &'a Names> + Clone) -> Called {
    let is_own = |name: &String| !others.clone().any(|other| other.has(name));
    let serial = names.serial.clone().filter(is_own);
    let shared_serial = if serial.is_none() { names.serial.clone() } else { None };
    let own = serial.or_else(|| names.wwid.clone().filter(is_own));
    Called { own, shared_serial, wwid: names.wwid.clone() }
}

/// Whether a link is made from the disk itself. A link made from the disk's contents changes with them.
fn stays(link: &str) -> bool {
    !["lvm-pv-uuid-", "md-uuid-", "dm-"].iter().any(|of| link.starts_with(of))
}

fn links_of<'a>(kernel_name: &str, links: &'a [(String, String)]) -> impl Iterator<Item = &'a String> {
    links.iter().filter(move |(link, target)| target == kernel_name && stays(link)).map(|(link, _)| link)
}

/// The link that names the disk and no other: with its serial number, and the name space's number where there is one.
pub(super) fn identify(own: &str, kernel_name: &str, links: &[(String, String)]) -> Option<DiskId> {
    // `naa.5000…` is `wwn-0x5000…` there.
    let number =
        own.split_once('.').filter(|(kind, _)| matches!(*kind, "naa" | "eui")).map(|(_, number)| number);
    // udev replaces what a file name cannot have.
    let plain =
        number.unwrap_or(own).replace(|c: char| !c.is_ascii_alphanumeric() && !"-_.:".contains(c), "_");
    let named =
        links_of(kernel_name, links).filter(|link| link.contains(&plain)).max_by_key(|link| link.len());
    let link = named.or_else(|| links_of(kernel_name, links).min())?;
    Some(DiskId { serial: own.to_owned(), link: link.clone() })
}

/// What udev puts behind the serial number in a link: nothing, or the name space's number.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Serial,
    Number,
}

fn ending(link: &str, serial: &str) -> Option<Ending> {
    // udev makes one `_` of each blank.
    let one_word = |name: &str| name.split('_').filter(|word| !word.is_empty()).collect::<Vec<_>>().join("_");
    let (link, serial) = (one_word(link), one_word(serial));
    let before = link.trim_end_matches(|c: char| c.is_ascii_digit()).strip_suffix('_');
    let is_of = |name: &str| name.strip_suffix(&serial).is_some_and(|rest| rest.ends_with(['_', '-']));
    if is_of(&link) {
        Some(Ending::Serial)
    } else {
        before.filter(|before| is_of(before)).map(|_| Ending::Number)
    }
}

/// Links that fit this disk's serial number, and lead to another disk with the same number. udev lets such a link lead
/// to either disk, and after the next boot maybe to the other one. So the name stands for both.
pub(super) fn lost_links(
    kernel_name: &str,
    serial: &str,
    others: &[&str],
    links: &[(String, String)],
) -> Vec<String> {
    let has = |wanted| links_of(kernel_name, links).any(|link| ending(link, serial) == Some(wanted));
    let lost: Vec<Ending> =
        [Ending::Serial, Ending::Number].into_iter().filter(|wanted| !has(*wanted)).collect();
    let theirs = others.iter().flat_map(|other| links_of(other, links));
    theirs.filter(|link| ending(link, serial).is_some_and(|found| lost.contains(&found))).cloned().collect()
}

/// Other names that people may type for the disk.
pub(super) fn aliases(
    node: &LsblkRow,
    called: &Called,
    others: &[&str],
    links: &[(String, String)],
) -> Vec<String> {
    let mut names: Vec<String> = links_of(&node.kernel_name, links).cloned().collect();
    if let Some(serial) = &called.shared_serial {
        names.extend(lost_links(&node.kernel_name, serial, others, links));
    }
    names.extend(called.wwid.clone());
    // As lsblk prints it: udev has another one of some disks behind USB.
    names.extend(node.serial.as_deref().map(one_word));
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(serial: &str, wwid: &str) -> Names {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Names { serial: some(serial), wwid: some(wwid) }
    }

    #[test]
    fn a_disk_has_the_name_that_no_other_has() {
        let own = |mine: &Names, others: &[Names]| call(mine, others.iter());
        let first = own(&names("NV1", "eui.1"), &[names("NV2", "eui.2")]);
        assert_eq!((first.own.as_deref(), first.shared_serial), (Some("NV1"), None));
        let twin = own(&names("NV1", "eui.1"), &[names("NV1", "eui.2")]);
        assert_eq!((twin.own.as_deref(), twin.shared_serial.as_deref()), (Some("eui.1"), Some("NV1")));
        let path = own(&names("NV1", "eui.1"), &[names("NV1", "eui.1")]);
        assert_eq!((path.own, path.shared_serial.as_deref()), (None, Some("NV1")));
        assert_eq!(own(&names("", "naa.5"), &[]).own.as_deref(), Some("naa.5"));
        // Nobody can be called by the name of another.
        assert_eq!(own(&names("eui.2", ""), &[names("NV1", "eui.2")]).own, None);
    }

    #[test]
    fn the_link_has_the_name_in_it() {
        let link = |name: &str, of: &str| (name.to_owned(), of.to_owned());
        let links = [
            link("lvm-pv-uuid-x", "sda"),
            link("ata-Model_S_1", "sda"),
            link("wwn-0x5000c5", "sda"),
            link("nvme-Model_NV1", "nvme0n1"),
            link("nvme-Model_NV1_1", "nvme0n1"),
            link("nvme-eui.01", "nvme0n1"),
            link("nvme-eui.02", "nvme0n2"),
        ];
        let of = |own: &str, name: &str| identify(own, name, &links).map(|id| id.link);
        assert_eq!(of("S_1", "sda").as_deref(), Some("ata-Model_S_1"));
        assert_eq!(of("naa.5000c5", "sda").as_deref(), Some("wwn-0x5000c5"));
        assert_eq!(of("NV1", "nvme0n1").as_deref(), Some("nvme-Model_NV1_1"));
        assert_eq!(of("eui.02", "nvme0n2").as_deref(), Some("nvme-eui.02"));
        assert_eq!(of("x", "sdb"), None);
    }

    #[test]
    fn a_link_that_two_disks_mean_is_a_name_of_both() {
        let links: Vec<(String, String)> = [
            // Two namespaces of one controller.
            ("nvme-Model_PA__IR", "nvme0n2"),
            ("nvme-Model_PA__IR_1", "nvme0n1"),
            ("nvme-Model_PA__IR_2", "nvme0n2"),
            ("nvme-eui.01", "nvme0n1"),
            ("nvme-eui.02", "nvme0n2"),
            // Two disks with one serial number.
            ("nvme-Model_TWIN", "nvme2n1"),
            ("nvme-Model_TWIN_1", "nvme1n1"),
            ("nvme-eui.TWIN", "nvme1n1"),
            ("wwn-0x1", "sda"),
            ("virtio-V", "vdb"),
            ("lvm-pv-uuid-x_TWIN", "nvme1n1"),
        ]
        .map(|(link, target)| (link.to_owned(), target.to_owned()))
        .into();
        let lost = |name: &str, serial: &str, other: &str| lost_links(name, serial, &[other], &links);
        assert_eq!(lost("nvme0n1", "PA_IR", "nvme0n2"), ["nvme-Model_PA__IR"]);
        assert!(lost("nvme0n2", "PA_IR", "nvme0n1").is_empty());
        assert_eq!(lost("nvme1n1", "TWIN", "nvme2n1"), ["nvme-Model_TWIN"]);
        assert_eq!(lost("nvme2n1", "TWIN", "nvme1n1"), ["nvme-Model_TWIN_1"]);
        assert_eq!(lost("nvme3n1", "TWIN", "nvme1n1"), ["nvme-Model_TWIN_1"]);
        assert_eq!(lost("vda", "V", "vdb"), ["virtio-V"]);
        assert!(lost("sda", "WIN", "nvme1n1").is_empty());
    }
}
