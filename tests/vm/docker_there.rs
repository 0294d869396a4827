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
    site::apply(&machine);
    assert_eq!(machine.ok("docker info -f '{{.DockerRootDir}}'"), "/data/docker");
}
