//! Others on this node that hand out cards: kubelet with a device plugin, container-manager, slurmd.

use crate::host::{Host, read_text};
use crate::model::check_facts::Rivals;
use std::path::Path;

const PLUGINS: &str = "/var/lib/kubelet/device-plugins";
const GRES: [&str; 2] = ["/etc/slurm/gres.conf", "/etc/slurm-llnl/gres.conf"];
/// The kernel keeps 15 characters of a name.
const CONTAINER_MANAGER: &str = "container-manag";

pub fn gather(host: &dyn Host) -> Result<Rivals, String> {
    let dir = Path::new("/proc");
    let entries = host.list(dir).map_err(|error| format!("{} cannot be read: {error}", dir.display()))?;
    let mut rivals = Rivals::default();
    for path in entries {
        let Some(pid) = path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok()) else {
            continue;
        };
        // A process that ended in between is gone.
        let Ok(name) = read_text(host, &path.join("comm")) else { continue };
        match name.trim() {
            "kubelet" => rivals.kubelet.push(pid),
            CONTAINER_MANAGER => rivals.container_manager.push(pid),
            "slurmd" => rivals.slurmd.push(pid),
            _ => {}
        }
    }
    rivals.device_plugins = plugins(host);
    rivals.slurm_has_cards = GRES.iter().any(|path| {
        read_text(host, Path::new(path)).is_ok_and(|text| {
            text.lines().any(|line| !line.trim_start().starts_with('#') && line.contains("davinci"))
        })
    });
    Ok(rivals)
}

/// `Ascend910.sock`, `davinci-mini.sock`: what device plugins for these cards call their sockets.
fn plugins(host: &dyn Host) -> Vec<String> {
    let names = host.list(Path::new(PLUGINS)).unwrap_or_default();
    let names = names.iter().filter_map(|path| path.file_name()?.to_str().map(str::to_owned));
    let ours = |name: &String| {
        let Some((stem, "sock")) = name.rsplit_once('.') else { return false };
        let stem = stem.to_ascii_lowercase();
        ["ascend", "davinci", "npu"].iter().any(|word| stem.contains(word))
    };
    names.filter(ours).take(16).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::FakeHost;

    #[test]
    fn rivals_are_found_by_name_and_socket() {
        let host = FakeHost::default()
            .with_file("/proc/1/comm", "systemd\n")
            .with_file("/proc/70/comm", "kubelet\n")
            .with_file("/proc/71/comm", "container-manag\n")
            .with_file("/proc/72/comm", "slurmd\n")
            .with_file("/proc/meminfo", "")
            .with_file("/var/lib/kubelet/device-plugins/Ascend910.sock", "")
            .with_file("/var/lib/kubelet/device-plugins/kubelet.sock", "")
            .with_file("/etc/slurm/gres.conf", "# File=/dev/davinci0\nName=npu File=/dev/davinci[0-7]\n");
        let found = gather(&host).unwrap();
        assert_eq!((found.kubelet, found.container_manager, found.slurmd), (vec![70], vec![71], vec![72]));
        assert_eq!(found.device_plugins, ["Ascend910.sock"]);
        assert!(found.slurm_has_cards && gather(&FakeHost::default()).is_err());
    }
}
