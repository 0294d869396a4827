//! The steps that bootstrap can execute, as data. A step contains everything that its execution needs.
//!
//! `describe` gives the same text for the plan, the prompt, the log and the journal.

use super::docker_steps::{
    ApplySysctl, CloseMetadata, ConfigureDocker, InstallPackages, MoveDockerData, RunDocker,
};
use super::step_driver::{InstallRun, MakeAccount, ResumeAfterBoot, SetAddresses};
use super::{FilePurpose, Held, InstallProgram, MakeDirectory, MakeGroup, RunUnits};
use crate::model::Size;
use crate::model::disk::DiskId;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub enum Step {
    WipeDisk(WipeDisk),
    MakeVolume(MakeVolume),
    GrowVolume(GrowVolume),
    MoveTree(MoveTree),
    AddMount(AddMount),
    WriteFile(WriteFile),
    MakeAccount(MakeAccount),
    InstallRun(InstallRun),
    ResumeAfterBoot(ResumeAfterBoot),
    /// Ends this run: the remaining steps need a reboot.
    AskReboot,
    SetAddresses(SetAddresses),
    InstallPackages(InstallPackages),
    ConfigureDocker(ConfigureDocker),
    MoveDockerData(MoveDockerData),
    RunDocker(RunDocker),
    ApplySysctl(ApplySysctl),
    CloseMetadata(CloseMetadata),
    InstallProgram(InstallProgram),
    MakeGroup(MakeGroup),
    MakeDirectory(MakeDirectory),
    RunUnits(RunUnits),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Danger {
    None,
    /// Changes what is there.
    Changes,
    /// What is on these disks is lost.
    Destroys(Vec<DiskId>),
}

/// Removes what is on a disk that a person named by its serial number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WipeDisk {
    pub disk: DiskId,
    pub size: Size,
    /// What is lost.
    pub holds: Held,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskPart {
    pub id: DiskId,
    pub size: Size,
    /// Chosen when the plan is made, so that a later run recognises what an interrupted run made.
    pub pv_uuid: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    XfsLinear,
    XfsStriped,
    Btrfs,
}

/// One file system over empty disks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MakeVolume {
    /// `data`, `home`, `docker`.
    pub name: String,
    pub format: Format,
    pub disks: Vec<DiskPart>,
    pub uuid: String,
}

/// Adds empty disks to a volume of ours. Without disks, only extends the volume by the free room of its group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrowVolume {
    pub name: String,
    pub format: Format,
    pub disks: Vec<DiskPart>,
    pub target: PathBuf,
}

/// Copies a directory's contents to a volume that is not mounted yet, and compares. The old contents stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveTree {
    pub from: PathBuf,
    pub to_volume: String,
    pub to_uuid: String,
}

/// Mounts a volume, now and at every boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddMount {
    pub name: String,
    pub uuid: String,
    pub kind: String,
    pub target: PathBuf,
    pub options: String,
}

/// Writes a small file of the system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteFile {
    pub path: PathBuf,
    pub content: String,
    pub mode: u32,
    pub purpose: FilePurpose,
}

impl Step {
    /// The step's name in the journal. The same work has the same key in every run.
    pub fn key(&self) -> String {
        match self {
            Self::WipeDisk(wipe) => format!("disk.wipe:{}", wipe.disk.serial),
            Self::MakeVolume(volume) => format!("volume.make:{}", volume.name),
            Self::GrowVolume(volume) => format!("volume.grow:{}", volume.name),
            Self::MoveTree(tree) => format!("tree.move:{}", tree.from.display()),
            Self::AddMount(mount) => format!("mount.add:{}", mount.target.display()),
            Self::WriteFile(file) => format!("file.write:{}", file.path.display()),
            Self::MakeAccount(account) => format!("account.make:{}", account.user),
            Self::InstallRun(run) => format!("package.install:{}", run.kind),
            Self::ResumeAfterBoot(_) => "reboot.prepare".into(),
            Self::AskReboot => "reboot.ask".into(),
            Self::SetAddresses(_) => "hccn.set".into(),
            Self::InstallPackages(packages) => format!("packages.install:{}", packages.purpose.as_str()),
            Self::ConfigureDocker(_) => "docker.configure".into(),
            Self::MoveDockerData(_) => "docker.move".into(),
            Self::RunDocker(_) => "docker.run".into(),
            Self::ApplySysctl(_) => "sysctl.apply".into(),
            Self::CloseMetadata(_) => "metadata.close".into(),
            Self::InstallProgram(program) => format!("program.install:{}", program.to.display()),
            Self::MakeGroup(group) => format!("group.make:{}", group.name),
            Self::MakeDirectory(directory) => format!("directory.make:{}", directory.path.display()),
            Self::RunUnits(units) => format!("units.run:{}", units.units.join(",")),
        }
    }

    /// Whether this step does all the work of `other`, and to the same things. Identifiers that each plan chooses anew
    /// are not compared.
    pub fn is_same_work(&self, other: &Self) -> bool {
        self.key() == other.key() && self.covers(other)
    }

    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::MakeVolume(a), Self::MakeVolume(b)) => {
                a.format == b.format && same_disks(&a.disks, &b.disks)
            }
            (Self::GrowVolume(a), Self::GrowVolume(b)) => same_disks(&a.disks, &b.disks),
            (Self::AddMount(a), Self::AddMount(b)) => {
                (&a.target, &a.name, &a.kind, &a.options) == (&b.target, &b.name, &b.kind, &b.options)
            }
            (Self::MoveTree(a), Self::MoveTree(b)) => a.from == b.from && a.to_volume == b.to_volume,
            // Containers come and go; what stops is looked at anew.
            (Self::MoveDockerData(a), Self::MoveDockerData(b)) => {
                (&a.from, &a.to, &a.configure.settings) == (&b.from, &b.to, &b.configure.settings)
            }
            (Self::ConfigureDocker(a), Self::ConfigureDocker(b)) => {
                (&a.file, &a.settings) == (&b.file, &b.settings)
            }
            (Self::WriteFile(a), Self::WriteFile(b)) => {
                (&a.path, &a.content, a.mode) == (&b.path, &b.content, b.mode)
            }
            (Self::RunDocker(a), Self::RunDocker(b)) => a.data_root == b.data_root,
            (Self::ApplySysctl(a), Self::ApplySysctl(b)) => {
                a.file == b.file && b.values.iter().all(|(name, value)| a.values.get(name) == Some(value))
            }
            _ => self == other,
        }
    }

    pub fn describe(&self) -> String {
        match self {
            Self::WipeDisk(wipe) => {
                format!("wipe disk {} ({}): {}", wipe.disk.serial, wipe.size, wipe.holds)
            }
            Self::MakeVolume(volume) => format!(
                "make volume {} ({}) over {}",
                volume.name,
                volume.format.describe(),
                list(&volume.disks)
            ),
            Self::GrowVolume(volume) if volume.disks.is_empty() => {
                format!("grow volume {} into the room that it has", volume.name)
            }
            Self::GrowVolume(volume) => format!("grow volume {} by {}", volume.name, list(&volume.disks)),
            Self::MoveTree(tree) => {
                format!("copy {} to volume {} and compare", tree.from.display(), tree.to_volume)
            }
            Self::AddMount(mount) => {
                format!("mount volume {} at {}, now and at every boot", mount.name, mount.target.display())
            }
            Self::WriteFile(file) => format!("write {}: {}", file.path.display(), file.purpose),
            Self::MakeAccount(account) => account.describe(),
            Self::InstallRun(run) => run.describe(),
            Self::ResumeAfterBoot(resume) => resume.describe(),
            Self::AskReboot => "ask for a reboot; what follows is done after it".into(),
            Self::SetAddresses(set) => set.describe(),
            Self::InstallPackages(packages) => packages.describe(),
            Self::ConfigureDocker(configure) => configure.describe(),
            Self::MoveDockerData(data) => data.describe(),
            Self::RunDocker(run) => run.describe(),
            Self::ApplySysctl(sysctl) => sysctl.describe(),
            Self::CloseMetadata(close) => close.describe(),
            Self::InstallProgram(program) => format!("install this program as {}", program.to.display()),
            Self::MakeGroup(group) => format!("make the group {}", group.name),
            Self::MakeDirectory(directory) => {
                format!("make the directory {} (mode {:o})", directory.path.display(), directory.mode)
            }
            Self::RunUnits(units) => units.describe(),
        }
    }

    /// Names of running containers that the step stops.
    pub fn stops(&self) -> &[String] {
        match self {
            Self::MoveDockerData(data) => &data.stops,
            Self::RunDocker(run) => &run.stops,
            _ => &[],
        }
    }

    pub fn danger(&self) -> Danger {
        match self {
            Self::WipeDisk(wipe) => Danger::Destroys(vec![wipe.disk.clone()]),
            Self::InstallProgram(_) | Self::MakeGroup(_) | Self::MakeDirectory(_) | Self::AskReboot => {
                Danger::None
            }
            _ => Danger::Changes,
        }
    }

    /// The step as the commands that an admin would type.
    pub fn commands(&self) -> Vec<String> {
        match self {
            Self::WipeDisk(wipe) => vec![format!("wipefs --all {}", wipe.disk.path())],
            Self::MakeVolume(volume) => volume.commands(),
            Self::GrowVolume(volume) => volume.commands(),
            Self::MoveTree(tree) => vec![
                format!("mount UUID={} /run/berth/new", tree.to_uuid),
                format!("cp --archive {}/. /run/berth/new", tree.from.display()),
            ],
            Self::AddMount(mount) => vec![
                format!("echo '{}' >> /etc/fstab", mount.fstab_line()),
                format!("mount {}", mount.target.display()),
            ],
            Self::InstallPackages(packages) => packages.commands(),
            Self::MoveDockerData(data) => data.commands(),
            Self::RunDocker(run) => run.commands(),
            Self::ApplySysctl(sysctl) => vec![format!("sysctl --load {}", sysctl.file.display())],
            Self::CloseMetadata(close) => close.commands(),
            Self::InstallProgram(program) => vec![format!("install -m 755 berth {}", program.to.display())],
            // Their descriptions say what is written, or what for; --json has the text.
            Self::WriteFile(_) | Self::ConfigureDocker(_) => Vec::new(),
            Self::MakeGroup(group) => vec![format!("groupadd --system {}", group.name)],
            Self::MakeDirectory(directory) => {
                vec![format!("install -d -m {:o} {}", directory.mode, directory.path.display())]
            }
            Self::RunUnits(units) => units.commands(),
            Self::MakeAccount(account) => account.commands(),
            Self::InstallRun(run) => run.commands(),
            Self::ResumeAfterBoot(resume) => resume.commands(),
            Self::AskReboot => vec!["systemctl reboot".into()],
            Self::SetAddresses(set) => set.commands(),
        }
    }
}

impl Format {
    pub fn describe(self) -> &'static str {
        match self {
            Self::XfsLinear => "LVM linear, XFS",
            Self::XfsStriped => "LVM striped, XFS",
            Self::Btrfs => "btrfs",
        }
    }

    pub fn file_system(self) -> &'static str {
        match self {
            Self::XfsLinear | Self::XfsStriped => "xfs",
            Self::Btrfs => "btrfs",
        }
    }
}

impl MakeVolume {
    pub fn group(&self) -> String {
        group_name(&self.name)
    }

    fn commands(&self) -> Vec<String> {
        let paths = paths(&self.disks);
        if self.format == Format::Btrfs {
            return vec![format!("mkfs.btrfs --label {} {paths}", label(&self.name))];
        }
        let (group, name) = (self.group(), &self.name);
        let stripes = match self.format {
            Format::XfsStriped => format!(" --stripes {}", self.disks.len()),
            _ => String::new(),
        };
        vec![
            format!("pvcreate {paths}"),
            format!("vgcreate --addtag {} {group} {paths}", volume_tag(name)),
            format!("lvcreate --extents 100%FREE{stripes} --name {name} {group}"),
            format!("mkfs.xfs -L {} /dev/{group}/{name}", label(name)),
        ]
    }
}

impl GrowVolume {
    pub fn group(&self) -> String {
        group_name(&self.name)
    }

    fn commands(&self) -> Vec<String> {
        let (group, name, target) = (self.group(), &self.name, self.target.display());
        let paths = paths(&self.disks);
        if self.format == Format::Btrfs {
            return vec![format!("btrfs device add {paths} {target}")];
        }
        let mut commands = Vec::new();
        if !self.disks.is_empty() {
            commands.extend([format!("pvcreate {paths}"), format!("vgextend {group} {paths}")]);
        }
        commands.push(format!("lvextend --extents +100%FREE {group}/{name}"));
        commands.push(format!("xfs_growfs {target}"));
        commands
    }
}

impl AddMount {
    pub fn fstab_line(&self) -> String {
        let target = self.target.display();
        format!("UUID={} {target} {} {} 0 0", self.uuid, self.kind, self.options)
    }
}

/// The volume group of a volume of ours.
pub fn group_name(volume: &str) -> String {
    format!("berth_{volume}")
}

/// The LVM tag of a volume group of ours.
pub fn volume_tag(volume: &str) -> String {
    format!("berth.volume.{volume}")
}

/// The label of a file system of ours; XFS takes 12 characters.
pub fn label(volume: &str) -> String {
    format!("berth-{volume}")
}

fn same_disks(a: &[DiskPart], b: &[DiskPart]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.id == b.id)
}

fn paths(disks: &[DiskPart]) -> String {
    disks.iter().map(|disk| disk.id.path()).collect::<Vec<_>>().join(" ")
}

fn list(disks: &[DiskPart]) -> String {
    let words: Vec<String> = disks.iter().map(|disk| format!("{} ({})", disk.id.serial, disk.size)).collect();
    words.join(", ")
}
