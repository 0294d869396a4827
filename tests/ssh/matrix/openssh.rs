//! What only OpenSSH's `ssh` has, or has in its own way.

use super::forwards::Running;
use super::sessions::{feed, run};
use super::site::{NOISE, Site, ok};
use crate::rig::{keygen, wait_until};
use std::fs;
use std::io::{BufRead as _, BufReader, Write};
use std::process::{Command, Stdio};

pub fn ssh(site: &Site<'_>, options: &[&str], command: &[&str]) -> Command {
    site.server.client(options, command)
}

fn stderr_of(site: &Site<'_>, options: &[&str], command: &str) -> String {
    let output = ssh(site, options, &[command]).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub fn killed(site: &Site<'_>) {
    let output = ssh(site, &["-v"], &["kill -TERM $$"]).stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(255));
    assert!(String::from_utf8_lossy(&output.stderr).contains("rtype exit-signal"), "{output:?}");
}

pub fn environment(site: &Site<'_>) {
    let set = "SetEnv=LANG=zh_CN.UTF-8 LC_ALL=C TZ=Asia/Shanghai LC_V1=mine";
    let output = ssh(site, &["-o", set], &["echo $LANG $LC_ALL $TZ $LC_V1"]).output().unwrap();
    assert_eq!(output.stdout, b"zh_CN.UTF-8 C Asia/Shanghai mine\n", "{output:?}");
}

pub fn two_hops(site: &Site<'_>) {
    let first = format!("{} {}@127.0.0.1 -W %h:%p", site.transport(), site.server.user);
    let output = ssh(site, &["-o", &format!("ProxyCommand={first}")], &["exit 7"]).output().unwrap();
    assert_eq!(output.status.code(), Some(7), "{output:?}");
}

pub fn no_head_of_line(site: &Site<'_>) {
    let mux = Multiplexer::start(site);
    let go = site.text("go");
    let wait = format!("while [ ! -e {go} ]; do sleep 0.05; done; wc -c");
    let mut stuck = mux.session(site, &[&wait]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = stuck.stdin.take().unwrap();
    let writer = std::thread::spawn(move || {
        // Far more than windows and buffers hold: this channel is stuck until it may go.
        for _ in 0..6 {
            input.write_all(&NOISE).unwrap();
        }
    });
    let noise = site.noise("noise");
    for _ in 0..3 {
        let other = mux.session(site, &[&format!("cat {}", noise.display())]).output().unwrap();
        assert!(other.stdout == *NOISE, "{} bytes", other.stdout.len());
    }
    fs::write(go, "").unwrap();
    let counted = stuck.wait_with_output().unwrap();
    writer.join().unwrap();
    assert_eq!(String::from_utf8_lossy(&counted.stdout).trim(), (6 * NOISE.len()).to_string());
}

struct Multiplexer {
    path: String,
    _master: Running,
}

impl Multiplexer {
    fn start(site: &Site<'_>) -> Self {
        let path = format!("ControlPath={}", site.text("mux"));
        let master = ssh(site, &["-N", "-M", "-o", &path], &[]).stdin(Stdio::null()).spawn().unwrap();
        let mux = Self { path, _master: Running(master) };
        wait_until("the master is there", || mux.tell(site, "check"));
        mux
    }
    fn tell(&self, site: &Site<'_>, what: &str) -> bool {
        ssh(site, &["-o", &self.path, "-O", what], &[]).output().unwrap().status.success()
    }
    fn session(&self, site: &Site<'_>, command: &[&str]) -> Command {
        let mut client = ssh(site, &["-o", &self.path], command);
        client.stdin(Stdio::null());
        client
    }
}

pub fn multiplexing(site: &Site<'_>) {
    let mux = Multiplexer::start(site);
    let connection = |site| ok(&mut mux.session(site, &["echo $SSH_CONNECTION"]));
    let first = connection(site);
    assert_eq!(first, connection(site));
    assert!(!first.is_empty() && first != ok(&mut ssh(site, &[], &["echo $SSH_CONNECTION"])));
    // More at once than a person has windows.
    let many: Vec<_> = (0..8)
        .map(|number| mux.session(site, &[&format!("echo {number}")]).stdout(Stdio::piped()).spawn().unwrap())
        .collect();
    for (number, child) in many.into_iter().enumerate() {
        assert_eq!(child.wait_with_output().unwrap().stdout, format!("{number}\n").into_bytes());
    }
    assert!(mux.tell(site, "exit"));
}

pub fn keepalive(site: &Site<'_>) {
    let options = ["-vvv", "-o", "ServerAliveInterval=1", "-o", "ServerAliveCountMax=1"];
    let said = stderr_of(site, &options, "sleep 3");
    let asked = said.lines().filter(|line| line.contains("send packet: type 80")).count();
    assert!(asked >= 2, "asked {asked} times");
}

/// A new key after each megabyte, which nothing that is on its way may notice.
const REKEY: [&str; 3] = ["-v", "-o", "RekeyLimit=1M"];

fn new_keys(stderr: &[u8]) -> usize {
    String::from_utf8_lossy(stderr).matches("SSH2_MSG_NEWKEYS received").count()
}

pub fn rekeying_down(site: &Site<'_>) {
    let noise = site.noise("noise");
    let output = ssh(site, &REKEY, &[&format!("cat {}", noise.display())]).output().unwrap();
    assert!(output.stdout == *NOISE, "{} bytes", output.stdout.len());
    assert!(new_keys(&output.stderr) > 2, "{} times", new_keys(&output.stderr));
}

pub fn rekeying_up(site: &Site<'_>) {
    let output = feed(&mut ssh(site, &REKEY, &["cat"]), &NOISE);
    assert!(output.stdout == *NOISE, "{} bytes", output.stdout.len());
    assert!(new_keys(&output.stderr) > 5, "{} times", new_keys(&output.stderr));
}

pub fn agent(site: &Site<'_>) {
    let _agent = Agent::start(site);
    let listed = |options: &[&str]| {
        let mut client = ssh(site, options, &["ssh-add -l"]);
        client.env("SSH_AUTH_SOCK", site.at("agent")).stdin(Stdio::null()).output().unwrap()
    };
    let output = listed(&["-A"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("(ED25519)"), "{output:?}");
    assert!(!listed(&["-a"]).status.success(), "an agent without forwarding");
}

/// A real ssh-agent with one key.
pub struct Agent(std::process::Child);

impl Agent {
    pub fn start(site: &Site<'_>) -> Self {
        let socket = site.at("agent");
        let child =
            Command::new("ssh-agent").arg("-D").arg("-a").arg(&socket).stdout(Stdio::null()).spawn().unwrap();
        let agent = Self(child);
        wait_until("the agent listens", || socket.exists());
        keygen("ed25519", &site.at("in-agent"));
        ok(Command::new("ssh-add").arg("-q").arg(site.at("in-agent")).env("SSH_AUTH_SOCK", &socket));
        agent
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn x11_refused(site: &Site<'_>) {
    let mut client = ssh(site, &["-Y"], &["echo still here; echo display=$DISPLAY"]);
    let output = client.env("DISPLAY", ":77").stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("X11 forwarding request failed"), "{output:?}");
    assert_eq!(output.stdout, b"still here\ndisplay=\n");
}

pub fn compression(site: &Site<'_>) {
    let noise = site.noise("noise");
    let both = format!("cat {0} | base64; cat {0}", noise.display());
    let output = ssh(site, &["-v", "-C"], &[&both]).output().unwrap();
    assert!(output.stdout.ends_with(&NOISE), "{} bytes", output.stdout.len());
    assert!(String::from_utf8_lossy(&output.stderr).contains("compression: zlib@openssh.com"));
    let up = feed(&mut ssh(site, &["-C"], &["cat"]), &NOISE);
    assert!(up.stdout == *NOISE);
}

pub fn banner(site: &Site<'_>) {
    let output = run(site, ssh, "echo in");
    assert_eq!(output.stdout, b"in\n");
    assert!(output.stderr.is_empty(), "the server talks: {output:?}");
}

/// `ssh HOST yes | head -1`: the client says that nobody reads any more, and the program's next write fails.
pub fn unread_output(site: &Site<'_>) {
    let told = site.at("told");
    // That one ends by SIGPIPE, this one by an error, and goes on with something else.
    let goes_on = format!("trap '' PIPE; yes 2>/dev/null; echo $? > {}", told.display());
    for (program, status) in [("yes", 255), (&goes_on, 0)] {
        let mut client = ssh(site, &[], &[program]);
        let mut client = Running(client.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap());
        let mut line = String::new();
        // Dropped with the rest of the pipe after one line.
        BufReader::new(client.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "y\n");
        assert_eq!(client.0.wait().unwrap().code(), Some(status), "{program}");
    }
    assert_eq!(fs::read_to_string(told).unwrap(), "1\n");
}

pub fn tunnel_refused(site: &Site<'_>) {
    let output =
        ssh(site, &["-w", "any"], &["sleep 1; echo still here"]).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.stdout == b"still here\n" && said.contains("open failed: "), "{output:?}");
}
