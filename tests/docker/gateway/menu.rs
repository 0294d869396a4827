//! The menu, on a real pseudo-terminal.

use super::visitor::{Talk, fewer_ports, ssh, start_with};

fn menu(rig: &crate::rig::Rig, term: &str) -> Talk {
    let mut command = ssh(rig, "alice");
    command.arg("-tt").env("TERM", term);
    Talk::start(command)
}

const PROMPT: &str = "choose (? shows the menu): ";

#[test]
fn a_berth_comes_and_goes_by_the_menu() {
    let Some(rig) = start_with(fewer_ports()) else { return };
    let mut menu = menu(&rig, "dumb");
    let first = menu.expect(PROMPT);
    assert!(first.contains("berth: alice") && first.contains("3  request a berth"), "{first}");
    assert!(first.lines().count() <= 24 && first.lines().all(|line| line.chars().count() <= 80), "{first}");
    assert!(!first.contains('\u{1b}'), "a dumb terminal gets no codes: {first:?}");
    menu.say("3\n");
    let shown = menu.expect("how many cards: ");
    assert_eq!(shown.matches(" free").count(), 8, "which cards are free: {shown}");
    assert!(shown.contains("base (default)"), "which images there are: {shown}");
    menu.say("many\n");
    assert!(menu.expect("how many cards: ").contains("is no number of cards"));
    menu.say("1\n");
    menu.expect("its name [dev]: ");
    menu.say("mine\n");
    menu.expect(": ");
    menu.say("\n");
    menu.expect(": ");
    menu.say("\n");
    let made = menu.expect(PROMPT);
    assert!(made.contains("alice/mine has card 0, image base"), "{made}\n{}", rig.log());
    menu.say("1\n");
    assert!(menu.expect(PROMPT).contains("alice/mine"));
    menu.say("6\n");
    menu.expect("name of the berth: ");
    menu.say("mine\n");
    assert!(menu.expect(PROMPT).contains("ssh -p"));
    menu.say("4\n");
    menu.expect("name of the berth: ");
    menu.say("--config\n");
    assert!(menu.expect("name of the berth: ").contains("cannot be used"));
    menu.say("mine\n");
    menu.expect("[the usual]: ");
    menu.say("8\n");
    assert!(menu.expect("[the usual]: ").contains("8 has no unit: write 8h"));
    menu.say("2h\n");
    assert!(menu.expect(PROMPT).contains("the lease of alice/mine ends in "));
    menu.say("5\n");
    menu.expect("name of the berth: ");
    menu.say("mine\n");
    assert!(menu.expect(PROMPT).contains("alice/mine is released"));
    for nonsense in ["\n", "99\n", "/bin/sh\n", "; id\n"] {
        menu.say(nonsense);
        assert!(!menu.expect(PROMPT).contains("uid="));
    }
    menu.say("q\n");
    assert_eq!(menu.ended(), 0);
    rig.assert_nothing_left();
}

#[test]
fn the_end_of_the_input_quits_and_ctrl_c_too() {
    let Some(rig) = start_with(crate::rig::Setup { image: "", ..crate::rig::Setup::default() }) else {
        return;
    };
    let mut first = menu(&rig, "xterm");
    first.expect(PROMPT);
    first.say("\u{4}");
    assert_eq!(first.ended(), 0);
    let mut second = menu(&rig, "xterm");
    second.expect(PROMPT);
    second.say("\u{3}");
    assert_ne!(second.ended(), 0);
}
