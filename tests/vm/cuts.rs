//! Power cuts while bootstrap runs. Afterwards the machine boots, the next run converges or refuses cleanly, and
//! somebody else's disk is as it was.

use crate::machine::Machine;
use crate::qemu::{Base, Disk, Rig};
use crate::site;
use serde_json::Value;
use std::time::{Duration, Instant};

/// Longer than any step takes without a line in the journal.
const STEP: Duration = Duration::from_mins(10);
const CANARY: &str = "blkid -p -s TYPE -o value /dev/disk/by-id/nvme-*_THEIRS && debugfs -R 'cat /canary' \
                      /dev/disk/by-id/nvme-*_THEIRS 2>/dev/null";

/// How a run of bootstrap came to its end.
#[derive(Debug, Clone, PartialEq)]
pub enum Ended {
    /// After this line of the journal: its event and its step.
    Cut(String),
    Exit(i32),
}

/// A bare server with empty disks, berth, and a disk of somebody else's.
pub fn server(rig: &Rig, docker: &str) -> Machine {
    let mut disks = ["NV1", "NV2", "NV3"].map(|serial| Disk::new(serial, 1024)).to_vec();
    disks.insert(1, Disk::new("THEIRS", 1024));
    let machine = Machine::boot(rig, Base::Bare, disks);
    make_theirs(&machine);
    let disks = format!("{}leave = [\"THEIRS\"]\n", site::MERGE);
    site::deliver(&machine, &[&disks, docker]);
    machine.ok("sync");
    machine
}

/// Somebody's file on the disk THEIRS.
pub fn make_theirs(machine: &Machine) {
    machine.ok("d=$(readlink -f /dev/disk/by-id/nvme-*_THEIRS) && mkfs.ext4 -q $d && mount $d /mnt && \
                echo canary >/mnt/canary && umount /mnt");
}

#[track_caller]
pub fn theirs_is_as_it_was(machine: &Machine) {
    assert_eq!(machine.ok(CANARY), "ext4\ncanary");
}

/// Runs bootstrap with `args`, and cuts the power when a line of its journal says so (`at`), or when the time has come.
pub fn run_until(
    machine: &mut Machine,
    args: &str,
    after: Option<Duration>,
    mut at: impl FnMut(&str) -> bool,
) -> Ended {
    let (journal, program) = (site::JOURNAL, site::PROGRAM);
    let script = format!(
        "mkdir -p $(dirname {journal}); touch {journal}; tail -n 0 -F {journal} 2>/dev/null & \
         {program} bootstrap --apply --yes {args} >/root/said 2>&1; echo exit=$?; kill $!"
    );
    let lines = machine.follow(&script);
    let start = Instant::now();
    let mut last = "nothing".to_owned();
    loop {
        let wait = after.map_or(STEP, |after| after.saturating_sub(start.elapsed()));
        let Some(line) = lines.line(wait) else {
            assert!(
                after.is_some(),
                "after {last}, no word for {STEP:?}:\n{}",
                machine.run("cat /root/said").out
            );
            machine.cut();
            return Ended::Cut(last);
        };
        if let Some(code) = line.strip_prefix("exit=") {
            return Ended::Exit(code.parse().unwrap());
        }
        last = name(&line);
        if at(&last) {
            machine.cut();
            return Ended::Cut(last);
        }
    }
}

/// `started volume.make:data`
fn name(line: &str) -> String {
    let entry: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line:?}"));
    let word = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    format!("{} {}", word("event"), word("step")).trim_end().to_owned()
}

/// Boots after a cut; somebody else's disk is as it was.
#[track_caller]
pub fn boot_again(machine: &mut Machine) {
    machine.disks.rotate_left(1);
    machine.power_on();
    theirs_is_as_it_was(machine);
}

/// What bootstrap said last.
pub fn said(machine: &Machine) -> String {
    machine.run("cat /root/said").out
}

/// Cuts at each new line of the journal, boots, goes on, until there is no new line; the lines where it was cut.
pub fn cut_everywhere(machine: &mut Machine, args: &str, wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let mut cut: Vec<String> = Vec::new();
    loop {
        match run_until(machine, args, None, |line| wanted(line) && !cut.iter().any(|before| before == line))
        {
            Ended::Cut(line) => {
                eprintln!("cut after {line}");
                cut.push(line);
                boot_again(machine);
            }
            Ended::Exit(code) if site::is_done(code) => return cut,
            Ended::Exit(code) => panic!("after cuts at {cut:?} it ended with {code}:\n{}", said(machine)),
        }
    }
}

/// Everything is as if there had been no cut.
#[track_caller]
pub fn is_whole(machine: &Machine) {
    site::nothing_is_left(machine);
    assert_eq!(machine.ok("vgs --noheadings -o pv_count berth_data").trim(), "3");
    assert_eq!(machine.ok("findmnt -no FSTYPE /data"), "xfs");
    assert_eq!(machine.ok("grep -c ' /data ' /etc/fstab"), "1");
    theirs_is_as_it_was(machine);
    machine.ok("systemctl is-active berth.service");
}

#[test]
fn a_run_that_lost_its_power_goes_on() {
    let Some(rig) = Rig::find() else { return };
    let mut machine = server(&rig, "");
    let cut = cut_everywhere(&mut machine, "", |line| {
        ["started volume.make:data", "done volume.make:data", "started mount.add:/data"].contains(&line)
    });
    assert_eq!(cut.len(), 3, "{cut:?}");
    is_whole(&machine);
}
