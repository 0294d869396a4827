//! Docker's installation: program, unit, daemon.json, the place of its data. It does not ask the engine.

use super::packages::is_installed;
use super::{docker_unit, tasks};
use crate::host::{Host, find_text, firewall, tree};
use crate::model::docker_seen::{DaemonFile, DockerSeen, Flag, Neighbour, Place};
use serde_json::Value;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

pub const DROP_IN: &str = "/etc/systemd/system/docker.service.d/berth.conf";
const DAEMON_FILE: &str = "/etc/docker/daemon.json";
const DEFAULT_ROOT: &str = "/var/lib/docker";
const ASCEND_RUNTIME: &str = "/usr/local/Ascend/Ascend-Docker-Runtime/ascend-docker-runtime";
/// Their images cannot be copied as files to another file system.
pub const BOUND_DRIVERS: [&str; 3] = ["btrfs", "zfs", "devicemapper"];
const PROGRAMS: [&str; 3] = ["/usr/bin/dockerd", "/usr/sbin/dockerd", "/usr/local/bin/dockerd"];

/// `wanted`: where the profile wants the data.
pub fn gather(host: &dyn Host, wanted: Option<&Path>, systemd: bool) -> Result<DockerSeen, String> {
    let (service, has_socket_unit) = if systemd { docker_unit::gather(host)? } else { (None, false) };
    let flags = service.as_ref().map_or(&[][..], |service| service.flags.as_slice());
    let daemon_file = daemon_file(host, flags)?;
    let root = root(flags, daemon_file.text.as_deref());
    let is_active = service.as_ref().is_some_and(|service| service.is_active);
    // With userns-remap all is one directory further down.
    let mut roots = remapped_in(host, &root);
    roots.insert(0, root.clone());
    let mut root_holds = false;
    for root in &roots {
        root_holds |= holds(host, root)?;
    }
    let has_swarm = roots.iter().any(|root| host.exists(&root.join("swarm/docker-state.json")));
    let program = PROGRAMS.iter().find(|path| host.exists(Path::new(path))).map(|path| (*path).to_owned());
    Ok(DockerSeen {
        // Docker's own containers are its own affair, and come and go.
        tasks: if program.is_none() { tasks::gather(host)? } else { Vec::new() },
        program,
        has_socket_unit,
        daemon_file,
        root: tree::real_path(&root).display().to_string(),
        root_holds: root_holds || has_swarm,
        // Asked by the caller, who has the client.
        engine: None,
        root_driver: BOUND_DRIVERS
            .iter()
            .find(|driver| {
                let is_full = |root: &PathBuf| host.list(&root.join(driver)).is_ok_and(|it| !it.is_empty());
                roots.iter().any(is_full)
            })
            .map(|driver| (*driver).to_owned()),
        has_swarm,
        wanted: wanted.map_or(Ok(Place::Free), |path| place(host, path))?,
        copy: wanted.map_or(Ok(Place::Free), |path| place(host, &copy_of(path)))?,
        drop_in: find_text(host, Path::new(DROP_IN))?,
        ascend_runtime: host.exists(Path::new(ASCEND_RUNTIME)).then(|| ASCEND_RUNTIME.to_owned()),
        neighbours: neighbours(host),
        metadata_closed: if is_active { firewall::is_metadata_closed(host).ok() } else { None },
        service,
    })
}

/// The directory to which data are copied, before the copy gets its final name.
pub fn copy_of(root: &Path) -> PathBuf {
    let mut name = root.as_os_str().to_owned();
    name.push(".berth-copy");
    name.into()
}

fn daemon_file(host: &dyn Host, flags: &[Flag]) -> Result<DaemonFile, String> {
    let named = flags.iter().find(|flag| flag.key == "config-file").and_then(|flag| flag.value.clone());
    let path = named.unwrap_or_else(|| DAEMON_FILE.to_owned());
    match host.read(Path::new(&path)) {
        Err(error) if error.kind() == ErrorKind::IsADirectory => {
            Ok(DaemonFile { path, text: None, is_directory: true })
        }
        _ => Ok(DaemonFile { text: find_text(host, Path::new(&path))?, path, is_directory: false }),
    }
}

/// Docker's data directory: from a flag, else the file, else the default. A file that is no JSON is skipped here; the
/// plan refuses it.
fn root(flags: &[Flag], file: Option<&str>) -> PathBuf {
    let of_flag = flags.iter().find(|flag| flag.key == "data-root").and_then(|flag| flag.value.clone());
    let value: Value = file.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let of_file =
        || ["data-root", "graph"].iter().find_map(|key| value.get(key)?.as_str().map(str::to_owned));
    of_flag.or_else(of_file).unwrap_or_else(|| DEFAULT_ROOT.into()).into()
}

/// Whether the directory has more than dockerd makes when it starts for the first time.
fn holds(host: &dyn Host, root: &Path) -> Result<bool, String> {
    let list = |dir: PathBuf| match host.list(&dir) {
        Ok(paths) => Ok(paths),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(Vec::new())
        }
        Err(error) => Err(format!("{} cannot be read: {error}", dir.display())),
    };
    let name_of = |path: &PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let own = [Some("metadata.db".to_owned()), Some("backingFsBlockDev".to_owned())];
    if list(root.join("volumes"))?.iter().any(|path| !own.contains(&name_of(path))) {
        return Ok(true);
    }
    let mut full = vec![root.join("containers")];
    full.extend(list(root.join("image"))?.into_iter().map(|driver| driver.join("imagedb/content/sha256")));
    for dir in full {
        if !list(dir)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn place(host: &dyn Host, path: &Path) -> Result<Place, String> {
    let look = |path: &Path| {
        tree::look_at(path, &["image", "containers", "volumes", "network"])
            .map_err(|error| format!("{} cannot be read: {error}", path.display()))
    };
    let found = look(path)?;
    if found != Place::Taken {
        return Ok(found);
    }
    // With userns-remap there is nothing but the directories of the remapped users.
    let remapped = remapped_in(host, path);
    let others = host.list(path).unwrap_or_default().iter().filter(|it| !remapped.contains(it)).count();
    for dir in &remapped {
        if others > 0 || look(dir)? != Place::Docker {
            return Ok(Place::Taken);
        }
    }
    Ok(if remapped.is_empty() { Place::Taken } else { Place::Docker })
}

/// `/var/lib/docker/165536.165536`: where dockerd keeps all its data for remapped users.
fn is_remapped(path: &Path) -> bool {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let name = path.file_name().and_then(|name| name.to_str());
    name.and_then(|name| name.split_once('.')).is_some_and(|(uid, gid)| is_number(uid) && is_number(gid))
}

fn remapped_in(host: &dyn Host, root: &Path) -> Vec<PathBuf> {
    host.list(root).unwrap_or_default().into_iter().filter(|path| is_remapped(path)).collect()
}

/// The root as it was named to a dockerd that says it is in the directory of a remapped user.
pub fn above_remapped(root: &Path) -> &Path {
    if is_remapped(root) { root.parent().unwrap_or(root) } else { root }
}

fn neighbours(host: &dyn Host) -> Vec<Neighbour> {
    let all = [
        (Neighbour::Kubelet, is_installed(host, "kubelet")),
        (Neighbour::Podman, is_installed(host, "podman")),
        (Neighbour::SnapDocker, host.exists(Path::new("/snap/bin/docker"))),
    ];
    all.into_iter().filter(|(_, is_there)| *is_there).map(|(neighbour, _)| neighbour).collect()
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "the test makes a root of its own")]
mod tests {
    use super::*;
    use crate::host::FakeHost;

    #[test]
    fn the_data_root_is_found_where_it_is_said() {
        let flag = [Flag { key: "data-root".into(), value: Some("/flag".into()) }];
        for (flags, file, wanted) in [
            (&flag[..], Some(r#"{"data-root":"/file"}"#), "/flag"),
            (&[], Some(r#"{"data-root":"/file","graph":"/old"}"#), "/file"),
            (&[], Some(r#"{"graph":"/old"}"#), "/old"),
            (&[], Some("{"), DEFAULT_ROOT),
            (&[], None, DEFAULT_ROOT),
        ] {
            assert_eq!(root(flags, file), Path::new(wanted));
        }
    }

    #[test]
    fn data_of_remapped_users_are_found_one_directory_further_down() {
        let named = Path::new("/var/lib/docker");
        assert_eq!(above_remapped(Path::new("/var/lib/docker/165536.165536")), named);
        assert_eq!(above_remapped(named), named);
        assert!(!is_remapped(Path::new("/data/docker.1")) && !is_remapped(Path::new("/data/1.")));
        let host = FakeHost::default().with_file("/d/1.1/containers/a/b", "").with_file("/d/tmp/x", "");
        assert_eq!(remapped_in(&host, Path::new("/d")), [Path::new("/d/1.1")]);

        let dir = tempfile::tempdir().unwrap();
        let make = |path: &str| std::fs::create_dir_all(dir.path().join(path)).unwrap();
        let look = || place(&crate::host::RealHost::default(), dir.path()).unwrap();
        assert_eq!(look(), Place::Free);
        make("165536.165536/image");
        assert_eq!(look(), Place::Taken);
        make("165536.165536/containers");
        assert_eq!(look(), Place::Docker);
        make("theirs");
        assert_eq!(look(), Place::Taken);
    }

    #[test]
    fn what_dockerd_makes_itself_is_nothing() {
        let fresh = || {
            FakeHost::default()
                .with_file("/d/volumes/metadata.db", "")
                .with_file("/d/volumes/backingFsBlockDev", "")
                .with_file("/d/image/overlay2/repositories.json", "")
                .with_file("/d/engine-id", "")
        };
        assert_eq!(holds(&fresh(), Path::new("/d")), Ok(false));
        for more in ["containers/1/x", "image/overlay2/imagedb/content/sha256/1", "volumes/v/_data"] {
            let host = fresh().with_file(&format!("/d/{more}"), "");
            assert_eq!(holds(&host, Path::new("/d")), Ok(true), "{more}");
        }
    }
}
