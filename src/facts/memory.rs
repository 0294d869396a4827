//! Memory, from /proc/meminfo.

use crate::host::{Host, need_text};
use crate::model::facts::MemoryFacts;
use std::path::Path;

pub fn gather(host: &dyn Host) -> Result<MemoryFacts, String> {
    let text = need_text(host, Path::new("/proc/meminfo"))?;
    parse(&text).ok_or_else(|| "/proc/meminfo does not name MemTotal".into())
}

pub fn parse(text: &str) -> Option<MemoryFacts> {
    let mib = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib / 1024)
    };
    Some(MemoryFacts {
        total_mib: mib("MemTotal")?,
        // Kernels before 3.14 do not estimate it.
        available_mib: mib("MemAvailable").or_else(|| mib("MemFree"))?,
        swap_total_mib: mib("SwapTotal").unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_is_read_in_mib() {
        let facts =
            parse("MemTotal:  4096 kB\nMemFree: 1024 kB\nMemAvailable: 2048 kB\nSwapTotal: 0 kB\n").unwrap();
        assert_eq!((facts.total_mib, facts.available_mib, facts.swap_total_mib), (4, 2, 0));
        assert_eq!(parse("MemTotal: x kB\n"), None);
        assert_eq!(parse(""), None);
    }
}
