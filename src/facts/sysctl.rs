//! Kernel settings: their values now, our file for the next boot, and later files that override it.

use crate::host::{Host, find_text, sysctl};
use crate::model::check_facts::{Look, NotLooked};
use crate::model::docker_seen::KernelSeen;
use std::collections::BTreeMap;
use std::path::Path;

/// Ours. Files are applied in the order of their names, whatever their directory: it comes behind 99-sysctl.conf, the
/// link to /etc/sysctl.conf, where images of servers switch forwarding off.
pub const FILE: &str = "/etc/sysctl.d/99-zz-berth.conf";
const DIRECTORIES: [&str; 4] =
    ["/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d"];

/// The values for checks, each with its own error. Of a setting with several numbers, the first counts.
pub fn look<'a>(host: &dyn Host, names: impl IntoIterator<Item = &'a str>) -> BTreeMap<String, Look<u64>> {
    names.into_iter().map(|name| (name.to_owned(), first_number(host, name))).collect()
}

fn first_number(host: &dyn Host, name: &str) -> Look<u64> {
    if !sysctl::is_name(name) {
        return Err(NotLooked::from(format!("{name:?} is no name of a sysctl")));
    }
    let text = sysctl::need(host, name)?;
    let first = text.split_whitespace().next().unwrap_or_default();
    first.parse().map_err(|_| NotLooked::from(format!("{name} is {:?}", shortened(first))))
}

/// The values for bootstrap, before it raises some. Fails for a setting whose value is no number: it cannot be raised.
pub fn gather<'a>(host: &dyn Host, names: impl Iterator<Item = &'a String>) -> Result<KernelSeen, String> {
    let mut values = BTreeMap::new();
    for name in names {
        values.insert(name.clone(), number(host, name)?);
    }
    if values.is_empty() {
        return Ok(KernelSeen::default());
    }
    Ok(KernelSeen { file: find_text(host, Path::new(FILE))?, overridden: overridden(host, &values)?, values })
}

fn number(host: &dyn Host, name: &str) -> Result<Option<u64>, String> {
    let Some(text) = sysctl::look(host, name)? else { return Ok(None) };
    text.parse().map(Some).map_err(|_| format!("{name} is no number: {:?}", shortened(&text)))
}

fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}

/// `name = value` in files that come after ours.
fn overridden(host: &dyn Host, values: &BTreeMap<String, Option<u64>>) -> Result<Vec<String>, String> {
    let ours = Path::new(FILE).file_name();
    let mut found = Vec::new();
    for dir in DIRECTORIES {
        // A directory that is not there has no files.
        let files = host.list(Path::new(dir)).unwrap_or_default();
        let later = files.iter().filter(|file| {
            file.extension().is_some_and(|extension| extension == "conf") && file.file_name() > ours
        });
        for file in later {
            let Some(text) = find_text(host, file)? else { continue };
            let names = text
                .lines()
                .filter_map(|line| line.split_once('=').map(|(name, _)| sysctl::name_in_file(name)));
            let names = names.filter(|name| values.contains_key(name));
            found.extend(names.map(|name| format!("{} sets {name}", file.display())));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::FakeHost;

    #[test]
    fn values_our_file_and_later_files_are_seen() {
        let names =
            ["net.ipv4.ip_forward".to_owned(), "vm.max_map_count".to_owned(), "kernel.none".to_owned()];
        let host = FakeHost::default()
            .with_file("/proc/sys/net/ipv4/ip_forward", "1\n")
            .with_file("/proc/sys/vm/max_map_count", "65530\n")
            .with_file(FILE, "vm.max_map_count = 262144\n")
            .with_file("/etc/sysctl.d/10-first.conf", "vm.max_map_count = 1\n")
            .with_file("/etc/sysctl.d/99-sysctl.conf", "vm.max_map_count = 1\n")
            .with_file("/usr/lib/sysctl.d/zz-last.conf", "# vm\n-vm/max_map_count=1\nkernel.other=2\n");
        let seen = gather(&host, names.iter()).unwrap();
        let values: Vec<_> = seen.values.values().copied().collect();
        assert_eq!(values, [None, Some(1), Some(65530)]);
        assert_eq!(seen.overridden, ["/usr/lib/sysctl.d/zz-last.conf sets vm.max_map_count"]);
        assert_eq!(seen.file.as_deref(), Some("vm.max_map_count = 262144\n"));
        let bad = FakeHost::default().with_file("/proc/sys/vm/max_map_count", "1 2 3\n");
        assert!(gather(&bad, names.iter()).unwrap_err().contains("no number"));
    }

    #[test]
    fn values_and_reasons() {
        let host = FakeHost::default()
            .with_file("/proc/sys/net/ipv4/ip_forward", "1\n")
            .with_file("/proc/sys/kernel/x", "many\n");
        let found =
            look(&host, ["net.ipv4.ip_forward", "kernel.x", "kernel.none", "../../etc/passwd", "a..b"]);
        assert_eq!(found["net.ipv4.ip_forward"], Ok(1));
        assert!(
            ["kernel.x", "kernel.none", "../../etc/passwd", "a..b"].iter().all(|name| found[*name].is_err())
        );
    }
}
