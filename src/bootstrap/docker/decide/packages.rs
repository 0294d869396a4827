//! Which packages are missing, and where they come from.

use super::DockerInput;
use crate::bootstrap::observed::Observed;
use crate::bootstrap::plan::{InstallPackages, PackagesFor, Part, Step};
use crate::model::docker_seen::PackageManager;
use crate::profile::Layout;

/// Endings of packages that have Docker in their name, and are not the engine.
const NO_ENGINE: [&str; 7] = ["-cli", "-compose", "-buildx", "-doc", "-registry", "-scan", "-model"];

pub(super) fn plan_docker(seen: &Observed, request: &DockerInput, part: &mut Part) {
    let is_begun = is_begun(request, PackagesFor::Docker);
    let half: Vec<&String> = seen.packages.half.iter().filter(|name| is_of_docker(name)).collect();
    let why = if seen.docker.program.is_none() {
        "Docker is not installed"
    } else if is_begun || !half.is_empty() {
        "an interrupted installation left it half done"
    } else {
        part.is_right("Docker is installed");
        return;
    };
    refuse_tasks(seen, part);
    let names = match seen.packages.manager {
        Some(PackageManager::AptGet) => &["docker.io|docker-ce", "iptables", "apparmor|"][..],
        _ => &["docker-engine|docker-ce|moby-engine|docker", "iptables"][..],
    };
    let Some(step) = install(seen, request, PackagesFor::Docker, names, part) else { return };
    if step.from.is_some() && !files(seen).iter().any(|name| is_engine(name)) {
        part.refuse(
            format!("no package in {} is a Docker Engine", request.wants.docker.packages.display()),
            "put the file of docker.io, docker-ce or docker-engine there, with all that it depends on",
        );
    }
    part.add(Step::InstallPackages(step), why);
}

/// Refuses to install Docker while another containerd runs containers: Docker's packages replace that containerd, and
/// change the firewall rules of its containers.
fn refuse_tasks(seen: &Observed, part: &mut Part) {
    for tasks in &seen.docker.tasks {
        let pids: Vec<String> = tasks.pids.iter().take(5).map(u32::to_string).collect();
        let more = if tasks.pids.len() > pids.len() { ", …" } else { "" };
        part.refuse(
            format!(
                "somebody's containers run under the containerd of {} (namespace {:?}, processes {}{more}), and Docker \
                 would be installed beside it",
                tasks.address,
                tasks.namespace,
                pids.join(", ")
            ),
            "end them first (ctr -n NAMESPACE tasks list; kubectl drain; k3s-killall.sh), or set install = false in \
             [bootstrap.docker]",
        );
    }
}

/// Plans the packages with the programs that make volumes, if the layout needs them. They come before the disks' steps.
pub fn plan_tools(seen: &Observed, request: &DockerInput) -> Part {
    let mut part = Part::default();
    let needed: &[(&str, &str)] = match request.wants.disks.layout {
        Layout::None => &[],
        Layout::Merge | Layout::Split => &[("lvm", "lvm2"), ("mkfs.xfs", "xfsprogs")],
        Layout::Btrfs => &[("mkfs.btrfs", "btrfs-progs")],
    };
    let is_missing = |program: &str| seen.machine.missing_tools.iter().any(|missing| missing == program);
    let names: Vec<&str> =
        needed.iter().filter(|(program, _)| is_missing(program)).map(|(_, name)| *name).collect();
    if names.is_empty() && !is_begun(request, PackagesFor::Volumes) {
        return part;
    }
    let is_member =
        |kind: &str| seen.disks.iter().flat_map(|disk| &disk.signatures).any(|found| found.kind == kind);
    if names.contains(&"lvm2") && is_member("LVM2_member") {
        part.refuse(
            "a disk belongs to LVM, and LVM's programs are not installed: nobody can see what is on it",
            "install lvm2, and run this again",
        );
    }
    if let Some(step) = install(seen, request, PackagesFor::Volumes, &names, &mut part) {
        let is_there = |name: &str| files(seen).iter().any(|file| is_file_of(file, name));
        let absent = names.iter().filter(|name| step.from.is_some() && !is_there(name));
        for name in absent {
            let dir = request.wants.docker.packages.display();
            part.refuse(
                format!("no package in {dir} is {name}, which the layout of the disks needs"),
                format!("put {name} there with all that it depends on, or install it by hand"),
            );
        }
        part.add(Step::InstallPackages(step), "the layout of the disks needs them");
    }
    part
}

fn is_begun(request: &DockerInput, purpose: PackagesFor) -> bool {
    request
        .unfinished
        .iter()
        .any(|step| matches!(step, Step::InstallPackages(packages) if packages.purpose == purpose))
}

/// Plans to install the packages. `None`: that cannot be done; the reason is among the refusals.
fn install(
    seen: &Observed,
    request: &DockerInput,
    purpose: PackagesFor,
    names: &[&str],
    part: &mut Part,
) -> Option<InstallPackages> {
    let dir = &request.wants.docker.packages;
    let Some(manager) = seen.packages.manager else {
        part.refuse(
            format!("{} cannot be installed: there is neither apt-get nor dnf nor yum", names.join(", ")),
            "install it by hand, and run this again",
        );
        return None;
    };
    let from = (!dir.as_os_str().is_empty()).then(|| dir.clone());
    if let (Some(dir), None) = (&from, &seen.packages.offline) {
        part.refuse(
            format!("the directory of packages {} is not there", dir.display()),
            "name one with packages in [bootstrap.docker], or \"\" for the system's repositories",
        );
        return None;
    }
    if let (Some(dir), true) = (&from, files(seen).is_empty()) {
        part.refuse(
            format!("{} has no file that ends in {}", dir.display(), manager.suffix()),
            format!("this system installs with {}; put its packages there", manager.name()),
        );
        return None;
    }
    if let Some(pid) = request.locked_by {
        part.refuse(
            format!("process {pid} is using the package manager"),
            format!("wait until it has ended (ps -p {pid}), and run this again"),
        );
    }
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    Some(InstallPackages { purpose, manager, names, from })
}

fn files(seen: &Observed) -> &[String] {
    seen.packages.offline.as_deref().unwrap_or(&[])
}

/// `lvm2_2.03.16-2_amd64.deb`, `lvm2-2.03.14-5.oe2203.aarch64.rpm`
fn is_file_of(file: &str, name: &str) -> bool {
    let version = file.strip_prefix(name).and_then(|rest| rest.strip_prefix(['_', '-']));
    version.is_some_and(|version| version.starts_with(|c: char| c.is_ascii_digit()))
}

fn is_of_docker(name: &str) -> bool {
    ["docker", "containerd", "runc", "moby"].iter().any(|word| name.contains(word))
}

fn is_engine(file: &str) -> bool {
    (file.starts_with("docker") || file.starts_with("moby-engine"))
        && !NO_ENGINE.iter().any(|part| file.contains(part))
}
