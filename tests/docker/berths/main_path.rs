//! What a developer does on a normal day, with the real `ssh`.

use crate::machine::{both, until};
use crate::rig::{ALICE, Rig, Setup};
use serde_json::{Value, json};
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

#[test]
fn a_developer_gets_their_cards_works_and_gives_them_back() {
    let Some(rig) = Rig::start() else { return };
    // As alice herself, without root and without Docker.
    let ran = rig.berth_as(ALICE, &["request", "--cards", "2", "--name", "train"]);
    assert_eq!(ran.code, 0, "{ran:?}\n{}", rig.log());
    let port = rig.slot.first_port();
    assert_eq!(ran.out, format!("alice/train has cards 0,1, image base\nssh -p {port} ma-user@127.0.0.1\n"));
    let berth = rig.json(&["show", "alice/train"]);
    check_shape(&berth, port);

    let session =
        rig.ssh_ok(&berth, "id; ls /dev/davinci*; env; cat /opt/berth/info/cards.json; npu-smi info -l");
    for line in [
        "/dev/davinci0",
        "/dev/davinci1",
        "/dev/davinci_manager",
        "ASCEND_VISIBLE_DEVICES=0,1",
        "ASCEND_RT_VISIBLE_DEVICES=0,1",
        "BERTH_HOST_CARDS=0,1",
        "BERTH_CONTAINER_CARDS=0,1",
        "BERTH_NAME=train",
        "BERTH_OWNER=alice",
        "USER=ma-user",
        "HOME=/home/ma-user",
    ] {
        assert!(session.lines().any(|got| got == line), "{line} is not in:\n{session}");
    }
    assert!(session.contains("uid=1000") && session.contains("groups=100"), "{session}");
    assert!(session.lines().next().unwrap().contains("1000"), "in the group of the nodes: {session}");
    assert!(!session.contains("/dev/davinci2"), "{session}");
    assert!(
        !session.contains("BERTH_CONFIG") && !session.contains("/state"),
        "nothing of the host: {session}"
    );

    assert_eq!(rig.json(&["release", "alice/train"])["state"], "released");
    rig.assert_nothing_left();
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err(), "the port is closed");
    let kinds: Vec<Value> = rig.events().into_iter().map(|event| event["kind"].clone()).collect();
    let life = ["berth.requested", "berth.live", "berth.releasing", "berth.released"];
    let seen: Vec<&Value> = kinds.iter().filter(|kind| life.iter().any(|word| *kind == word)).collect();
    assert_eq!(seen, life);
    let actors: Vec<Value> = rig.events().iter().rev().take(1).map(|event| event["actor"].clone()).collect();
    assert_eq!(actors, ["root"]);
}

/// The documented shape of a berth in JSON.
fn check_shape(berth: &Value, port: u16) {
    let object = berth.as_object().unwrap();
    let mut keys: Vec<&str> = object.keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(
        keys,
        [
            "cards",
            "condition",
            "conditions",
            "container_id",
            "cpus",
            "created_at",
            "deadline",
            "ended_at",
            "host_key",
            "id",
            "image",
            "image_id",
            "lease",
            "lock",
            "memory",
            "name",
            "next_cards",
            "note",
            "owner",
            "port",
            "size",
            "ssh_host",
            "ssh_jump",
            "ssh_user",
            "state",
            "stop",
            "stops_at",
            "stops_for",
            "unattended",
            "until"
        ]
    );
    assert_eq!(berth["cards"], json!([0, 1]));
    assert_eq!((&berth["state"], &berth["note"]), (&json!("live"), &Value::Null));
    assert_eq!((&berth["port"], &berth["ssh_host"]), (&json!(port), &json!("127.0.0.1")));
    assert!(berth["ssh_jump"].is_null(), "the gateway is off");
    assert!(berth["host_key"].as_str().unwrap().starts_with("ssh-ed25519 "));
    let time = |key: &str| berth[key].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let lease = time("until").as_second() - time("created_at").as_second();
    // It begins when its server answers.
    assert!((8 * 3600..8 * 3600 + 60).contains(&lease), "the profile's default: {lease} s");
    assert_eq!(berth["lease"], 8 * 3600);
}

#[test]
fn cards_inside_are_the_ones_on_the_host() {
    let Some(rig) = Rig::start() else { return };
    let berth = rig.request(&["--card-ids", "5,2", "--name", "two"]);
    assert_eq!(berth["cards"], json!([2, 5]), "ascending, as the driver numbers them inside");
    let inside = rig.ssh_ok(&berth, "npu-smi info; npu-smi info -m; env; cat /opt/berth/info/cards.json");
    assert!(
        inside.contains("ASCEND_VISIBLE_DEVICES=2,5") && inside.contains("ASCEND_RT_VISIBLE_DEVICES=0,1")
    );
    let map: Value = serde_json::from_str(&inside[inside.find("{\n").unwrap()..]).unwrap();
    assert_eq!(
        map,
        json!({"schema": 1, "berth": "alice/two",
            "cards": [{"container": 0, "host": 2}, {"container": 1, "host": 5}]})
    );
    // npu-smi in a container lists the cards that it was given, under their ids of the host.
    let listed: Vec<&str> = inside
        .lines()
        .filter(|line| line.starts_with('|') && line.contains("910B3"))
        .map(|line| &line[2..3])
        .collect();
    assert_eq!(listed, ["2", "5"], "{inside}");
    rig.ssh_ok(&berth, "test ! -w /opt/berth/info/cards.json && test ! -r /opt/berth/etc/host_key");

    let cards = rig.cards();
    assert_eq!(cards.len(), 8);
    for card in &cards {
        let holders = card["holders"].as_array().unwrap();
        if [2, 5].iter().any(|id| card["id"] == *id) {
            assert_eq!(
                (&holders[0]["kind"], &holders[0]["name"]),
                (&json!("berth"), &json!("two")),
                "{card}"
            );
            assert_eq!((holders.len(), &card["free"]), (1, &json!(false)), "{card}");
        } else {
            assert!(holders.is_empty() && card["unusable"].is_null() && card["free"] == true, "{card}");
        }
    }
    let table = rig.ok(&["cards"]);
    assert!(table.contains("berth alice/two, lease ends in "), "{table}");
    assert_eq!(table.matches("free").count(), 6, "{table}");
    let shown = rig.ok(&["show", "two"]);
    for line in ["berth      alice/two (live)", "cards      2,5", "memory     512MiB"] {
        assert!(shown.lines().any(|got| got == line), "{line}: {shown}");
    }
    let list = rig.ok(&["list"]);
    assert!(list.contains("alice/two") && list.contains("2,5"), "{list}");
}

/// A line of the simulated node's profile, to put others beside.
const SHM: &str = "shm-size = \"64MiB\"";

#[test]
fn a_berth_has_its_share_of_the_cpus_and_the_capabilities_of_the_profile() {
    if std::thread::available_parallelism().unwrap().get() < 2 {
        return;
    }
    let profile = vec![
        ("cards = 8", "cards = 2".to_owned()),
        ("groups = [[0, 1, 2, 3], [4, 5, 6, 7]]", "groups = [[0], [1]]".to_owned()),
        ("cpus-per-card = 0", "cpus-per-card = 1".to_owned()),
        (SHM, format!("cap-add = [\"SYS_NICE\"]\n{SHM}")),
    ];
    let Some(rig) = Rig::with(Setup { profile, ..Setup::default() }) else { return };
    let cpus = ["one", "two"].map(|name| {
        let berth = rig.request(&["--cards", "1", "--name", name]);
        let seen = rig.ssh_ok(
            &berth,
            "/bin/busybox nproc; /bin/busybox grep -E 'CapBnd|Cpus_allowed_list' /proc/self/status",
        );
        let lines: Vec<&str> = seen.lines().collect();
        assert_eq!(lines[0], "1", "as many as were promised: {seen}");
        // Docker's set and SYS_NICE, without NET_RAW and MKNOD.
        assert_eq!(lines[1], "CapBnd:\t00000000a08405fb");
        lines[2].to_owned()
    });
    assert_ne!(cpus[0], cpus[1], "no CPU is promised twice");
}

#[test]
fn the_kernel_keeps_a_berth_to_its_cards() {
    // With the right to make nodes, so that it is their opening that is refused.
    let profile = vec![(SHM, format!("cap-add = [\"MKNOD\"]\n{SHM}"))];
    let Some(rig) = Rig::with(Setup { profile, ..Setup::default() }) else { return };
    let berth = rig.request(&["--card-ids", "3"]);
    // Its own card: the cgroup lets it through to a driver that is not there. As its user and as root.
    let own = both(&rig.ssh(&berth, "exec 3<>/dev/davinci3"));
    assert!(own.contains("No such device or address"), "{own}");
    let own = rig.exec(&berth, "exec 3<>/dev/davinci3");
    assert!(own.contains("No such device or address"), "{own}");
    let major = rig.slot.major();
    for minor in [0, 2, 4, 7] {
        let script = format!("rm -f /dev/x; /bin/busybox mknod /dev/x c {major} {minor} && exec 3<>/dev/x");
        let other = rig.exec(&berth, &script);
        assert!(other.contains("Operation not permitted"), "card {minor}: {other}");
    }
    let made = both(&rig.ssh(&berth, &format!("mknod /tmp/x c {major} 3")));
    assert!(made.contains("Operation not permitted"), "a user makes no nodes: {made}");
}

#[test]
fn a_container_has_what_was_asked_for_and_nothing_more() {
    let Some(rig) = Rig::start() else { return };
    let berth = rig.request(&["--cards", "1", "--name", "plain", "--memory", "300M", "--cpus", "0.5"]);
    let container = berth["container_id"].as_str().unwrap();
    assert_eq!(
        rig.devices(container),
        ["/dev/davinci0", "/dev/davinci_manager", "/dev/devmm_svm", "/dev/dvpp_cmdlist", "/dev/hisi_hdc"]
    );
    let all = rig.inspect(container);
    let host = &all["HostConfig"];
    for (key, value) in [
        ("Privileged", json!(false)),
        ("SecurityOpt", json!(["no-new-privileges"])),
        ("Init", json!(true)),
        ("Memory", json!(300 << 20)),
        ("MemorySwap", json!(300 << 20)),
        ("NanoCpus", json!(500_000_000)),
        ("PidsLimit", json!(512)),
        ("ShmSize", json!(64 << 20)),
        ("NetworkMode", json!("bridge")),
        ("IpcMode", json!("private")),
        ("PidMode", json!("")),
        ("CapAdd", json!([])),
        ("CapDrop", json!(["NET_RAW", "MKNOD"])),
        ("Binds", Value::Null),
        ("GroupAdd", json!(["1000"])),
        ("AutoRemove", json!(false)),
    ] {
        assert_eq!(host[key], value, "{key}");
    }
    assert_eq!(host["RestartPolicy"]["Name"], "no");
    let port = berth["port"].as_u64().unwrap().to_string();
    assert_eq!(host["PortBindings"], json!({"22/tcp": [{"HostIp": "127.0.0.1", "HostPort": port}]}));
    let labels = &all["Config"]["Labels"];
    for (label, value) in [
        ("schema", "1"),
        ("instance", rig.instance.as_str()),
        ("owner", "alice"),
        ("name", "plain"),
        ("cards", "0"),
        ("port", &port),
        ("image", "base"),
    ] {
        assert_eq!(labels[format!("berth.{label}")], value, "{label}");
    }
    // The container was made before its lease began.
    let until = |text: &Value| text.as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_second();
    let begun = until(&berth["until"]) - until(&labels["berth.until"]);
    assert!((0..60).contains(&begun), "{begun} s");
    let mounts = all["Mounts"].as_array().unwrap();
    let writable: Vec<&Value> =
        mounts.iter().filter(|mount| mount["RW"] == true).map(|mount| &mount["Destination"]).collect();
    assert_eq!(writable, ["/home/ma-user/work"]);
    for mount in mounts {
        assert!(!mount["Source"].as_str().unwrap().contains("docker.sock"), "{mount}");
    }
}

#[test]
fn personal_storage_outlives_berths() {
    let Some(mut rig) = Rig::start() else { return };
    let first = rig.request(&["--cards", "1"]);
    assert_eq!(rig.ssh_ok(&first, "stat -c '%u %g %a' ~/work"), "1000 100 700");
    rig.ssh_ok(&first, "echo precious > work/notes; echo gone > /tmp/elsewhere");
    let meta = rig.path("storage/alice/notes").metadata().unwrap();
    assert_eq!((meta.uid(), meta.gid()), (1000, 100));
    assert_eq!(rig.path("storage/alice").metadata().unwrap().mode() & 0o7777, 0o700);
    rig.ok(&["release", "alice/dev"]);
    rig.assert_nothing_left();
    let second = rig.request(&["--cards", "3", "--name", "next"]);
    assert_eq!(rig.ssh_ok(&second, "cat work/notes; ls /tmp"), "precious");
    // The other user does not see it.
    let other = rig.json(&["request", "--user", "bob", "--cards", "1"]);
    assert_eq!(rig.ssh_ok(&other, "ls -A work"), "");
    // Nor does either get into the other's berth.
    let key = rig.key("bob");
    let refused = rig.ssh_with(&second, &key, "true");
    assert!(!refused.status.success() && both(&refused).contains("Permission denied"), "{}", both(&refused));
    rig.kill_agent();
    assert_eq!(rig.ssh_ok(&second, "cat work/notes"), "precious", "berths go on without the agent");
}

#[test]
fn a_berth_keeps_its_host_key_when_its_container_starts_again() {
    let Some(rig) = Rig::start() else { return };
    let berth = rig.request(&["--cards", "1"]);
    let container = berth["container_id"].as_str().unwrap();
    rig.ssh_ok(&berth, "true");
    rig.docker(&["restart", "-t", "1", container]);
    // The client refuses any other host key: StrictHostKeyChecking=yes.
    until("a login after the restart", Duration::from_secs(30), || {
        rig.ssh(&berth, "true").status.success().then_some(())
    });
    let again = until("the berth is fine again", Duration::from_secs(20), || {
        Some(rig.json(&["show", "alice/dev"])).filter(|berth| berth["conditions"] == json!([]))
    });
    assert_eq!(again["host_key"], berth["host_key"]);
    assert_eq!(again["port"], berth["port"]);

    rig.docker(&["kill", container]);
    let ended = until("its end to be seen", Duration::from_secs(20), || {
        Some(rig.json(&["show", "alice/dev"])).filter(|berth| berth["conditions"] != json!([]))
    });
    assert_eq!(ended["conditions"][0]["code"], "dead");
    assert_eq!(rig.cards()[0]["holders"][0]["kind"], "berth", "its owner decides what becomes of it");
    rig.ok(&["release", "alice/dev"]);
    rig.assert_nothing_left();
}

#[test]
fn editors_find_their_way_by_ssh_config() {
    let Some(rig) = Rig::start() else { return };
    let berth = rig.request(&["--cards", "1", "--name", "train"]);
    let block = rig.ok(&["ssh-config", "alice/train"]);
    let known: Vec<&str> = block.lines().filter_map(|line| line.strip_prefix("# known_hosts: ")).collect();
    let known = known.join("\n");
    assert_eq!(known.lines().count(), 2, "a key of each type: {known}");
    std::fs::write(rig.path("known"), format!("{known}\n")).unwrap();
    let config = format!(
        "{block}  UserKnownHostsFile {}\n  IdentityFile {}\n  IdentitiesOnly yes\n",
        rig.text("known"),
        rig.key("alice")
    );
    std::fs::write(rig.path("ssh_config"), config).unwrap();
    let said = crate::machine::run(
        "ssh",
        &[
            "-F",
            &rig.text("ssh_config"),
            "-o",
            "BatchMode=yes",
            "-o",
            "StrictHostKeyChecking=yes",
            "berth-alice-train",
            "echo $BERTH_NAME",
        ],
    );
    assert_eq!(said, "train");
    let blocks = rig.json(&["ssh-config"]);
    assert_eq!(blocks[0]["host"], "berth-alice-train");
    assert_eq!(blocks[0]["port"], berth["port"]);
    assert_eq!(blocks[0]["known_hosts"], known);

    // `berth ssh` pins the same key, in files of its own.
    std::fs::create_dir(rig.path(".ssh")).unwrap();
    std::fs::copy(rig.key("alice"), rig.path(".ssh/id_ed25519")).unwrap();
    let mut ssh = rig.command(&["ssh", "alice/train", "--", "echo", "$BERTH_NAME"]);
    ssh.env("SSH_AUTH_SOCK", "");
    let output = crate::machine::try_run(&mut ssh);
    // OpenSSH reads ~ from the account and not from $HOME: only the host key's check is sure to be passed.
    let text = both(&output);
    assert!(!text.contains("authenticity") && !text.contains("verification failed"), "{text}");
    assert!(output.status.success() || text.contains("Permission denied"), "{text}");
}

#[test]
fn keys_that_are_added_and_removed_count_at_the_next_login() {
    let Some(rig) = Rig::start() else { return };
    let berth = rig.request(&["--cards", "1"]);
    let laptop = rig.key("laptop");
    assert!(!rig.ssh_with(&berth, &laptop, "true").status.success());
    let own = rig.berth_as(ALICE, &["user", "key", "add", "alice", &format!("{laptop}.pub"), "--json"]);
    assert_eq!(own.code, 0, "{own:?}");
    let user: Value = serde_json::from_str(&own.out).unwrap();
    assert_eq!(user["keys"].as_array().unwrap().len(), 2);
    assert!(rig.ssh_with(&berth, &laptop, "true").status.success(), "{}", rig.log());
    let line = std::fs::read_to_string(format!("{laptop}.pub")).unwrap();
    let key =
        user["keys"].as_array().unwrap().iter().find(|key| line.starts_with(key["line"].as_str().unwrap()));
    let fingerprint = key.unwrap()["fingerprint"].as_str().unwrap();
    rig.ok(&["user", "key", "remove", "alice", fingerprint]);
    assert!(!rig.ssh_with(&berth, &laptop, "true").status.success());
    assert!(rig.ssh(&berth, "true").status.success());
}

#[test]
fn datasets_are_there_for_everybody_and_nobody_changes_them() {
    let dataset = tempfile::tempdir().unwrap();
    std::fs::write(dataset.path().join("sample"), "data").unwrap();
    std::os::unix::fs::chown(dataset.path(), Some(1000), Some(100)).unwrap();
    let table = format!(
        "[[berth.datasets]]\nsource = \"{}\"\ntarget = \"/datasets\"\n[simulation]\nmajor = 236",
        dataset.path().display()
    );
    let profile = vec![("[simulation]\nmajor = 236", table)];
    let Some(rig) = Rig::with(Setup { profile, ..Setup::default() }) else { return };
    let berth = rig.request(&["--cards", "1"]);
    assert_eq!(rig.ssh_ok(&berth, "cat /datasets/sample"), "data");
    let written = both(&rig.ssh(&berth, "echo x > /datasets/new; rm /datasets/sample"));
    assert_eq!(written.matches("Read-only file system").count(), 2, "{written}");
    let written = rig.exec(&berth, "echo x > /datasets/new");
    assert!(written.contains("Read-only file system"), "{written}");
}
