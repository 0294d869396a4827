//! Settings of the kernel, from /proc/sys.

use crate::host::{Host, read_text};
use crate::model::check_facts::{Look, NotLooked};
use std::collections::BTreeMap;
use std::path::PathBuf;

pub fn gather<'a>(host: &dyn Host, names: impl IntoIterator<Item = &'a str>) -> BTreeMap<String, Look<u64>> {
    names.into_iter().map(|name| (name.to_owned(), read(host, name))).collect()
}

fn read(host: &dyn Host, name: &str) -> Look<u64> {
    let plain = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
    };
    if !name.split('.').all(plain) {
        return Err(NotLooked::from(format!("{name:?} is no name of a sysctl")));
    }
    let path = PathBuf::from("/proc/sys").join(name.replace('.', "/"));
    let text =
        read_text(host, &path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    let first = text.split_whitespace().next().unwrap_or_default();
    first
        .parse()
        .map_err(|_| NotLooked::from(format!("{name} is {:?}", first.chars().take(40).collect::<String>())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::FakeHost;

    #[test]
    fn values_and_reasons() {
        let host = FakeHost::default()
            .with_file("/proc/sys/net/ipv4/ip_forward", "1\n")
            .with_file("/proc/sys/kernel/x", "many\n");
        let found =
            gather(&host, ["net.ipv4.ip_forward", "kernel.x", "kernel.none", "../../etc/passwd", "a..b"]);
        assert_eq!(found["net.ipv4.ip_forward"], Ok(1));
        assert!(
            ["kernel.x", "kernel.none", "../../etc/passwd", "a..b"].iter().all(|name| found[*name].is_err())
        );
    }
}
