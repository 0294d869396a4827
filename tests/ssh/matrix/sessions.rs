//! Sessions as every command line client has them: OpenSSH's `ssh` and dropbear's `dbclient`.

use super::screen::Screen;
use super::site::{NOISE, SIZE, Site};
use crate::rig::wait_until;
use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;

/// Options before the destination, a command after it.
pub type Client = fn(&Site<'_>, &[&str], &[&str]) -> Command;

pub fn run(site: &Site<'_>, client: Client, command: &str) -> Output {
    client(site, &[], &[command]).stdin(Stdio::null()).output().unwrap()
}

pub fn feed(command: &mut Command, input: &[u8]) -> Output {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    thread::scope(|scope| {
        // A client that is refused reads no input; its output tells.
        scope.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output().unwrap()
    })
}

pub fn status(site: &Site<'_>, client: Client) {
    let output = run(site, client, "exit 7");
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    assert_eq!(run(site, client, "/no/such/program").status.code(), Some(127));
}

pub fn half_close(site: &Site<'_>, client: Client) {
    let output = feed(&mut client(site, &[], &["sort -r; echo after the end"]), b"a\nc\nb\n");
    assert_eq!(output.stdout, b"c\nb\na\nafter the end\n", "{output:?}");
}

pub fn stderr_apart(site: &Site<'_>, client: Client) {
    let output = run(site, client, "echo out; echo err >&2");
    assert_eq!(output.stdout, b"out\n", "{output:?}");
    assert!(output.stderr.ends_with(b"err\n"), "{output:?}");
}

pub fn large_output(site: &Site<'_>, client: Client) {
    let noise = site.noise("noise");
    let output = run(site, client, &format!("cat {}", noise.display()));
    assert!(output.stdout == *NOISE, "{} of {SIZE} bytes: {:?}", output.stdout.len(), output.stderr);
}

pub fn large_input(site: &Site<'_>, client: Client) {
    let output = feed(&mut client(site, &[], &[&format!("cat > {}", site.text("up"))]), &NOISE);
    assert!(output.status.success(), "{output:?}");
    assert!(fs::read(site.at("up")).unwrap() == *NOISE);
}

pub fn shell(site: &Site<'_>, client: Client) {
    let output = feed(&mut client(site, &["-T"], &[]), b"echo $0 $((6*7))\nexit 4\n");
    assert!(String::from_utf8_lossy(&output.stdout).contains("-bash 42\n"), "{output:?}");
    assert_eq!(output.status.code(), Some(4));
}

pub fn script_on_stdin(site: &Site<'_>, client: Client) {
    let mut script = b"set -e\ncat <<'end'\nheld \x27document\x27\nend\n".to_vec();
    script.extend(b"# a line of a long script\n".repeat(4000));
    script.extend(b"echo status==$?==; exit 3\n");
    let output = feed(&mut client(site, &["-T"], &["bash -s"]), &script);
    assert_eq!(output.stdout, b"held 'document'\nstatus==0==\n", "{output:?}");
    assert_eq!(output.status.code(), Some(3));
}

pub fn terminal(site: &Site<'_>, client: Client) {
    let screen = Screen::start(&client(site, &["-t"], &["stty size; echo term=$TERM; tty; exit 6"]));
    for expected in ["33 101", "term=xterm-256color", "/dev/pts/"] {
        screen.wait_for(expected);
    }
    assert_eq!(screen.status(), Some(6));
}

pub fn window_change(site: &Site<'_>, client: Client) {
    let mut screen = Screen::start(&client(site, &["-t"], &["sh"]));
    screen.write_until("stty size\n", "33 101");
    screen.resize(44, 122);
    screen.write_until("stty size\n", "44 122");
}

/// The shell is without a child: bash drops a Ctrl-C that comes just when one ends by itself.
pub fn ctrl_c(site: &Site<'_>, client: Client) {
    let script = "trap 'echo caught; exit 5' INT; echo ready; while :; do :; done";
    let mut screen = Screen::start(&client(site, &["-t"], &[script]));
    screen.wait_for("ready");
    screen.write("\x03");
    screen.wait_for("caught");
    assert_eq!(screen.status(), Some(5));
}

pub fn eight_bit(site: &Site<'_>, client: Client) {
    let all: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    let output = feed(&mut client(site, &[], &["cat"]), &all);
    assert!(output.stdout == all, "{} bytes came back", output.stdout.len());
}

/// Starts a client whose session has said `ready`; without `timeout` before it, so that it can be killed.
fn start_ready(mut client: Command) -> Child {
    let words: Vec<_> = client.get_args().skip(1).map(std::ffi::OsStr::to_owned).collect();
    client = Command::new(&words[0]);
    let mut child = client
        .args(&words[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut ready = [0; 5];
    child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
    assert_eq!(&ready, b"ready");
    child
}

pub fn hangup(site: &Site<'_>, client: Client) {
    let told = site.at("told");
    let script =
        format!("trap 'echo > {}; exit' HUP; echo ready; while :; do sleep 0.05; done", told.display());
    let screen = Screen::start(&client(site, &["-t"], &[&script]));
    screen.wait_for("ready");
    // Kills the client.
    drop(screen);
    wait_until("the session's program was told", || told.exists());
}

pub fn detached(site: &Site<'_>, client: Client) {
    let socket = site.text("tmux");
    let (in_tmux, pid, leader) = (site.text("in-tmux"), site.text("pid"), site.text("leader"));
    let script = format!(
        "echo $$ > {leader}; tmux -S {socket} new -d 'touch {in_tmux}; sleep 100'
         nohup sh -c 'echo $$ > {pid}; exec sleep 100' >/dev/null 2>&1 &
         while [ ! -s {pid} ]; do sleep 0.05; done; echo ready; cat"
    );
    let mut child = start_ready(client(site, &[], &[&script]));
    let number = |path: &str| fs::read_to_string(path).unwrap().trim().to_owned();
    let is_there = |path: &str| Path::new("/proc").join(number(path)).exists();
    wait_until("tmux runs it", || site.at("in-tmux").exists());
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until("the session ended", || !is_there(&leader));
    let output = run(site, client, &format!("tmux -S {socket} ls && tmux -S {socket} kill-server"));
    assert!(output.status.success(), "tmux: {output:?}");
    assert!(is_there(&pid), "what ran under nohup is gone");
    run(site, client, &format!("kill {}", number(&pid)));
}
