//! Linux capabilities that a profile may give to berths or let them keep.

use serde::{Deserialize, Serialize};

/// The only capabilities that a profile can name: none of them reaches out of the container.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_name_them_as_docker_does_and_no_others() {
        for one in Capability::ALL {
            assert_eq!(serde_json::to_value(one).unwrap(), one.as_str());
        }
        assert!(serde_json::from_str::<Capability>("\"SYS_ADMIN\"").is_err());
    }
}
