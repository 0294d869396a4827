//! Running containers of any containerd, found by their shim processes. They include those of Kubernetes, of k3s with
//! its own containerd, and those that a removed Docker left.

use crate::host::procs::has_ended;
use crate::host::{Host, read_text};
use crate::model::docker_seen::Tasks;
use std::collections::BTreeMap;
use std::path::Path;

/// As the kernel cuts the names of its programs: `containerd-shim-runc-v2` is one.
const SHIM: &str = "containerd-shim";
const LONGEST: usize = 80;

/// One entry for each containerd and namespace in it.
pub fn gather(host: &dyn Host) -> Result<Vec<Tasks>, String> {
    let entries = host.list(Path::new("/proc")).map_err(|error| format!("/proc cannot be read: {error}"))?;
    let mut found: BTreeMap<(String, String), Vec<u32>> = BTreeMap::new();
    for dir in entries {
        let Some(pid) = dir.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok()) else { continue };
        if !text_of(host, &dir.join("comm"))?.trim_end().starts_with(SHIM) {
            continue;
        }
        let line = text_of(host, &dir.join("cmdline"))?;
        let words: Vec<&str> = line.split('\0').collect();
        found.entry((flag(&words, "address"), flag(&words, "namespace"))).or_default().push(pid);
    }
    let tasks = found.into_iter().map(|((address, namespace), pids)| Tasks { address, namespace, pids });
    Ok(tasks.collect())
}

fn text_of(host: &dyn Host, path: &Path) -> Result<String, String> {
    match read_text(host, path) {
        Ok(text) => Ok(text),
        Err(error) if has_ended(&error) => Ok(String::new()),
        Err(error) => Err(format!("{} cannot be read: {error}", path.display())),
    }
}

/// `-namespace k8s.io`, `--namespace=k8s.io`; empty where it is not said.
fn flag(words: &[&str], name: &str) -> String {
    let value = words.iter().enumerate().find_map(|(at, word)| {
        let rest = word.strip_prefix('-')?.trim_start_matches('-').strip_prefix(name)?;
        if rest.is_empty() { words.get(at + 1).copied() } else { rest.strip_prefix('=') }
    });
    value.unwrap_or_default().chars().take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::FakeHost;

    #[test]
    fn shims_are_grouped_by_their_containerd() {
        let shim = |namespace: &str, address: &str| {
            format!(
                "/usr/bin/containerd-shim-runc-v2\0-namespace\0{namespace}\0-id\0x\0--address={address}\0"
            )
        };
        let with = |host: FakeHost, pid: u32, comm: &str, line: &str| {
            host.with_file(&format!("/proc/{pid}/comm"), comm)
                .with_file(&format!("/proc/{pid}/cmdline"), line)
        };
        let (own, k3s) = ("/run/containerd/containerd.sock", "/run/k3s/containerd/containerd.sock");
        let host = with(FakeHost::default(), 7, "containerd-shim\n", &shim("k8s.io", own));
        let host = with(host, 8, "containerd-shim\n", &shim("k8s.io", own));
        let host = with(host, 9, "containerd-shim\n", &shim("k8s.io", k3s));
        let host = with(host, 10, "containerd\n", "/usr/bin/containerd\0").with_file("/proc/11/stat", "");
        let found = gather(&host).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].address.as_str(), found[0].namespace.as_str()), (own, "k8s.io"));
        assert_eq!((found[0].pids.as_slice(), found[1].address.as_str()), (&[7, 8][..], k3s));
    }
}
