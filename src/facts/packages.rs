//! The package manager: which one there is, packages that an interrupted run left half installed, who has it locked.

use crate::host::{Host, Tool, lock};
use crate::model::docker_seen::{PackageManager, PackagesSeen};
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_mins(1);
/// `${db:Status-Status}` of packages that nothing is to be done for.
const SETTLED: [&str; 3] = ["installed", "config-files", "not-installed"];

/// `offline`: a directory with package files, or an empty path.
pub fn gather(host: &dyn Host, offline: &Path) -> Result<PackagesSeen, String> {
    let manager = manager(host);
    Ok(PackagesSeen {
        manager,
        half: if manager == Some(PackageManager::AptGet) { half(host)? } else { Vec::new() },
        offline: files(host, offline, manager)?,
    })
}

fn manager(host: &dyn Host) -> Option<PackageManager> {
    use PackageManager::{AptGet, Dnf, Yum};
    [AptGet, Dnf, Yum].into_iter().find(|manager| is_installed(host, manager.name()))
}

fn half(host: &dyn Host) -> Result<Vec<String>, String> {
    let format = "--showformat=${Package} ${db:Status-Status}\\n";
    let cmd = Tool::DpkgQuery.cmd().args(["--show", format]).timeout(TIMEOUT);
    let output = host.run(&cmd).map_err(|error| error.to_string())?;
    let lines = output.stdout.lines().filter_map(|line| line.split_once(' '));
    Ok(lines.filter(|(_, state)| !SETTLED.contains(state)).map(|(name, _)| name.to_owned()).collect())
}

fn files(
    host: &dyn Host,
    dir: &Path,
    manager: Option<PackageManager>,
) -> Result<Option<Vec<String>>, String> {
    let (false, Some(manager)) = (dir.as_os_str().is_empty(), manager) else { return Ok(None) };
    let paths = match host.list(dir) {
        Ok(paths) => paths,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{} cannot be read: {error}", dir.display())),
    };
    let names = paths.iter().filter_map(|path| path.file_name()?.to_str().map(str::to_owned));
    Ok(Some(names.filter(|name| name.ends_with(manager.suffix())).collect()))
}

/// The process that holds the package manager's lock now. Not part of the facts of a plan, because it soon changes.
pub fn locked_by(manager: PackageManager) -> Option<u32> {
    let files: &[&str] = match manager {
        PackageManager::AptGet => {
            &["/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock", "/var/lib/apt/lists/lock"]
        }
        PackageManager::Dnf | PackageManager::Yum => &["/var/lib/rpm/.rpm.lock"],
    };
    files.iter().find_map(|path| lock::holder_of(Path::new(path)))
}

/// Whether a program of the system is there.
pub fn is_installed(host: &dyn Host, program: &str) -> bool {
    ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].iter().any(|dir| host.exists(&Path::new(dir).join(program)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::FakeHost;

    const QUERY: &str = "dpkg-query --show --showformat=${Package} ${db:Status-Status}\\n";

    #[test]
    fn the_manager_its_half_work_and_its_files_are_seen() {
        let host = FakeHost::default()
            .with_file("/usr/bin/apt-get", "")
            .with_output(QUERY, 0, "adduser installed\ndocker.io half-configured\nold config-files\n", "")
            .with_file("/root/debs/runc_1_amd64.deb", "")
            .with_file("/root/debs/x.rpm", "")
            .with_file("/root/debs/Packages", "");
        let seen = gather(&host, Path::new("/root/debs")).unwrap();
        assert_eq!((seen.manager, seen.half), (Some(PackageManager::AptGet), vec!["docker.io".to_owned()]));
        assert_eq!(seen.offline.unwrap(), ["runc_1_amd64.deb"]);
        let host = FakeHost::default().with_file("/usr/bin/yum", "").with_file("/usr/bin/dnf", "");
        let seen = gather(&host, Path::new("/none")).unwrap();
        assert_eq!((seen.manager, seen.offline), (Some(PackageManager::Dnf), None));
        assert_eq!(gather(&FakeHost::default(), Path::new("")).unwrap(), PackagesSeen::default());
    }
}
