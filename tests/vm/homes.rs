//! Homes that move to a disk of their own; before that, everything that an administrator can get wrong.

use crate::cuts::{Ended, run_until};
use crate::machine::Machine;
use crate::qemu::{Base, Disk, Rig};
use crate::site;

const SPLIT: &str = "[disks]\nlayout = \"split\"\nmin-size = \"512MiB\"\nmove-contents = true\n";
const HOMES: &str = "set -e
mkdir -p /home/alice/deep /home/bob && cd /home/alice
echo mine >file && ln file deep/same && ln -s file link && truncate -s 5M hole && echo end >>hole
chmod 0640 file && chmod 0700 . && chown -R 1234:1234 . && touch -d 2020-02-02 file /home/bob";
const SEE: &str = "cd /home/alice && stat -c '%n %a %u %h %Y %s' file deep/same hole && readlink link && cat file && \
                   tail -c 4 hole";
/// What no refusal may change.
const STATE: &str = "sha256sum /etc/fstab; ls -lR --time-style=full-iso /etc/berth /home | sha256sum; vgs; \
                     findmnt --real -rn -o TARGET,SOURCE; ls /etc/systemd/system/berth* 2>&1; ls -l /usr/local/bin";

#[test]
fn homes_move_after_all_that_was_wrong_is_refused() {
    let Some(rig) = Rig::find() else { return };
    let disks = ["NV1", "NV2"].map(|serial| Disk::new(serial, 1024)).to_vec();
    let mut machine = Machine::boot(&rig, Base::Bare, disks);
    site::deliver(&machine, &[SPLIT]);
    machine.ok(HOMES);
    let before = machine.ok(STATE);
    for wrong in WRONG {
        machine.ok(&format!("set -e; {}", wrong.make));
        let ran = machine.run(&wrong.run.replace("berth", site::PROGRAM));
        machine.ok(&format!("set -e; {}", wrong.mend));
        let said = format!("{}\n{}{}", wrong.run, ran.out, ran.err);
        assert_eq!(ran.code, wrong.code, "{said}");
        assert!(ran.err.contains(wrong.says), "{}: {said}", wrong.says);
        assert_eq!(machine.ok(STATE), before, "{said}");
    }

    let seen = machine.ok(SEE);
    machine.ok("systemd-run -q --unit=at-work --working-directory=/home/alice sleep 100000");
    let said = site::refused(&machine, "--apply --yes");
    assert!(said.contains("somebody is at work in /home: sleep (process "), "{said}");
    assert_eq!(machine.run("findmnt /home").code, 1, "the old homes are in use");
    machine.ok("systemctl stop at-work");
    somebody_works_on_a_copy(&mut machine);
    site::done(&site::bootstrap(&machine, "--apply --yes"));

    machine.reboot();
    // Root may log in before.
    machine.ok("timeout 200 sh -c 'until findmnt /home && findmnt /data; do sleep 0.5; done'");
    assert_eq!(machine.ok(SEE), seen);
    assert_eq!(machine.ok("findmnt -no FSTYPE /home"), "xfs");
    assert_ne!(machine.ok("stat -c %d /home"), machine.ok("stat -c %d /data"));
    assert_eq!(machine.ok("mount --bind / /mnt && cat /mnt/home/alice/file && umount /mnt"), "mine");
    let before = machine.ok("systemctl show -P Before home.mount");
    assert!(before.contains("systemd-user-sessions.service"), "nobody logs in before: {before}");
    site::nothing_is_left(&machine);
}

/// A copy that was finished, never mounted by a run, and worked on by hand is nobody's to empty.
fn somebody_works_on_a_copy(machine: &mut Machine) {
    let ended = run_until(machine, "", None, |line| line == "done tree.move:/home");
    assert_eq!(ended, Ended::Cut("done tree.move:/home".into()));
    machine.power_on();
    machine.ok("mount /dev/berth_home/home /mnt && echo new >/mnt/worked && umount /mnt");
    let said = site::refused(machine, "--apply --yes");
    assert!(said.contains("both hold something, and not the same"), "{said}");
    assert_eq!(
        machine.ok("mount /dev/berth_home/home /mnt && cat /mnt/worked && rm /mnt/worked && umount /mnt"),
        "new"
    );
}

struct Wrong {
    make: &'static str,
    run: &'static str,
    mend: &'static str,
    code: i32,
    says: &'static str,
}

const WRONG: [Wrong; 7] = [
    Wrong {
        make: "install -m 755 /root/berth /var/tmp/copy",
        run: "setpriv --reuid 65534 --regid 65534 --clear-groups /var/tmp/copy bootstrap",
        mend: "rm /var/tmp/copy",
        code: 3,
        says: "needs root",
    },
    Wrong {
        make: "true",
        run: "berth bootstrap --profile nonsense",
        mend: "true",
        code: 2,
        says: "nonsense",
    },
    Wrong {
        make: "sed 's/^\\[check\\]/&\\nos = [\"euleros 2.0\"]/' /usr/share/berth/profiles/sim.toml >/root/other.toml",
        run: "berth bootstrap --profile /root/other.toml --apply --yes",
        mend: "rm /root/other.toml",
        code: 3,
        says: "is for euleros 2.0, and this is debian 12",
    },
    Wrong {
        make: "cp -a /etc/fstab /root/fstab && echo 'UUID=1 data xfs' >>/etc/fstab",
        run: "berth bootstrap --apply --yes",
        mend: "cp -a /root/fstab /etc/fstab",
        code: 3,
        says: "\"UUID=1 data xfs\"",
    },
    Wrong {
        make: "mount --bind /etc /etc && mount -o remount,bind,ro /etc",
        run: "berth bootstrap --apply --yes",
        mend: "umount /etc",
        code: 3,
        says: "/etc cannot be written",
    },
    Wrong {
        make: "fallocate -l $(($(stat -f -c '%f*%S' /) - (32 << 20))) /root/fill",
        run: "berth bootstrap --apply --yes",
        mend: "rm /root/fill",
        code: 3,
        says: "at least 64 MiB are needed",
    },
    Wrong {
        make: "berth() { /root/berth \"$@\"; }; berth bootstrap --out /root/plan.json >/dev/null; \
               sed -i 's/\"made_at\": \"20../\"made_at\": \"2019/' /root/plan.json; \
               grep -q '\"made_at\": \"2019' /root/plan.json",
        run: "berth bootstrap --apply /root/plan.json --yes",
        mend: "rm /root/plan.json",
        code: 3,
        says: "holds for 12 hours",
    },
];
