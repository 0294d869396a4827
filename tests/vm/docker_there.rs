//! Servers that have Docker already, or get it from an apt repository.

use crate::machine::Machine;
use crate::qemu::{Base, Disk, Rig};
use crate::site;

fn two_disks() -> Vec<Disk> {
    ["NV1", "NV2"].map(|serial| Disk::new(serial, 2048)).to_vec()
}

#[test]
fn an_existing_docker_moves_with_its_images_and_its_container_runs_again() {
    let Some(rig) = Rig::find() else { return };
    let mut machine = Machine::boot(&rig, Base::Docker, two_disks());
    site::put_image(&rig, &machine);
    machine.ok("docker import /root/workspace.tar theirs:1");
    machine.ok("docker run -d --stop-signal KILL --name theirs --restart always -v kept:/kept theirs:1 sleep 1000000");
    // Nobody but bootstrap starts this one again.
    machine
        .ok("docker run -d --stop-signal KILL --name plain theirs:1 sleep 1000000 && docker create --name never theirs:1 true");
    machine.ok("docker exec theirs sh -c 'echo inside >/home/ma-user/file; echo volume >/kept/file'");
    machine.write("/etc/docker/daemon.json", "{\"debug\": false, \"labels\": [\"theirs=1\"]}\n");
    let image = machine.ok("docker image inspect -f '{{.Id}}' theirs:1");

    site::deliver(&machine, &[site::MERGE, site::OFFLINE]);
    site::apply(&machine);
    let see = |machine: &Machine| {
        let running = "timeout 200 sh -c 'until docker exec theirs true 2>/dev/null; do sleep 0.5; done'";
        machine.ok(running);
        assert_eq!(machine.ok("docker info -f '{{.DockerRootDir}}'"), "/data/docker");
        assert_eq!(machine.ok("docker image inspect -f '{{.Id}}' theirs:1"), image);
        assert_eq!(machine.ok("docker exec theirs cat /home/ma-user/file /kept/file"), "inside\nvolume");
        assert!(machine.ok("cat /etc/docker/daemon.json").contains("theirs=1"), "daemon.json is merged");
    };
    see(&machine);
    assert_eq!(machine.ok("docker ps --format '{{.Names}}' | sort"), "plain\ntheirs");
    let settings = "docker info -f '{{.LiveRestoreEnabled}} {{.LoggingDriver}}' && \
                    docker inspect -f '{{.HostConfig.LogConfig.Config}}' $(docker run -d theirs:1 true) && \
                    iptables -S DOCKER-USER | grep -c 169.254.169.254";
    assert_eq!(machine.ok(settings), "true json-file\nmap[max-file:3 max-size:100m]\n1");
    machine.reboot();
    see(&machine);
}

/// Users of its containers are not the node's: all its data are in a directory UID.GID. The first switch fails, because
/// those users cannot come through the top of the volume.
#[test]
fn a_docker_with_remapped_users_moves_and_a_switch_that_fails_is_taken_back() {
    let Some(rig) = Rig::find() else { return };
    let machine = Machine::boot(&rig, Base::Docker, two_disks());
    site::put_image(&rig, &machine);
    machine.write("/etc/docker/daemon.json", "{\"userns-remap\": \"default\"}\n");
    machine.ok("systemctl restart docker && docker import /root/workspace.tar theirs:1");
    machine.ok("docker run -d --stop-signal KILL --name theirs -v kept:/kept theirs:1 sleep 1000000");
    machine.ok("docker exec theirs sh -c 'echo inside >/home/ma-user/file; echo volume >/kept/file'");
    let sees = |root: &str| {
        assert_eq!(machine.ok("docker ps --format '{{.Names}}'"), "theirs");
        assert_eq!(machine.ok("docker exec theirs cat /home/ma-user/file /kept/file"), "inside\nvolume");
        let is = machine.ok("docker info -f '{{.DockerRootDir}}'");
        let (above, remapped) = is.rsplit_once('/').unwrap();
        assert!(above == root && remapped.contains('.'), "{is}");
    };
    sees("/var/lib/docker");
    others_mean_the_mount_point(&machine);
    ctrl_c_at_the_question_ends_it(&machine);

    site::deliver(&machine, &[site::MERGE]);
    site::done(&site::bootstrap(&machine, "--apply --yes"));
    machine.ok("chmod 700 /data");
    site::deliver(&machine, &[site::MERGE, site::OFFLINE]);
    let failed = site::bootstrap(&machine, "--apply --yes");
    assert_eq!(failed.code, 5, "{}{}", failed.out, failed.err);
    for said in [
        "runs again with the old ones, and so does",
        // dockerd's own words, which are not among systemd's.
        "restricts access to the remapped root uid/gid",
        "docker.berth-failed-1",
    ] {
        assert!(failed.err.contains(said), "{said:?} is not said:\n{}", failed.err);
    }
    sees("/var/lib/docker");
    assert_eq!(machine.ok("cat /etc/docker/daemon.json"), "{\"userns-remap\": \"default\"}");

    machine.ok("chmod 755 /data");
    site::apply(&machine);
    sees("/data/docker");
}

/// With a terminal of its own, and the key pressed there.
fn ctrl_c_at_the_question_ends_it(machine: &Machine) {
    let before = site::state_of_disks(machine);
    let pressed = "cd /root && mkfifo keys && { env --default-signal=INT script -qefc 'exec /root/berth bootstrap --apply' screen <>keys >/dev/null 2>&1; \
        echo $? >code; } & cd /root; until_it() { timeout 600 sh -c \"until $1; do sleep 0.2; done\"; }; \
        until_it \"grep -qs 'Type yes' screen\" && printf '\\003' >keys && until_it '[ -s code ]' && cat code";
    assert_eq!(machine.ok(pressed), "5", "{}", machine.ok("cat /root/screen"));
    assert!(machine.ok("cat /root/screen").contains("stopped at the question: nothing was changed"));
    assert_eq!(site::state_of_disks(machine), before);
}

/// Each is refused, before anything is written, and then taken away again.
fn others_mean_the_mount_point(machine: &Machine) {
    site::deliver(machine, &[site::MERGE, site::OFFLINE]);
    let unit =
        "[Mount]\nWhat=/dev/disk/by-label/theirs\nWhere=/data\n[Install]\nWantedBy=multi-user.target\n";
    machine.write("/root/data.mount", unit);
    let in_a_namespace = "truncate -s 64M /root/theirs.img && mkfs.ext4 -q /root/theirs.img && mkdir -p /data && \
        systemd-run -q --unit=theirs unshare -m sh -c 'mount -o loop /root/theirs.img /data && exec sleep 10000' && \
        timeout 60 sh -c 'until nsenter -t $(systemctl show -P MainPID theirs) -m mountpoint -q /data; do sleep 0.2; done'";
    let not_in_a_namespace = "systemctl stop theirs && \
        timeout 60 sh -c 'while losetup -a | grep -q theirs.img; do sleep 0.2; done' && rm /root/theirs.img && rmdir /data";
    let without_inodes = "mkdir -p /var/lib/berth && mount -t tmpfs -o nr_inodes=1 tmpfs /var/lib/berth";
    let cases = [
        ("echo >/data", "rm /data", "that is no directory"),
        (
            "cp /etc/fstab /root/fstab && echo 'LABEL=theirs /data/ ext4 noauto,nofail 0 0' >>/etc/fstab",
            "cp /root/fstab /etc/fstab && systemctl daemon-reload",
            "mounts LABEL=theirs at /data",
        ),
        (
            "cp /root/data.mount /etc/systemd/system && systemctl daemon-reload && systemctl -q enable data.mount",
            "systemctl -q disable data.mount && rm /etc/systemd/system/data.mount && systemctl daemon-reload",
            "data.mount of systemd means /data for something else (enabled, not active now)",
        ),
        (in_a_namespace, not_in_a_namespace, "in a namespace of its own"),
        (
            "mv /etc/docker/daemon.json /root && mkdir /etc/docker/daemon.json",
            "rmdir /etc/docker/daemon.json && mv /root/daemon.json /etc/docker",
            "daemon.json is a directory",
        ),
        (
            "cp -p /etc/docker/daemon.json /root && echo '{\"log-opts\": 7}' >/etc/docker/daemon.json",
            "mv /root/daemon.json /etc/docker",
            "\"log-opts\" must be an object of texts",
        ),
        (without_inodes, "umount /var/lib/berth", "/var/lib/berth"),
    ];
    let state = || site::state_of_disks(machine);
    let before = state();
    for (make, unmake, why) in cases {
        machine.ok(make);
        let said = site::refused(machine, "--apply --yes");
        assert!(said.contains(why), "{why:?} is not said:\n{said}");
        machine.ok(unmake);
        assert_eq!(state(), before, "{why}");
    }
}

/// To a node whose containers are to have users of their own: that was written before there was a Docker.
#[test]
fn docker_comes_from_an_apt_repository() {
    let Some(rig) = Rig::find() else { return };
    let machine = Machine::boot(&rig, Base::Bare, two_disks());
    site::deliver(&machine, &[site::MERGE, site::ONLINE]);
    // Nothing serves it yet: the run fails in the middle, and the next one goes on.
    machine.write("/etc/apt/sources.list", "deb [trusted=yes] http://127.0.0.1:8000 ./\n");
    let failed = site::bootstrap(&machine, "--apply --yes");
    assert!(failed.code == 5 || failed.code == 6, "{}: {}{}", failed.code, failed.out, failed.err);
    site::serve_packages(&machine);
    machine.ok("mkdir -p /etc/docker");
    machine.write("/etc/docker/daemon.json", "{\"userns-remap\": \"default\"}\n");
    site::apply(&machine);
    let root = machine.ok("docker info -f '{{.DockerRootDir}}'");
    assert!(root.strip_prefix("/data/docker/").is_some_and(|users| users.contains('.')), "{root}");
}
