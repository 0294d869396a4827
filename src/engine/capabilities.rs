//! The capabilities that a profile adds to Docker's default set, or takes from it. Pure.

use crate::model::Capability;

/// For what the profile wants: the capabilities to add to Docker's default set, and those to drop from it.
pub(super) fn changes(wanted: &[Capability]) -> (Vec<String>, Vec<String>) {
    let is_docker_s = |capability: &Capability| Capability::TAKEN.contains(capability);
    let names =
        |list: &mut dyn Iterator<Item = Capability>| list.map(|one| one.as_str().to_owned()).collect();
    let add = names(&mut Capability::ALL.into_iter().filter(|one| wanted.contains(one) && !is_docker_s(one)));
    let drop = names(&mut Capability::TAKEN.into_iter().filter(|one| !wanted.contains(one)));
    (add, drop)
}

/// Docker's default set, as bits.
const DOCKER_S: [u32; 14] = [0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31];

/// All capabilities that a berth's processes may ever have, as bits.
pub(super) fn most(wanted: &[Capability]) -> u64 {
    let without = DOCKER_S.into_iter().filter(|bit| Capability::TAKEN.iter().all(|one| one.bit() != *bit));
    without.chain(wanted.iter().map(|one| one.bit())).fold(0, |set, bit| set | 1 << bit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_docker_gives_is_taken_unless_it_is_wanted() {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(changes(&[]), (vec![], list(&["NET_RAW", "MKNOD"])));
        let wanted = [Capability::SysNice, Capability::NetRaw, Capability::SysNice];
        assert_eq!(changes(&wanted), (list(&["SYS_NICE"]), list(&["MKNOD"])));
        // CapBnd of a container of Docker's, as /proc/1/status in it says: 00000000a80425fb.
        assert_eq!(most(&Capability::TAKEN), 0xa804_25fb);
        assert_eq!(most(&[]), 0xa004_05fb);
        assert_eq!(most(&[Capability::SysNice]), 0xa084_05fb);
    }
}
