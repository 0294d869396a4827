//! A range of host ports, never touching those that HCCL binds on a host.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// HCCL's host sockets with `--net=host` (HCCL_IF_BASE_PORT's default and the 15 after it).
pub const HCCL_PORTS: std::ops::RangeInclusive<u16> = 60000..=60015;

/// Both ends belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// 20000-29999
    pub const DEFAULT: Self = Self { first: 20000, last: 29999 };

    pub fn ports(self) -> impl Iterator<Item = u16> {
        self.first..=self.last
    }
    pub fn ends(self) -> (u16, u16) {
        (self.first, self.last)
    }
    pub fn count(self) -> usize {
        usize::from(self.last - self.first) + 1
    }
}

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a port range; write it as 20000-29999");
        let (first, last) = text.split_once('-').ok_or_else(wrong)?;
        let first: u16 = first.trim().parse().map_err(|_| wrong())?;
        let last: u16 = last.trim().parse().map_err(|_| wrong())?;
        if first == 0 || first > last {
            return Err(wrong());
        }
        if first <= *HCCL_PORTS.end() && last >= *HCCL_PORTS.start() {
            return Err(format!("port range {text} takes in 60000-60015, which HCCL uses; choose another"));
        }
        Ok(Self { first, last })
    }
}

impl TryFrom<String> for PortRange {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<PortRange> for String {
    fn from(range: PortRange) -> Self {
        range.to_string()
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// What goes after `ssh -J`.
pub fn jump_word(user: &str, host: &str, port: u16) -> String {
    // An IPv6 address would be taken for a name and a port.
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    match port {
        22 => format!("{user}@{host}"),
        port => format!("{user}@{host}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hccl_ports_are_never_in_a_range() {
        for text in ["60000-60000", "50000-60000", "60015-61000", "1-65535"] {
            assert!(text.parse::<PortRange>().unwrap_err().contains("HCCL"), "{text}");
        }
        assert_eq!("20000-29999".parse::<PortRange>().unwrap().count(), 10000);
        assert_eq!("60016-60016".parse::<PortRange>().unwrap().ports().collect::<Vec<_>>(), [60016]);
        for text in ["", "1", "5-1", "0-5", "x-y", "1-65536"] {
            assert!(text.parse::<PortRange>().is_err(), "{text}");
        }
    }
}
