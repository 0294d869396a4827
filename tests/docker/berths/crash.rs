//! The agent is killed at random moments while people ask and release. Afterwards ledger, containers and devices
//! agree, whatever was interrupted.

use crate::machine::until;
use crate::rig::Rig;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher as _, RandomState};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const ROUNDS: u64 = 10;
const PEOPLE: u64 = 4;
const SETTLED: Duration = Duration::from_secs(40);

#[test]
fn killed_at_any_moment_the_agent_finds_back() {
    let Some(mut rig) = Rig::start() else { return };
    // Else the first round is killed while it looks into the image.
    rig.ok(&["image", "check", "base"]);
    let seed = RandomState::new();
    let random = |number: u64, limit: u64| seed.hash_one(number) % limit;
    for round in 0..ROUNDS {
        let after = Duration::from_millis(random(round, 700));
        work_until_killed(&mut rig, round, after, &random);
        rig.start_agent();
        let live = wait_settled(&rig);
        check_devices(&rig, &live);
        eprintln!("round {round}: killed after {after:?}, {} berths are live", live.len());
    }
    let all = rig.json(&["list", "--all"])["berths"].as_array().unwrap().clone();
    let count = |state: &str| all.iter().filter(|berth| berth["state"] == state).count();
    eprintln!("{} released, {} undone", count("released"), count("undone"));
    assert!(all.len() > 10, "it was killed while it had work: {all:?}");
    for berth in rig.berths() {
        rig.ok(&[
            "release",
            &format!("{}/{}", berth["owner"].as_str().unwrap(), berth["name"].as_str().unwrap()),
        ]);
    }
    rig.assert_nothing_left();
}

/// Some ask and release in turn; in the middle of it the agent gets SIGKILL.
fn work_until_killed(rig: &mut Rig, round: u64, after: Duration, random: &dyn Fn(u64, u64) -> u64) {
    let stop = AtomicBool::new(false);
    let sizes: Vec<String> =
        (0..PEOPLE).map(|who| (1 + random(1000 + round * 10 + who, 3)).to_string()).collect();
    let commands: Vec<[Vec<String>; 2]> = sizes
        .iter()
        .enumerate()
        .map(|(who, cards)| {
            let owner = if who % 2 == 0 { "alice" } else { "bob" };
            let words = |text: String| text.split(' ').map(str::to_owned).collect();
            [
                words(format!("request --user {owner} --cards {cards} --name w{who}")),
                words(format!("release {owner}/w{who}")),
            ]
        })
        .collect();
    std::thread::scope(|scope| {
        for pair in &commands {
            let (rig, stop) = (&*rig, &stop);
            scope.spawn(move || {
                for words in pair.iter().cycle() {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let words: Vec<&str> = words.iter().map(String::as_str).collect();
                    let _ = rig.command(&words).stdout(Stdio::null()).stderr(Stdio::null()).status();
                }
            });
        }
        let containers = rig.containers();
        until("work on a berth", SETTLED, || (rig.containers() != containers).then_some(()));
        if round % 2 == 1 {
            // Others of them are being released by then, or asked for again.
            let live = |berth: &Value| berth["state"] == "live";
            until("a berth that is made", SETTLED, || rig.berths().iter().any(live).then_some(()));
        }
        // From here on the moment is what is random; nothing is waited for.
        let begun = Instant::now();
        while begun.elapsed() < after {
            std::thread::sleep(Duration::from_millis(1));
        }
        stop.store(true, Ordering::SeqCst);
        rig.kill_agent_by_pid();
    });
    rig.kill_agent();
}

/// The live berths, when nothing is under way and their containers are the only ones.
fn wait_settled(rig: &Rig) -> Vec<Value> {
    let deadline = Instant::now() + SETTLED;
    loop {
        match settled(rig) {
            Ok(live) => return live,
            Err(why) => assert!(Instant::now() < deadline, "{why}\n{:#?}", rig.events()),
        }
    }
}

fn settled(rig: &Rig) -> Result<Vec<Value>, String> {
    let berths = rig.berths();
    if let Some(berth) = berths.iter().find(|berth| berth["state"] != "live") {
        return Err(format!("a berth that is neither live nor ended: {berth}"));
    }
    let noted: BTreeSet<&str> = berths.iter().map(|berth| berth["container_id"].as_str().unwrap()).collect();
    let containers = rig.containers();
    let there: BTreeSet<&str> = containers.iter().map(String::as_str).collect();
    if noted != there {
        return Err(format!("the ledger has containers {noted:?}, the engine {there:?}"));
    }
    let mut dirs: Vec<String> = std::fs::read_dir(rig.path("state/berths"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let mut ids: Vec<String> = berths.iter().map(|berth| berth["id"].to_string()).collect();
    dirs.sort();
    ids.sort();
    if dirs == ids {
        Ok(berths.clone())
    } else {
        Err(format!("berths are {ids:?}, their directories {dirs:?}"))
    }
}

/// Each container runs with exactly the cards that the ledger says, and no card is in two.
fn check_devices(rig: &Rig, live: &[Value]) {
    let mut held = BTreeMap::new();
    for berth in live {
        let container = berth["container_id"].as_str().unwrap();
        let ids: Vec<String> = berth["cards"].as_array().unwrap().iter().map(ToString::to_string).collect();
        let mut expected: Vec<String> = ids.iter().map(|id| format!("/dev/davinci{id}")).collect();
        expected.extend(
            ["davinci_manager", "devmm_svm", "dvpp_cmdlist", "hisi_hdc"].map(|n| format!("/dev/{n}")),
        );
        expected.sort();
        assert_eq!(rig.devices(container), expected, "{berth}");
        assert_eq!(rig.inspect(container)["State"]["Running"], true, "{berth}");
        for id in ids {
            assert_eq!(held.insert(id, berth["name"].clone()), None, "a card in two berths: {live:?}");
        }
        assert!(rig.ssh(berth, "true").status.success(), "a live berth answers: {berth}\n{}", rig.log());
    }
}

#[test]
fn a_container_that_the_ledger_never_had_is_reported_and_left_alone() {
    let Some(mut rig) = Rig::start() else { return };
    rig.request(&["--cards", "1"]);
    let instance = format!("berth.instance={}", rig.instance);
    let node = format!("{}:/dev/davinci6", rig.text("state/sim/dev/davinci6"));
    let name = rig.foreign("stray", &["--label", &instance, "--device", &node]);
    let reported = |rig: &Rig| {
        let events = rig.events();
        let unknown = events.iter().filter(|event| event["kind"] == "container.unknown");
        unknown.filter(|event| event["text"].as_str().unwrap().contains(&name)).count()
    };
    until("the report", SETTLED, || (reported(&rig) == 1).then_some(()));
    let said = rig.refused(7, &["request", "--user", "bob", "--card-ids", "6"]);
    assert!(said.contains(&name) && said.contains("a berth the ledger does not know"), "{said}");
    // A restart looks again, and still touches nothing.
    rig.kill_agent();
    rig.start_agent();
    until("the report of the new agent", SETTLED, || (reported(&rig) == 2).then_some(()));
    assert_eq!(rig.inspect(&name)["State"]["Running"], true);
    assert_eq!(rig.berths()[0]["state"], "live");
}
