//! Every state in which Docker, packages and settings can be, and what is decided about them.

use super::*;
use crate::bootstrap::plan::{InstallPackages, MoveDockerData, PackagesFor};
use crate::bootstrap::samples;
use crate::model::disk::{Content, Disk, Signature};
use crate::model::docker_seen::{
    DaemonFile, DockerSeen, EngineSaid, Flag, Neighbour, PackageManager, PackagesSeen, Place, Service, Tasks,
};
use crate::profile::{DiskWants, DockerWants, Layout};

/// A server with Docker as Debian installs it.
fn seen() -> Observed {
    Observed {
        docker: DockerSeen {
            program: Some("/usr/sbin/dockerd".into()),
            service: Some(Service { is_active: true, is_enabled: true, flags: Vec::new() }),
            has_socket_unit: true,
            daemon_file: DaemonFile { path: "/etc/docker/daemon.json".into(), ..DaemonFile::default() },
            root: "/var/lib/docker".into(),
            ..DockerSeen::default()
        },
        packages: PackagesSeen { manager: Some(PackageManager::AptGet), ..PackagesSeen::default() },
        ..samples::machine(Vec::new())
    }
}

/// The same before Docker is there.
fn bare() -> Observed {
    let docker = DockerSeen { root: "/var/lib/docker".into(), ..DockerSeen::default() };
    Observed { docker, ..seen() }
}

fn wants() -> Bootstrap {
    Bootstrap {
        disks: DiskWants { layout: Layout::Merge, ..DiskWants::default() },
        docker: DockerWants { install: true, ..DockerWants::default() },
        sysctl: [("vm.max_map_count".to_owned(), 262_144)].into(),
        ..Bootstrap::default()
    }
}

fn request(wants: &Bootstrap) -> DockerInput<'_> {
    DockerInput {
        wants,
        close_metadata: true,
        unfinished: &[],
        is_stale: false,
        running: Ok(Running::default()),
        to_restart: &[],
        data_bytes: None,
        room: None,
        locked_by: None,
    }
}

fn keys(part: &Part) -> Vec<String> {
    part.steps.iter().map(|planned| planned.step.key()).collect()
}

#[track_caller]
fn refused(part: &Part, why: &str) {
    let all: Vec<&str> = part.refusals.iter().map(|refusal| refusal.what.as_str()).collect();
    assert!(all.iter().any(|what| what.contains(why)), "no {why:?} among {all:?}");
}

type Change = fn(&mut Observed);

const SYSCTL_KEY: &str = "file.write:/etc/sysctl.d/99-zz-berth.conf";
const DROP_IN_KEY: &str = "file.write:/etc/systemd/system/docker.service.d/berth.conf";

/// A machine on which all of the plan was done.
fn done(wants: &Bootstrap) -> Observed {
    let mut seen = seen();
    let root = wants.data_root().unwrap();
    let settings = settings(&seen, &request(wants), &Root::Switch { to: root.clone() });
    seen.docker.daemon_file.text = Some(merge("", None, &[], &settings, false).unwrap().text);
    seen.docker.root = root.display().to_string();
    seen.docker.drop_in = Some(drop_in(&root));
    seen.docker.metadata_closed = Some(true);
    seen
}

#[test]
fn a_bare_machine_gets_all_of_it_in_order() {
    let wants = wants();
    let part = plan(&bare(), &request(&wants));
    assert_eq!(part.refusals, []);
    assert_eq!(
        keys(&part),
        ["packages.install:docker", DROP_IN_KEY, "docker.configure", "docker.run", "metadata.close"]
    );
    let Step::RunDocker(run) = &part.steps[3].step else { panic!("{:?}", part.steps[3]) };
    assert!(run.restart && run.stops.is_empty());
}

#[test]
fn what_is_right_is_left_alone() {
    let wants = wants();
    let part = plan(&done(&wants), &request(&wants));
    assert_eq!((keys(&part), part.refusals), (vec![], vec![]));
    assert_eq!(part.right.len(), 6, "{:?}", part.right);
    let off = Bootstrap::default();
    let part = plan(&bare(), &request(&off));
    assert_eq!((part.steps.len(), part.right.len()), (0, 1));
}

#[test]
fn each_thing_that_is_missing_is_one_step() {
    let wants = wants();
    let cases: [(&str, Change, &[&str]); 6] = [
        ("stopped", |seen| seen.docker.service.as_mut().unwrap().is_active = false, &["docker.run"]),
        ("disabled", |seen| seen.docker.service.as_mut().unwrap().is_enabled = false, &["docker.run"]),
        ("open", |seen| seen.docker.metadata_closed = Some(false), &["metadata.close"]),
        ("unknown", |seen| seen.docker.metadata_closed = None, &["metadata.close"]),
        ("drop-in", |seen| seen.docker.drop_in = Some("old".into()), &[DROP_IN_KEY]),
        (
            "runtime",
            |seen| seen.docker.ascend_runtime = Some("/a".into()),
            &["docker.configure", "docker.run"],
        ),
    ];
    for (name, change, expected) in cases {
        let mut seen = done(&wants);
        change(&mut seen);
        assert_eq!(keys(&plan(&seen, &request(&wants))), expected, "{name}");
    }
}

#[test]
fn an_interrupted_run_goes_on() {
    let wants = wants();
    let seen = done(&wants);
    let stale = DockerInput { is_stale: true, ..request(&wants) };
    let part = plan(&seen, &stale);
    assert!(matches!(&part.steps[0].step, Step::RunDocker(run) if run.restart));
    let to_restart = ["train".to_owned()];
    let part = plan(&seen, &DockerInput { to_restart: &to_restart, ..request(&wants) });
    assert!(matches!(&part.steps[0].step, Step::RunDocker(run) if !run.restart));
    let install = Step::InstallPackages(InstallPackages {
        purpose: PackagesFor::Docker,
        manager: PackageManager::AptGet,
        names: Vec::new(),
        from: None,
    });
    let part = plan(&seen, &DockerInput { unfinished: &[install], ..request(&wants) });
    assert_eq!(keys(&part)[0], "packages.install:docker");
    let mut half = seen.clone();
    half.packages.half = vec!["vim".into()];
    assert!(plan(&half, &request(&wants)).steps.is_empty());
    half.packages.half.push("containerd".into());
    assert_eq!(keys(&plan(&half, &request(&wants)))[0], "packages.install:docker");
}

#[test]
fn data_that_are_there_move_and_their_containers_are_named() {
    let wants = wants();
    let mut seen = seen();
    seen.docker.root_holds = true;
    let running = vec!["train".to_owned(), "web".to_owned()];
    let running_now = Running { names: running.clone(), ..Running::default() };
    let part =
        plan(&seen, &DockerInput { running: Ok(running_now), data_bytes: Some(5 << 30), ..request(&wants) });
    assert_eq!(part.refusals, []);
    assert_eq!(keys(&part), [DROP_IN_KEY, "docker.move", "docker.run", "metadata.close"]);
    let Step::MoveDockerData(data) = &part.steps[1].step else { panic!("{:?}", part.steps[1]) };
    assert_eq!((data.from.to_str(), data.to.to_str()), (Some("/var/lib/docker"), Some("/data/docker")));
    assert_eq!(data.stops, running);
    let text = part.steps[1].step.describe();
    assert!(text.contains("STOPS 2 running containers") && text.contains("5GiB"), "{text}");
    assert!(part.notes.iter().any(|note| note.contains("rm -r /var/lib/docker")), "{:?}", part.notes);
    assert!(matches!(&part.steps[2].step, Step::RunDocker(run) if !run.restart));
}

#[test]
fn data_that_hold_nothing_do_not_move() {
    let wants = wants();
    for place in [Place::Free, Place::Docker] {
        let mut seen = seen();
        seen.docker.wanted = place;
        let part = plan(&seen, &request(&wants));
        assert_eq!(keys(&part)[1], "docker.configure", "{place:?}");
    }
    let mut seen = seen();
    seen.docker.wanted = Place::Taken;
    refused(
        &plan(&seen, &request(&wants)),
        "/data/docker is to hold Docker's data, and holds something else",
    );
}

#[test]
fn a_move_is_refused_beforehand() {
    let wants = wants();
    let with = |change: fn(&mut Observed), request: DockerInput| {
        let mut seen = seen();
        seen.docker.root_holds = true;
        change(&mut seen);
        plan(&seen, &request)
    };
    for place in [Place::Docker, Place::Taken] {
        let mut both = seen();
        (both.docker.root_holds, both.docker.wanted) = (true, place);
        refused(&plan(&both, &request(&wants)), "both hold something");
    }
    let copy = with(|seen| seen.docker.copy = Place::Taken, request(&wants));
    refused(&copy, "/data/docker.berth-copy, and both hold something");
    refused(&with(|seen| seen.docker.wanted = Place::Unfinished, request(&wants)), "was never used");
    let small = DockerInput { data_bytes: Some(20 << 30), room: Some(20 << 30), ..request(&wants) };
    refused(&with(|_| {}, small), "has room for 18.9GiB");
    let mute = DockerInput { running: Err("it hangs".into()), ..request(&wants) };
    refused(&with(|_| {}, mute), "does not say what runs in it: it hangs");
    refused(&with(|seen| seen.docker.root = "/data".into(), request(&wants)), "one is inside the other");
}

#[test]
fn what_a_running_engine_says_decides() {
    let wants = wants();
    let with = |change: fn(&mut EngineSaid), is_stale: bool| {
        let mut seen = seen();
        let mut said = EngineSaid { root: seen.docker.root.clone(), ..EngineSaid::default() };
        change(&mut said);
        seen.docker.engine = Some(said);
        plan(&seen, &DockerInput { is_stale, ..request(&wants) })
    };
    // Its files look empty, and it has containers: they move.
    let part = with(|said| said.holds = true, false);
    assert_eq!((part.refusals.len(), keys(&part)[1].as_str()), (0, "docker.move"));
    let part = with(|said| (said.holds, said.is_remapped) = (true, true), false);
    assert_eq!((part.refusals.len(), keys(&part)[1].as_str()), (0, "docker.move"));
    for driver in ["btrfs", "zfs", "devicemapper"] {
        let mut seen = seen();
        let root = seen.docker.root.clone();
        seen.docker.engine =
            Some(EngineSaid { root, driver: Some(driver.into()), holds: true, ..EngineSaid::default() });
        refused(&plan(&seen, &request(&wants)), &format!("storage driver {driver}"));
    }
    refused(
        &with(|said| (said.holds, said.has_containerd_store) = (true, true), false),
        "kept by containerd",
    );
    let switched = with(|said| said.has_containerd_store = true, false);
    assert_eq!((switched.refusals.len(), keys(&switched)[1].as_str()), (0, "docker.configure"));
    assert!(switched.notes.iter().any(|note| note.contains("/var/lib/containerd")), "{:?}", switched.notes);
    refused(&with(|said| said.is_rootless = true, false), "without root's rights");
    let other: fn(&mut EngineSaid) = |said| said.root = "/srv/docker".into();
    refused(
        &with(other, false),
        "works with the data in /srv/docker, and its configuration names /var/lib/docker",
    );
    assert_eq!(with(other, true).refusals, [], "our own change, which it has not read yet");
    let used: fn(&mut EngineSaid) = |said| (said.root, said.holds) = ("/srv/docker".into(), true);
    refused(&with(used, true), "works with the data in /srv/docker");
}

#[test]
fn a_copy_of_ours_is_made_anew() {
    let wants = wants();
    let mut seen = seen();
    (seen.docker.root_holds, seen.docker.wanted) = (true, Place::Unfinished);
    let begun = Step::MoveDockerData(MoveDockerData {
        from: "/var/lib/docker".into(),
        to: "/data/docker".into(),
        bytes: None,
        stops: Vec::new(),
        configure: ConfigureDocker {
            file: "/etc/docker/daemon.json".into(),
            settings: DaemonSettings::default(),
            changes: Vec::new(),
        },
    });
    let again = DockerInput { unfinished: &[begun], ..request(&wants) };
    let part = plan(&seen, &again);
    assert_eq!((part.refusals.len(), keys(&part)[1].as_str()), (0, "docker.move"));
    seen.docker.root_driver = Some("btrfs".into());
    refused(&plan(&seen, &again), "storage driver btrfs");
}

#[test]
fn a_restart_names_what_it_stops() {
    let wants = wants();
    let stops = |file: Option<&str>, flags: Vec<Flag>| {
        let mut seen = done(&wants);
        seen.docker.daemon_file.text = file.map(str::to_owned);
        seen.docker.service.as_mut().unwrap().flags = flags;
        let running = Running { names: vec!["train".into()], ..Running::default() };
        let part = plan(&seen, &DockerInput { running: Ok(running), ..request(&wants) });
        let run = part.steps.iter().find_map(|planned| match &planned.step {
            Step::RunDocker(run) => Some(run.clone()),
            _ => None,
        });
        run.unwrap().stops
    };
    assert_eq!(stops(None, Vec::new()), ["train"]);
    assert_eq!(stops(Some(r#"{"live-restore":true}"#), Vec::new()), [""; 0]);
    assert_eq!(stops(None, vec![Flag { key: "live-restore".into(), value: None }]), [""; 0]);
}

#[test]
fn a_stop_that_would_remove_a_container_is_refused_by_name() {
    let wants = wants();
    let why = "started with --rm, with all that is in it: once";
    let running = |live_restore| {
        let names = vec!["once".to_owned(), "train".to_owned()];
        Ok(Running { names, removed: vec!["once".into()], live_restore })
    };
    let with = |seen: &Observed, is_stale, live_restore| {
        plan(seen, &DockerInput { running: running(live_restore), is_stale, ..request(&wants) })
    };
    let mut moving = seen();
    moving.docker.root_holds = true;
    refused(&with(&moving, false, Some(true)), why);
    // What the engine says of live-restore comes before what its file says.
    let mut told = done(&wants);
    told.docker.daemon_file.text = Some(r#"{"live-restore":true}"#.into());
    refused(&with(&told, false, Some(false)), why);
    refused(&with(&told, true, None), why);
    assert_eq!(with(&told, true, Some(true)).refusals, []);
    assert_eq!(with(&done(&wants), false, Some(false)).refusals, [], "nothing is stopped");
}

#[test]
fn what_cannot_be_is_refused() {
    let wants = wants();
    let cases: [(&str, Change); 7] = [
        ("/etc/docker/daemon.json is a directory", |seen| seen.docker.daemon_file.is_directory = true),
        ("containers run under the containerd of /run/c.sock (namespace \"k8s.io\", processes 7)", |seen| {
            seen.docker.tasks =
                vec![Tasks { address: "/run/c.sock".into(), namespace: "k8s.io".into(), pids: vec![7] }];
        }),
        ("not run by systemd", |seen| seen.machine.systemd = false),
        ("snap", |seen| seen.docker.neighbours = vec![Neighbour::SnapDocker]),
        ("neither apt-get nor dnf", |seen| seen.packages.manager = None),
        ("what dockerd can read: trailing comma", |seen| {
            seen.docker.daemon_file.text = Some("{\"a\":1,}".into());
        }),
        ("no docker.service", |seen| seen.docker.program = Some("/usr/bin/dockerd".into())),
    ];
    for (why, change) in cases {
        let mut seen = bare();
        change(&mut seen);
        refused(&plan(&seen, &request(&wants)), why);
    }
    refused(&plan(&bare(), &DockerInput { locked_by: Some(77), ..request(&wants) }), "process 77 is using");
    let mut flagged = seen();
    let flag = Flag { key: "data-root".into(), value: Some("/srv".into()) };
    flagged.docker.service.as_mut().unwrap().flags = vec![flag];
    flagged.docker.root = "/srv".into();
    refused(&plan(&flagged, &request(&wants)), "--data-root /srv");
}

#[test]
fn packages_come_from_the_directory_that_is_named() {
    let mut wants = wants();
    wants.docker.packages = "/root/debs".into();
    let with = |files: Option<&[&str]>| {
        let mut seen = bare();
        let names = |files: &[&str]| files.iter().map(|name| (*name).to_owned()).collect();
        seen.packages.offline = files.map(names);
        plan(&seen, &request(&wants))
    };
    refused(&with(None), "/root/debs is not there");
    refused(&with(Some(&[])), "no file that ends in .deb");
    for files in [&["runc_1.deb", "containerd_1.deb"][..], &["docker-ce-cli_1.deb", "docker-compose_2.deb"]] {
        refused(&with(Some(files)), "is a Docker Engine");
    }
    for engine in ["docker.io_20.10_amd64.deb", "docker-ce_26_arm64.deb", "docker-engine-18.09.rpm"] {
        let part = with(Some(&["runc_1.deb", engine]));
        assert_eq!(
            (part.refusals.len(), keys(&part)[0].as_str()),
            (0, "packages.install:docker"),
            "{engine}"
        );
    }
}

#[test]
fn tools_for_volumes_are_installed_before() {
    let wants = wants();
    let mut seen = seen();
    assert!(plan_tools(&seen, &request(&wants)).steps.is_empty());
    seen.machine.missing_tools = ["lvm", "mkfs.btrfs"].map(str::to_owned).into();
    let part = plan_tools(&seen, &request(&wants));
    assert!(matches!(&part.steps[0].step, Step::InstallPackages(step) if step.names == ["lvm2"]));
    let off = Bootstrap::default();
    assert!(plan_tools(&seen, &request(&off)).steps.is_empty());
    let mut offline = wants.clone();
    offline.docker.packages = "/root/debs".into();
    for (files, is_refused) in [
        (["docker.io_20.10_amd64.deb", "liblvm2cmd2.03_2.03_amd64.deb"], true),
        (["docker.io_20.10_amd64.deb", "lvm2-dbusd_2.03_all.deb"], true),
        (["docker.io_20.10_amd64.deb", "lvm2_2.03.16-2_amd64.deb"], false),
        (["docker-engine-18.09-1.aarch64.rpm", "lvm2-2.03.14-5.oe2203.aarch64.rpm"], false),
    ] {
        seen.packages.offline = Some(files.map(str::to_owned).into());
        let part = plan_tools(&seen, &request(&offline));
        if is_refused {
            refused(&part, "no package in /root/debs is lvm2");
        } else {
            assert_eq!((part.refusals.len(), part.steps.len()), (0, 1), "{files:?}");
        }
    }
    seen.disks = vec![Disk {
        signatures: vec![Signature { kind: "LVM2_member".into(), uuid: None, label: None }],
        content: Content::Data,
        ..crate::bootstrap::samples::disk("NV1")
    }];
    refused(&plan_tools(&seen, &request(&wants)), "belongs to LVM");
}

#[test]
fn settings_of_the_kernel_are_raised_and_never_lowered() {
    let wants = wants();
    let with = |value: Option<u64>, file: Option<&str>| {
        let mut seen = seen();
        seen.kernel.values = [("vm.max_map_count".to_owned(), value)].into();
        seen.kernel.file = file.map(str::to_owned);
        plan_sysctl(&seen, &request(&wants))
    };
    let ours = "# Written by berth bootstrap.\nvm.max_map_count = 262144\n";
    for (value, file, expected) in [
        (65_530, None, &[SYSCTL_KEY, "sysctl.apply"][..]),
        (65_530, Some(ours), &["sysctl.apply"]),
        (262_144, None, &[SYSCTL_KEY]),
        (262_144, Some(ours), &[]),
        (1 << 20, None, &[]),
        (1 << 20, Some(ours), &[]),
    ] {
        assert_eq!(keys(&with(Some(value), file)), expected, "{value} {file:?}");
    }
    let none = with(None, None);
    assert!(none.steps.is_empty() && none.notes[0].contains("no vm.max_map_count"));
}
