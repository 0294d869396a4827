//! Every command that destroys data on a disk. Each command can only be made from a proof. No other file names these
//! programs: the layering test checks that.
//!
//! The guard makes a proof from fresh facts; a proof is never stored. It makes commands, and does not run them.

use super::approve::{Approved, Expected, approve};
use super::{DiskPart, Format, GrowVolume, MakeVolume, WipeDisk, group_name, label, volume_tag};
use crate::bootstrap::observed::Observed;
use crate::error::Fault;
use crate::host::block::{Alone, take_alone};
use crate::host::{Cmd, Host, Tool};
use crate::model::disk::Disk;
use crate::model::observed::FileSystem;
use std::io;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

/// Proof that a person named this disk, and that nobody uses it.
#[derive(Debug)]
pub struct Named(Approved);

/// The same disk, opened exclusively by this process.
#[derive(Debug)]
pub struct NamedAlone<'a> {
    disk: &'a Approved,
    alone: Alone,
}

impl Named {
    pub fn prove(seen: &Observed, wipe: &WipeDisk) -> Result<Self, Vec<String>> {
        approve(seen, &wipe.disk, wipe.size, Expected::Named).map(Self)
    }

    pub fn take(&self, host: &dyn Host) -> Result<NamedAlone<'_>, Fault> {
        Ok(NamedAlone { disk: &self.0, alone: take(host, &self.0)? })
    }
}

impl NamedAlone<'_> {
    /// The wipefs command. Closes the disk, because wipefs opens it exclusively.
    pub fn wipefs(self) -> Cmd {
        drop(self.alone);
        Tool::Wipefs.cmd().args(["--all", &self.disk.id().path()])
    }

    /// Overwrites both ends of the disk, so that no program recognises anything there.
    pub fn clear_ends(self) -> io::Result<()> {
        self.alone.wipe_ends(&self.disk.id().serial)
    }
}

fn take(host: &dyn Host, disk: &Approved) -> Result<Alone, Fault> {
    take_alone(host, disk.id(), disk.size().0)
}

/// Proof that a disk holds nothing, or only what an interrupted run of ours wrote.
#[derive(Debug)]
struct Member {
    disk: Approved,
    pv_uuid: String,
    is_physical_volume: bool,
    is_in_group: bool,
    is_clean: bool,
}

/// Proof that all disks may be written to from which a volume is made, or which are added to it.
#[derive(Debug)]
pub struct Members<'a> {
    name: &'a str,
    format: Format,
    /// The file system's UUID; empty for a volume that exists already.
    uuid: &'a str,
    disks: Vec<Member>,
}

impl<'a> Members<'a> {
    pub fn prove(seen: &Observed, volume: &'a MakeVolume) -> Result<Self, Vec<String>> {
        Self::of(seen, &volume.name, volume.format, &volume.uuid, volume.disks.iter())
    }

    /// Approves the disks to add. Disks that are members already are left out.
    pub fn prove_new(seen: &Observed, volume: &'a GrowVolume) -> Result<Self, Vec<String>> {
        let is_new =
            |part: &&DiskPart| !seen.disk(&part.id.serial).is_some_and(|disk| is_part_of(disk, &volume.name));
        Self::of(seen, &volume.name, volume.format, "", volume.disks.iter().filter(is_new))
    }

    fn of<'b>(
        seen: &Observed,
        name: &'a str,
        format: Format,
        uuid: &'a str,
        parts: impl Iterator<Item = &'b DiskPart>,
    ) -> Result<Self, Vec<String>> {
        let group = group_name(name);
        let mut disks = Vec::new();
        let mut objections = Vec::new();
        for part in parts {
            let expected = Expected::Own { member: &part.pv_uuid, group: &group, file_system: uuid };
            match approve(seen, &part.id, part.size, expected) {
                Ok(approved) => disks.push(Member::new(seen, part, approved, &group)),
                Err(found) => objections.extend(found),
            }
        }
        if objections.is_empty() { Ok(Self { name, format, uuid, disks }) } else { Err(objections) }
    }

    pub fn is_empty(&self) -> bool {
        self.disks.is_empty()
    }

    fn group(&self) -> String {
        group_name(self.name)
    }

    /// Opens exclusively the disks on which pvcreate has not run yet. It opens all of them before the first is written
    /// to, so that a disk in use stops the step before it has changed anything.
    pub fn take_new(&self, host: &dyn Host) -> Result<Vec<MemberAlone<'_>>, Fault> {
        let new = self.disks.iter().filter(|member| !member.is_physical_volume);
        new.map(|member| Ok(MemberAlone { member, alone: take(host, &member.disk)? })).collect()
    }

    /// Opens all disks exclusively, for btrfs.
    pub fn take_all(&self, host: &dyn Host) -> Result<MembersAlone<'_>, Fault> {
        let alone: Result<Vec<Alone>, Fault> =
            self.disks.iter().map(|member| take(host, &member.disk)).collect();
        Ok(MembersAlone { members: self, alone: alone? })
    }

    /// The command that makes the volume group, or adds the missing disks to one that an interrupted run made.
    pub fn vgcreate(&self) -> Option<Cmd> {
        let outside = self.outside();
        if outside.len() < self.disks.len() {
            return self.vgextend();
        }
        let tag = volume_tag(self.name);
        let cmd = Tool::Vgcreate.cmd().args(["--addtag", "berth", "--addtag", &tag, &self.group()]);
        (!outside.is_empty()).then(|| cmd.args(outside))
    }

    /// The command that adds the disks to the group; `None`: all of them are in it.
    pub fn vgextend(&self) -> Option<Cmd> {
        let outside = self.outside();
        (!outside.is_empty()).then(|| Tool::Vgextend.cmd().arg(self.group()).args(outside))
    }

    fn outside(&self) -> Vec<String> {
        self.disks.iter().filter(|member| !member.is_in_group).map(|member| member.disk.id().path()).collect()
    }

    /// The command that extends an existing volume by the free room of its group. The new part is linear, also behind a
    /// striped one.
    pub fn lvextend(&self) -> Cmd {
        let path = format!("{}/{}", self.group(), self.name);
        Tool::Lvextend.cmd().args(["--extents", "+100%FREE", "--stripes", "1", &path])
    }

    /// The volume over these disks. `seen` must be newer than the group. Fails unless the group has just these disks.
    pub fn volume(&self, seen: &Observed) -> Result<Volume<'_, Unseen>, Vec<String>> {
        let group = self.group();
        // By the identifiers that pvcreate wrote: udev may be about to make their links anew.
        let members = seen.disks.iter().filter_map(|disk| disk.pv.as_ref());
        let members = members.filter(|pv| pv.group.as_deref() == Some(&group));
        let ours = members.filter(|pv| self.disks.iter().any(|member| member.pv_uuid == pv.uuid)).count();
        let found = seen.group(&group).ok_or_else(|| vec![format!("volume group {group} is not there")])?;
        if ours != self.disks.len() || found.disks != ours as u64 {
            return Err(vec![format!("volume group {group} is over other disks than those of the plan")]);
        }
        let is_made = found.volumes.iter().any(|known| known.name == self.name);
        Ok(Volume { members: self, is_made, state: PhantomData })
    }
}

impl Member {
    fn new(seen: &Observed, part: &DiskPart, disk: Approved, group: &str) -> Self {
        let now = seen.disk(&part.id.serial);
        Self {
            disk,
            pv_uuid: part.pv_uuid.clone(),
            is_physical_volume: now.is_some_and(|disk| disk.pv.is_some()),
            is_in_group: now.is_some_and(|disk| disk.group() == Some(group)),
            is_clean: now.is_some_and(|disk| disk.signatures.is_empty()),
        }
    }
}

fn is_part_of(disk: &Disk, volume: &str) -> bool {
    let of_btrfs = disk
        .signatures
        .iter()
        .any(|signature| signature.kind == "btrfs" && signature.label.as_deref() == Some(&label(volume)));
    disk.group() == Some(&group_name(volume)) || of_btrfs
}

/// One disk, opened exclusively by this process.
#[derive(Debug)]
pub struct MemberAlone<'a> {
    member: &'a Member,
    alone: Alone,
}

impl MemberAlone<'_> {
    /// The pvcreate command. Closes the disk, because pvcreate opens it exclusively. It has no `--yes`: if pvcreate
    /// finds a signature that we did not see, it asks, gets no answer, and stops.
    pub fn pvcreate(self) -> Cmd {
        drop(self.alone);
        let (uuid, path) = (&self.member.pv_uuid, self.member.disk.id().path());
        Tool::Pvcreate.cmd().args(["--norestorefile", "--uuid", uuid, &path])
    }
}

/// All disks of a volume, opened exclusively by this process.
#[derive(Debug)]
pub struct MembersAlone<'a> {
    members: &'a Members<'a>,
    alone: Vec<Alone>,
}

impl MembersAlone<'_> {
    /// The mkfs command. Closes the disks, because mkfs opens them exclusively.
    pub fn mkfs_btrfs(self) -> Cmd {
        drop(self.alone);
        let members = self.members;
        let metadata = if members.disks.len() > 1 { "raid1" } else { "dup" };
        let cmd = Tool::MkfsBtrfs.cmd().args(["--uuid", members.uuid, "--label", &label(members.name)]);
        let mut cmd = cmd.args(["--data", "single", "--metadata", metadata]);
        if !members.disks.iter().all(|member| member.is_clean) {
            // Our own unfinished one: the guard lets nothing else pass.
            cmd = cmd.arg("--force");
        }
        cmd.args(members.disks.iter().map(|member| member.disk.id().path()))
    }

    /// The command that adds the disks to a btrfs. Closes them, because btrfs opens them exclusively.
    pub fn add_to_btrfs(self, target: &Path) -> Cmd {
        drop(self.alone);
        let paths = self.members.disks.iter().map(|member| member.disk.id().path());
        Tool::BtrfsDevice.cmd().arg("add").args(paths).arg(target.display().to_string())
    }
}

/// State of a volume: its contents have not been looked at.
#[derive(Debug)]
pub struct Unseen;

/// State of a volume: it has no file system, or one that mkfs did not finish.
#[derive(Debug)]
pub struct Proved;

/// The logical volume over disks that were approved.
#[derive(Debug)]
pub struct Volume<'a, State> {
    members: &'a Members<'a>,
    is_made: bool,
    state: PhantomData<State>,
}

/// What was found on a volume.
#[derive(Debug)]
pub enum Found<'a> {
    /// The file system of the plan, whole.
    Made,
    ToMake(Volume<'a, Proved>),
}

impl<'a> Volume<'a, Unseen> {
    /// The command that makes the logical volume; `None`: an interrupted run made it.
    pub fn lvcreate(&self) -> Option<Cmd> {
        if self.is_made {
            return None;
        }
        // The disks are approved: what an old file system left in their middle may go.
        let mut cmd = Tool::Lvcreate.cmd().args(["--yes", "--wipesignatures", "y", "--extents", "100%FREE"]);
        if self.members.format == Format::XfsStriped {
            cmd = cmd.args(["--stripes", &self.members.disks.len().to_string()]);
        }
        Some(cmd.args(["--name", self.members.name, &self.members.group()]))
    }

    pub fn device(&self) -> PathBuf {
        Path::new("/dev").join(self.members.group()).join(self.members.name)
    }

    /// Judges the volume by the file system that is on the device now. `Err`: something else is on it.
    pub fn prove(self, found: Option<&FileSystem>) -> Result<Found<'a>, String> {
        let proved = Volume { members: self.members, is_made: true, state: PhantomData };
        match found {
            Some(fs) if fs.kind == "xfs" && fs.uuid.as_deref() == Some(self.members.uuid) && fs.complete => {
                Ok(Found::Made)
            }
            // Half made, by us: nobody could have mounted it.
            Some(fs) if fs.kind == "xfs" && !fs.complete => Ok(Found::ToMake(proved)),
            Some(fs) => Err(format!("{} holds {}, which was not expected", self.device().display(), fs.kind)),
            None => Ok(Found::ToMake(proved)),
        }
    }
}

impl Volume<'_, Proved> {
    pub fn mkfs(&self) -> Cmd {
        let (uuid, label) = (format!("uuid={}", self.members.uuid), label(self.members.name));
        let device = Path::new("/dev").join(self.members.group()).join(self.members.name);
        let device = device.display().to_string();
        Tool::MkfsXfs.cmd().args(["-f", "-m", &uuid, "-L", &label, &device])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap::samples::{GIB, disk, machine, mounted, signature};
    use crate::model::Size;
    use crate::model::disk::{Content, PhysicalVolume};
    use crate::model::observed::{LogicalVolume, VolumeGroup};

    const SIZE: Size = Size(3000 * GIB);

    fn step(names: &[&str], format: Format) -> MakeVolume {
        let part = |name: &&str| DiskPart {
            id: disk(name).id.unwrap(),
            size: SIZE,
            pv_uuid: format!("uuid-{name}"),
        };
        let disks = names.iter().map(part).collect();
        MakeVolume { name: "data".into(), format, disks, uuid: "fs".into() }
    }

    fn member(name: &str, uuid: &str) -> Disk {
        Disk {
            signatures: vec![signature("LVM2_member", None)],
            content: Content::Data,
            pv: Some(PhysicalVolume { uuid: uuid.into(), group: Some("berth_data".into()) }),
            ..disk(name)
        }
    }

    fn with_group(disks: Vec<Disk>, members: u64, volumes: Vec<LogicalVolume>) -> Observed {
        let group = VolumeGroup {
            name: "berth_data".into(),
            uuid: "vg".into(),
            tags: Vec::new(),
            missing_disks: 0,
            disks: members,
            free_bytes: 0,
            volumes,
        };
        Observed { groups: vec![group], ..machine(disks) }
    }

    fn file_system(kind: &str, uuid: &str, complete: bool) -> FileSystem {
        FileSystem { kind: kind.into(), uuid: Some(uuid.into()), label: None, complete }
    }

    #[test]
    fn only_an_approved_disk_is_wiped() {
        let wipe = WipeDisk {
            disk: disk("NV1").id.unwrap(),
            size: SIZE,
            holds: super::super::Held::Things(Vec::new()),
        };
        Named::prove(&machine(vec![disk("NV1")]), &wipe).unwrap();
        let used = Disk { uses: vec![mounted("/x")], ..disk("NV1") };
        assert!(Named::prove(&machine(vec![used]), &wipe).unwrap_err()[0].contains("/x"));
        // What was approved is looked for again before it is taken.
        let named = Named::prove(&machine(vec![disk("NV1")]), &wipe).unwrap();
        assert!(named.take(&crate::host::RealHost::default()).unwrap_err().message.contains("is gone"));
    }

    #[test]
    fn a_group_gets_the_disks_that_it_does_not_have() {
        let step = step(&["NV1", "NV2"], Format::XfsLinear);
        let said =
            |disks| Members::prove(&machine(disks), &step).unwrap().vgcreate().map(|cmd| cmd.to_string());
        let path = |name: &str| disk(name).id.unwrap().path();
        let made = "vgcreate --addtag berth --addtag berth.volume.data berth_data";
        let (one, two) = (path("NV1"), path("NV2"));
        assert_eq!(said(vec![disk("NV1"), disk("NV2")]).unwrap(), format!("{made} {one} {two}"));
        let half = vec![member("NV1", "uuid-NV1"), disk("NV2")];
        assert_eq!(said(half).unwrap(), format!("vgextend berth_data {two}"));
        assert_eq!(said(vec![member("NV1", "uuid-NV1"), member("NV2", "uuid-NV2")]), None);
        let foreign = machine(vec![disk("NV1"), Disk { uses: vec![mounted("/x")], ..disk("NV2") }]);
        assert!(Members::prove(&foreign, &step).is_err());
    }

    #[test]
    fn a_volume_is_made_over_the_approved_disks_and_no_others() {
        let step = step(&["NV1", "NV2"], Format::XfsStriped);
        let before = machine(vec![disk("NV1"), disk("NV2")]);
        let members = Members::prove(&before, &step).unwrap();
        let both = || vec![member("NV1", "uuid-NV1"), member("NV2", "uuid-NV2")];
        let volume =
            |seen: &Observed| members.volume(seen).map(|volume| volume.lvcreate().map(|cmd| cmd.to_string()));
        assert_eq!(
            volume(&with_group(both(), 2, Vec::new())).unwrap().unwrap(),
            "lvcreate --yes --wipesignatures y --extents 100%FREE --stripes 2 --name data berth_data"
        );
        let known = LogicalVolume {
            name: "data".into(),
            tags: Vec::new(),
            size_bytes: 1,
            active: true,
            stripes: 2,
            file_system: None,
        };
        assert_eq!(volume(&with_group(both(), 2, vec![known])).unwrap(), None);
        for other in [
            machine(both()),
            with_group(both(), 3, Vec::new()),
            with_group(vec![member("NV1", "uuid-NV1"), member("NV2", "else")], 2, Vec::new()),
            with_group(vec![member("NV1", "uuid-NV1"), disk("NV2")], 2, Vec::new()),
        ] {
            volume(&other).unwrap_err();
        }
    }

    #[test]
    fn a_file_system_is_made_where_there_is_none_or_our_own_half_one() {
        let step = step(&["NV1"], Format::XfsLinear);
        let members = Members::prove(&machine(vec![disk("NV1")]), &step).unwrap();
        let seen = with_group(vec![member("NV1", "uuid-NV1")], 1, Vec::new());
        let look = |found: Option<&FileSystem>| match members.volume(&seen).unwrap().prove(found) {
            Ok(Found::Made) => "made".to_owned(),
            Ok(Found::ToMake(proved)) => proved.mkfs().to_string(),
            Err(why) => why,
        };
        let mkfs = "mkfs.xfs -f -m uuid=fs -L berth-data /dev/berth_data/data";
        assert_eq!(look(None), mkfs);
        assert_eq!(look(Some(&file_system("xfs", "any", false))), mkfs);
        assert_eq!(look(Some(&file_system("xfs", "fs", true))), "made");
        for other in [file_system("xfs", "other", true), file_system("ext4", "fs", true)] {
            assert!(look(Some(&other)).ends_with("which was not expected"));
        }
    }
}
