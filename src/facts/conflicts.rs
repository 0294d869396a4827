//! Other programs on this node that hand out cards: kubelet with a device plugin, container-manager, slurmd.

use crate::host::{Host, read_text};
use crate::model::check_facts::{Conflicts, Look, NotLooked};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

const PLUGINS: &str = "/var/lib/kubelet/device-plugins";
/// The last two are what slurmd keeps of a gres.conf that slurmctld sent.
const GRES: [&str; 4] = [
    "/etc/slurm/gres.conf",
    "/etc/slurm-llnl/gres.conf",
    "/run/slurm/conf/gres.conf",
    "/var/spool/slurmd/conf-cache/gres.conf",
];
/// A kubelet, or a program with one inside: k3s, RKE2, MicroK8s.
const KUBELETS: [&str; 6] = ["kubelet", "k3s", "k3s-server", "k3s-agent", "rke2", "kubelite"];
/// The kernel keeps 15 characters of a name.
const CONTAINER_MANAGER: &str = "container-manag";

/// `plugins`: words in the names of device plugins' sockets for these cards; `nodes`: what the names of their device
/// nodes begin with.
pub fn gather(host: &dyn Host, plugins: &[&str], nodes: &str) -> Result<Conflicts, String> {
    let dir = Path::new("/proc");
    let entries = host.list(dir).map_err(|error| format!("{} cannot be read: {error}", dir.display()))?;
    let (mut kubelet, mut container_manager, mut slurmd) = (Vec::new(), Vec::new(), Vec::new());
    for path in entries {
        let Some(pid) = path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok()) else {
            continue;
        };
        let comm = path.join("comm");
        let name = match read_text(host, &comm) {
            Ok(name) => name,
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                return Err(format!("{} cannot be read: {error}", comm.display()));
            }
            // A process that ended in between is gone.
            Err(_) => continue,
        };
        match name.trim() {
            name if KUBELETS.contains(&name) => kubelet.push((pid, name.to_owned())),
            CONTAINER_MANAGER => container_manager.push(pid),
            "slurmd" => slurmd.push(pid),
            _ => {}
        }
    }
    let device_plugins = sockets(host.list(Path::new(PLUGINS)), plugins);
    Ok(Conflicts {
        kubelet,
        device_plugins,
        container_manager,
        slurmd,
        slurm_has_cards: slurm_has_cards(host, nodes),
    })
}

fn not_looked(path: &str, error: &io::Error) -> NotLooked {
    NotLooked::new(format!("{path} cannot be read: {error}"), "sudo berth check --only coexist")
}

/// A path that does not exist counts as empty.
fn if_there<T: Default>(path: &str, look: io::Result<T>) -> Look<T> {
    match look {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(T::default()),
        look => look.map_err(|error| not_looked(path, &error)),
    }
}

fn slurm_has_cards(host: &dyn Host, nodes: &str) -> Look<bool> {
    let names_cards =
        |text: String| text.lines().any(|line| !line.trim_start().starts_with('#') && line.contains(nodes));
    let looks = GRES.map(|path| if_there(path, read_text(host, Path::new(path))).map(names_cards));
    // One that names cards tells enough, whatever the others say.
    if looks.contains(&Ok(true)) {
        return Ok(true);
    }
    looks.into_iter().find(Result::is_err).unwrap_or(Ok(false))
}

/// `Ascend910.sock`: what device plugins for these cards call their sockets.
fn sockets(paths: io::Result<Vec<PathBuf>>, words: &[&str]) -> Look<Vec<String>> {
    let paths = if_there(PLUGINS, paths)?;
    let names = paths.iter().filter_map(|path| path.file_name()?.to_str().map(str::to_owned));
    let ours = |name: &String| {
        let Some((stem, "sock")) = name.rsplit_once('.') else { return false };
        let stem = stem.to_ascii_lowercase();
        words.iter().any(|word| stem.contains(word))
    };
    Ok(names.filter(ours).take(16).collect())
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "the tests make a root of their own")]
mod tests {
    use super::*;
    use crate::host::{FakeHost, RealHost};

    const WORDS: [&str; 3] = ["ascend", "davinci", "npu"];

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
        let found = gather(&host, &WORDS, "davinci").unwrap();
        assert_eq!(found.kubelet, [(70, "kubelet".to_owned())]);
        assert_eq!((found.container_manager, found.slurmd), (vec![71], vec![72]));
        assert_eq!(found.device_plugins.unwrap(), ["Ascend910.sock"]);
        assert!(found.slurm_has_cards.unwrap() && gather(&FakeHost::default(), &WORDS, "davinci").is_err());
    }

    #[test]
    fn programs_with_a_kubelet_inside_are_known() {
        for name in ["k3s", "k3s-server", "k3s-agent", "rke2", "kubelite"] {
            let host = FakeHost::default().with_file("/proc/9/comm", &format!("{name}\n"));
            let found = gather(&host, &WORDS, "davinci").unwrap();
            assert_eq!(found.kubelet, [(9, name.to_owned())]);
            assert_eq!((found.device_plugins, found.slurm_has_cards), (Ok(Vec::new()), Ok(false)));
        }
    }

    #[test]
    fn what_cannot_be_read_is_not_empty() {
        let denied = || io::Error::from(ErrorKind::PermissionDenied);
        assert!(sockets(Err(denied()), &WORDS).unwrap_err().remedy.unwrap().contains("sudo"));
        assert_eq!(sockets(Err(ErrorKind::NotFound.into()), &WORDS), Ok(Vec::new()));
        // A directory in the place of the file: one cannot be read, and another tells enough.
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("etc/slurm/gres.conf")).unwrap();
        let host = RealHost::new(root.path());
        assert!(slurm_has_cards(&host, "davinci").is_err());
        let cache = root.path().join("var/spool/slurmd/conf-cache");
        std::fs::create_dir_all(&cache).unwrap();
        std::fs::write(cache.join("gres.conf"), "Name=npu File=/dev/davinci[0-7]\n").unwrap();
        assert_eq!(slurm_has_cards(&host, "davinci"), Ok(true));
    }
}
