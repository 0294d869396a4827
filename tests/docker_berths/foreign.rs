//! Cards that somebody has whom berth did not start: containers, processes, what npu-smi lists.

use crate::machine::{run, until};
use crate::rig::{Rig, Setup};
use serde_json::json;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

#[test]
fn a_container_with_a_card_holds_it() {
    let Some(mut rig) = Rig::start() else { return };
    let node = format!("{}:/dev/davinci3", rig.text("state/sim/dev/davinci3"));
    let name = rig.foreign("intruder", &["--device", &node]);
    let said = rig.refused(7, &["request", "--user", "alice", "--card-ids", "3"]);
    assert!(
        said.contains(&format!("card 3 is held by container {name} (")) && said.contains("has its device"),
        "{said}"
    );
    let rule = format!("c {}:5 rwm", rig.slot.major());
    let ruled = rig.foreign("ruled", &["--device-cgroup-rule", &rule]);
    let said = rig.refused(7, &["request", "--user", "alice", "--cards", "7"]);
    assert!(said.contains("only cards 0,1,2,4,6,7 are free") && said.contains(&ruled), "{said}");
    let holder = rig.cards()[3]["holders"][0].clone();
    assert_eq!((&holder["kind"], &holder["reason"]), (&json!("container"), &json!("device")));
    assert_eq!(rig.request(&["--cards", "6"])["cards"], json!([0, 1, 2, 4, 6, 7]));
    until("the events of it", Duration::from_secs(20), || {
        let events = rig.events();
        let taken = events.iter().filter(|event| event["kind"] == "card.taken");
        (taken.filter(|event| event["text"].as_str().unwrap().contains(&name)).count() == 1).then_some(())
    });
    rig.docker(&["rm", "-f", &name]);
    assert_eq!(rig.request(&["--card-ids", "3", "--name", "now"])["state"], "live");
}

#[test]
fn who_takes_a_card_of_a_berth_is_shown_beside_it() {
    let Some(mut rig) = Rig::start() else { return };
    rig.request(&["--card-ids", "2"]);
    let node = format!("{}:/dev/x", rig.text("state/sim/dev/davinci2"));
    let name = rig.foreign("thief", &["--device", &node]);
    let holders = rig.cards()[2]["holders"].clone();
    assert_eq!((&holders[0]["kind"], &holders[1]["name"]), (&json!("berth"), &json!(name)));
    rig.ok(&["release", "alice/dev"]);
    let said = rig.refused(7, &["request", "--user", "alice", "--card-ids", "2"]);
    assert!(said.contains(&name), "{said}");
}

#[test]
fn who_waits_hears_that_a_container_has_gone() {
    let Some(mut rig) = Rig::start() else { return };
    let node = format!("{}:/dev/x", rig.text("state/sim/dev/davinci2"));
    let name = rig.foreign("visitor", &["--device", &node]);
    let log = std::fs::File::create(rig.path("wait")).unwrap();
    let args = ["request", "--user", "alice", "--card-ids", "2", "--wait", "60s"];
    let mut child = rig.command(&args).stdout(Stdio::null()).stderr(log).spawn().unwrap();
    until("somebody waits", Duration::from_secs(20), || {
        std::fs::read_to_string(rig.path("wait")).unwrap().contains(&name).then_some(())
    });
    rig.docker(&["rm", "-f", &name]);
    let status = until("the berth", Duration::from_secs(30), || child.try_wait().unwrap());
    assert!(status.success(), "{}", std::fs::read_to_string(rig.path("wait")).unwrap());
}

/// A process that keeps a file open until it is dropped.
struct Opener(Child);

impl Opener {
    fn start(path: &Path) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", "exec 3<\"$0\"; echo open; exec sleep 600"]).arg(path);
        let mut child = shell.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = [0; 5];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
        Self(child)
    }
}

impl Drop for Opener {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_process_with_a_card_open_holds_it() {
    let Some(rig) = Rig::start() else { return };
    // No driver answers a simulated node, so nobody can have it open: /dev/full stands in for one. Nobody else
    // on a machine has that open for long.
    let node = rig.path("state/sim/dev/davinci5");
    std::fs::remove_file(&node).unwrap();
    run("mknod", &[node.to_str().unwrap(), "c", "1", "7"]);
    let opener = Opener::start(&node);
    let pid = opener.0.id();
    let said = rig.refused(7, &["request", "--user", "alice", "--card-ids", "5"]);
    assert!(said.contains(&format!("card 5 is held by process {pid} (sleep of root)")), "{said}");
    let holder = rig.cards()[5]["holders"].clone();
    assert_eq!(holder, json!([{"kind": "process", "pid": pid, "name": "sleep", "user": "root"}]));
    drop(opener);
    until("the card is free", Duration::from_secs(10), || {
        (rig.cards()[5]["holders"] == json!([])).then_some(())
    });
}

#[test]
fn what_npu_smi_lists_holds_a_card() {
    let Some(rig) =
        Rig::with(Setup { config: vec![("[tools]", "npu-smi-max-age = \"0s\"".into())], ..Setup::default() })
    else {
        return;
    };
    rig.ok(&["sim", "fault", "--holder", "5:4242:python"]);
    let said = rig.refused(7, &["request", "--user", "alice", "--card-ids", "5"]);
    assert!(said.contains("card 5 is held by process 4242 (python)"), "{said}");
    assert!(rig.ok(&["cards"]).contains("process 4242 (python)"));
    rig.ok(&["sim", "clear"]);
    assert_eq!(rig.request(&["--card-ids", "5"])["cards"], json!([5]));
}

/// It holds every agent's cards: no other test may run beside it.
#[test]
fn a_privileged_container_holds_every_card_alone() {
    let Some(mut rig) = Rig::start() else { return };
    let container = format!("all-{}", rig.slot.major());
    let image = rig.reference("base");
    // The runtime that scripts/test gives its engine where root has not every capability.
    let runtimes = rig.docker(&["info", "--format", "{{json .Runtimes}}"]);
    let runtime: &[&str] = if runtimes.contains("\"rig\"") { &["--runtime", "rig"] } else { &[] };
    let start = ["run", "-d", "--privileged", "--network", "none", "--name", &container];
    let program = [image.as_str(), "/bin/busybox", "sleep", "600"];
    rig.docker(&[&start, runtime, &program].concat());
    let ran = rig.berth(&["request", "--user", "alice", "--cards", "1"]);
    rig.docker(&["rm", "-f", &container]);
    assert_eq!(ran.code, 7, "{ran:?}");
    ran.assert_one_sentence();
    let said = format!("none is free: cards 0,1,2,3,4,5,6,7 are held by container {container}");
    assert!(ran.err.contains(&said) && ran.err.contains("privileged"), "{ran:?}");
    until("the cards are free", Duration::from_secs(20), || {
        rig.cards().iter().all(|card| card["holders"] == json!([])).then_some(())
    });
    rig.kill_agent();
}
