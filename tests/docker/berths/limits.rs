//! Hard limits of what one user may have at once.

use crate::rig::{ALICE, Rig, Setup};
use serde_json::json;

#[test]
fn what_would_pass_a_limit_is_refused_with_what_is_used() {
    let Some(rig) = Rig::with(Setup {
        profile: vec![("[berth]", "[limits]\nberths = 3\nlease = \"6h\"\n\n[berth]".into())],
        ..Setup::default()
    }) else {
        return;
    };
    let set = rig.json(&["user", "limit", "alice", "--cards", "4", "--memory", "1280MiB"]);
    assert_eq!(set["limit"], json!({"cards": 4, "berths": 3, "lease": 21_600, "memory": 1_342_177_280_u64}));
    let dev = rig.request(&["--cards", "2"]);
    assert_eq!(dev["lease"], 21_600, "the node's default is 8 hours");
    rig.request(&["--cards", "2", "--name", "train"]);
    let said = rig.refused(3, &["request", "--user", "alice", "--cards", "1", "--wait", "1h"]);
    assert!(said.contains("alice has 4 of 4 cards: dev 2, train 2; 1 more is too many"), "{said}");
    let said = rig.refused(3, &["request", "--user", "alice", "--cards", "0", "--memory", "300MiB"]);
    assert!(said.contains("alice has 1GiB of 1.2GiB memory: dev 512MiB, train 512MiB"), "{said}");
    rig.request(&["--cards", "0", "--name", "edit"]);
    let said = rig.refused(3, &["request", "--user", "alice", "--cards", "0", "--name", "more"]);
    assert!(said.contains("alice has 3 of 3 berths: dev, train, edit; one more is too many"), "{said}");
    for verb in [
        &["renew", "alice/dev", "--lease", "7h"][..],
        &["request", "--user", "bob", "--cards", "1", "--lease", "7h"],
    ] {
        let said = rig.refused(3, verb);
        assert!(said.contains("the longest lease of ") && said.contains(" is 6h"), "{said}");
    }
    rig.ok(&["renew", "alice/dev"]);
    let shown = rig.berth_as(ALICE, &["user", "show", "alice"]).out;
    for line in
        ["at most 4 cards, has 4", "at most 3 berths, has 3", "leases of at most 6h", "of memory, has "]
    {
        assert!(shown.contains(line), "{shown}");
    }
    // Also a start, since what was stopped was given back.
    rig.ok(&["stop", "alice/dev"]);
    rig.ok(&["user", "limit", "alice", "--cards", "3"]);
    let said = rig.refused(3, &["start", "alice/dev", "--wait", "1h"]);
    assert!(said.contains("alice has 2 of 3 cards: train 2; 2 more are too many"), "{said}");
    assert_eq!(rig.json(&["show", "alice/train"])["state"], "live", "what is there stays");
    assert!(rig.ok(&["user", "limit", "alice", "--none"]).contains("no limits"));
    rig.ok(&["start", "alice/dev", "--lease", "8h"]);
    let back = rig.json(&["user", "limit", "alice", "--default"]);
    assert_eq!(back["limit"], json!({"cards": null, "berths": 3, "lease": 21_600, "memory": null}));
    assert_eq!(back["used"]["cards"], 4);

    let ran = rig.berth_as(ALICE, &["user", "limit", "alice", "--none"]);
    assert!(ran.code == 3 && ran.err.contains("limiting a user"), "{ran:?}");
    rig.refused(2, &["user", "limit", "alice"]);
    rig.refused(2, &["user", "limit", "nobody", "--none"]);
    rig.refused(2, &["user", "limit", "alice", "--lease", "0s"]);
    for wrong in [&["--cards", "-1"][..], &["--cards", "x"], &["--lease", "8"], &["--none", "--cards", "1"]] {
        let ran = rig.berth(&[&["user", "limit", "alice"], wrong].concat());
        assert_eq!(ran.code, 2, "{wrong:?}: {ran:?}");
    }
    for name in ["alice/dev", "alice/train", "alice/edit"] {
        rig.ok(&["release", name]);
    }
    rig.assert_nothing_left();
}

/// The rig's users have no account: Debian's `daemon` has one, and a group.
#[test]
fn the_members_of_a_group_have_its_limits() {
    let groups = "[limits]\ncards = 1\nberths = 3\n\n[limits.group.daemon]\ncards = 2\nlease = \"6h\"\n\n\
                  [limits.group.nobody-has-this]\ncards = 8\n\n[berth]";
    let Some(rig) =
        Rig::with(Setup { profile: vec![("[berth]", groups.into())], users: false, ..Setup::default() })
    else {
        return;
    };
    for (user, login) in [("alice", &["--uid", "1"][..]), ("bob", &["--no-login"])] {
        let key = format!("{}.pub", rig.key(user));
        rig.ok(&[&["user", "add", user, "--key", &key], login].concat());
    }
    let alice = rig.json(&["user", "show", "alice"]);
    assert_eq!(alice["limit"], json!({"cards": 2, "berths": 3, "lease": 21_600, "memory": null}));
    let group = json!({"group": "daemon"});
    assert_eq!(
        alice["limit_from"],
        json!({"cards": group, "berths": "profile", "lease": group, "memory": null})
    );
    assert_eq!(rig.json(&["user", "show", "bob"])["limit"]["cards"], 1);
    rig.request(&["--cards", "2"]);
    let said = rig.refused(3, &["request", "--user", "alice", "--cards", "1"]);
    assert!(said.contains("alice has 2 of 2 cards: dev 2; 1 more is too many"), "{said}");
    let said = rig.refused(3, &["request", "--user", "bob", "--cards", "2"]);
    assert!(said.contains("bob has 0 of 1 cards"), "{said}");
    rig.ok(&["user", "limit", "alice", "--cards", "1"]);
    let shown = rig.ok(&["user", "show", "alice"]);
    for line in [
        "at most 1 cards, has 2 (said of this user)",
        "leases of at most 6h (said of group daemon)",
        "(said of everybody)",
    ] {
        assert!(shown.contains(line), "{shown}");
    }
    let warned = || rig.log().contains("count for nobody: nobody-has-this").then_some(());
    crate::machine::until("a warning in the log", std::time::Duration::from_secs(30), warned);
}
