//! Linux capabilities that a profile may give to berths or let them keep.

use serde::{Deserialize, Serialize};

/// No other can be given: each of these stays inside the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Capability {
    /// Raw sockets: everybody's packets on a bridge can be forged with it. Docker gives it, berth does not.
    NetRaw,
    /// Making device nodes, which the device rules forbid to open. Docker gives it, berth does not.
    Mknod,
    /// Docker's system call filter lets NUMA calls through with it (`numactl -m`).
    SysNice,
    /// Debuggers and profilers of processes in the berth.
    SysPtrace,
}

impl Capability {
    /// Those that Docker gives by itself.
    pub const TAKEN: [Self; 2] = [Self::NetRaw, Self::Mknod];
    pub const ALL: [Self; 4] = [Self::NetRaw, Self::Mknod, Self::SysNice, Self::SysPtrace];

    /// As Docker's API has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NetRaw => "NET_RAW",
            Self::Mknod => "MKNOD",
            Self::SysNice => "SYS_NICE",
            Self::SysPtrace => "SYS_PTRACE",
        }
    }

    /// The kernel's number (`linux/capability.h`).
    pub fn bit(self) -> u32 {
        match self {
            Self::NetRaw => 13,
            Self::Mknod => 27,
            Self::SysPtrace => 19,
            Self::SysNice => 23,
        }
    }
}

/// What to add to Docker's own set, and what to take from it, for what a profile wants.
pub fn changes(wanted: &[Capability]) -> (Vec<String>, Vec<String>) {
    let is_docker_s = |capability: &Capability| Capability::TAKEN.contains(capability);
    let names =
        |list: &mut dyn Iterator<Item = Capability>| list.map(|one| one.as_str().to_owned()).collect();
    let add = names(&mut Capability::ALL.into_iter().filter(|one| wanted.contains(one) && !is_docker_s(one)));
    let drop = names(&mut Capability::TAKEN.into_iter().filter(|one| !wanted.contains(one)));
    (add, drop)
}

/// Docker's default set, as bits.
const DOCKER_S: [u32; 14] = [0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31];

/// The most that a berth's processes may ever have.
pub fn most(wanted: &[Capability]) -> u64 {
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

    #[test]
    fn profiles_name_them_as_docker_does_and_no_others() {
        for one in Capability::ALL {
            assert_eq!(serde_json::to_value(one).unwrap(), one.as_str());
        }
        assert!(serde_json::from_str::<Capability>("\"SYS_ADMIN\"").is_err());
    }
}
