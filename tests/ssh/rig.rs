//! A real server (the berth binary) on loopback, and real clients. No mocks; every wait has an end.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Longer than anything here takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_mins(1);

pub struct Server {
    pub dir: tempfile::TempDir,
    pub child: Child,
    pub port: u16,
    pub user: String,
    pub log: Arc<Mutex<String>>,
    pub events: Arc<Mutex<String>>,
}

/// What a server is started with.
#[derive(Default)]
pub struct Setup<'a> {
    pub session: &'a str,
    pub user: &'a str,
    pub environment: &'a [(&'a str, &'a str)],
    /// Runs in this root, where it is `/berth` and its files are in `/etc-berth`.
    pub root: Option<&'a Path>,
    /// Is mounted over `/root`, for this server alone: what sessions leave at home is the test's.
    pub home: Option<&'a Path>,
    /// Is mounted read-only where berths see the editors' servers of their node; needs a `home`.
    pub editors: Option<&'a Path>,
    /// Has a host key of RSA besides, and lets a key of RSA in: for clients that know nothing else.
    pub rsa: bool,
}

impl Setup<'_> {
    pub fn start(&self) -> Server {
        assert!(nix::unistd::Uid::effective().is_root(), "these tests start an SSH server: run them as root");
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(dir.path().join("info")).unwrap();
        let etc = self.root.map_or_else(|| dir.path().join("etc"), |root| root.join("etc-berth"));
        fs::create_dir_all(&etc).unwrap();
        self.make_keys(dir.path(), &etc);
        if self.rsa {
            let keys = ["host_key", "host_key_rsa"].map(|name| fs::read_to_string(etc.join(name)).unwrap());
            fs::write(etc.join("host_key"), keys.concat()).unwrap();
        }
        let session = if self.session.is_empty() { r#"{"schema": 1}"# } else { self.session };
        fs::write(etc.join("session.json"), session).unwrap();
        let (child, port, log, events) = self.spawn(&etc, dir.path());
        let user = if self.user.is_empty() { "root" } else { self.user }.to_owned();
        Server { dir, child, port, user, log, events }
    }

    /// Host keys and `authorized_keys` in `etc`, a user's keys beside it.
    pub fn make_keys(&self, dir: &Path, etc: &Path) {
        keygen("ed25519", &dir.join("key"));
        keygen("ed25519", &etc.join("host_key"));
        let mut authorized = fs::read_to_string(dir.join("key.pub")).unwrap();
        if self.rsa {
            keygen_with(&["-t", "rsa", "-b", "2048", "-m", "PEM"], &dir.join("key_rsa"));
            keygen_with(&["-t", "rsa", "-b", "3072"], &etc.join("host_key_rsa"));
            authorized += &fs::read_to_string(dir.join("key_rsa.pub")).unwrap();
        }
        fs::write(etc.join("authorized_keys"), authorized).unwrap();
    }

    fn spawn(&self, etc: &Path, dir: &Path) -> (Child, u16, Kept, Kept) {
        let (mut command, etc) = match self.root {
            None => {
                let own = dir.join("berth");
                place_binary(&own);
                (self.at_home(&own), etc.to_path_buf())
            }
            Some(root) => {
                place_binary(&root.join("berth"));
                make_random_devices(root);
                let mut command = Command::new("chroot");
                command.arg(root).arg("/berth");
                (command, PathBuf::from("/etc-berth"))
            }
        };
        command.args(["inside", "serve", "--listen", "127.0.0.1:0", "--etc"]).arg(etc);
        command.arg("--info").arg(dir.join("info"));
        command.arg("--programs").arg(dir.join("programs"));
        // The server runs on this machine, whose own table is not a test's to change.
        command.arg("--group-file").arg(dir.join("group"));
        command.envs(self.environment.iter().copied());
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let events = Kept::default();
        keep(BufReader::new(child.stdout.take().unwrap()), &events);
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let log = Kept::default();
        let mut port = None;
        while port.is_none() {
            let mut line = String::new();
            assert!(lines.read_line(&mut line).unwrap() > 0, "the server ended before it listened");
            port = line.split("address=127.0.0.1:").nth(1).and_then(|rest| rest.trim().parse().ok());
            log.lock().unwrap().push_str(&line);
        }
        keep(lines, &log);
        (child, port.unwrap(), log, events)
    }
}

/// What a server wrote.
type Kept = Arc<Mutex<String>>;

fn keep(lines: impl BufRead + Send + 'static, kept: &Kept) {
    let kept = Arc::clone(kept);
    thread::spawn(move || {
        for line in lines.lines().map_while(Result::ok) {
            kept.lock().unwrap().push_str(&(line + "\n"));
        }
    });
}

impl Setup<'_> {
    /// The command of a server, in its own mount namespace if it is to have its own `/root`.
    pub fn at_home(&self, program: &Path) -> Command {
        let Some(home) = self.home else { return Command::new(program) };
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c"]);
        match self.editors {
            None => command.arg("mount --bind \"$1\" /root && shift && exec \"$@\"").arg("sh").arg(home),
            Some(editors) => command
                .arg(
                    "mount --bind \"$1\" /root && mount -t tmpfs none /opt && mkdir -p /opt/berth/editors &&
                     mount --bind \"$2\" /opt/berth/editors && mount -o remount,bind,ro /opt/berth/editors &&
                     shift 2 && exec \"$@\"",
                )
                .arg("sh")
                .args([home, editors]),
        };
        command.arg(program);
        command
    }
}

/// The least that every container has.
fn make_random_devices(root: &Path) {
    use nix::sys::stat::{Mode, SFlag, makedev, mknod};
    fs::create_dir_all(root.join("dev")).unwrap();
    for (name, minor) in [("random", 8), ("urandom", 9)] {
        mknod(
            &root.join("dev").join(name),
            SFlag::S_IFCHR,
            Mode::from_bits_truncate(0o666),
            makedev(1, minor),
        )
        .unwrap();
    }
}

fn place_binary(at: &Path) {
    let built = Path::new(env!("CARGO_BIN_EXE_berth"));
    if fs::hard_link(built, at).is_err() {
        fs::copy(built, at).unwrap();
    }
}

pub fn keygen(kind: &str, at: &Path) {
    keygen_with(&["-t", kind], at);
}

fn keygen_with(options: &[&str], at: &Path) {
    let mut keygen = Command::new("ssh-keygen");
    let made = keygen.arg("-q").args(options).args(["-N", "", "-f"]).arg(at).status().unwrap();
    assert!(made.success());
}

/// Whether the server was built with the russh that `scripts/lib/patched.sh` makes.
pub fn has_changed_russh() -> bool {
    let has_changes = option_env!("BERTH_RUSSH") == Some("changed");
    if !has_changes {
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "russh is the registry's, and in CI it is ours"
        );
        eprintln!("SKIPPED: what the registry's russh cannot do; scripts/build or scripts/test changes it");
    }
    has_changes
}

/// Polls for a condition; its end is a failure that says what was waited for.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

impl Server {
    pub fn etc(&self) -> PathBuf {
        self.dir.path().join("etc")
    }
    pub fn key(&self) -> PathBuf {
        self.dir.path().join("key")
    }
    /// One that phpseclib reads; only where it was asked for.
    #[allow(dead_code, reason = "not every test that has this rig needs it")]
    pub fn rsa_key(&self) -> PathBuf {
        self.dir.path().join("key_rsa")
    }
    /// The public half of the ed25519 host key, of berth or of sshd.
    #[allow(dead_code, reason = "not every test that has this rig needs it")]
    pub fn host_key_public(&self) -> PathBuf {
        let etc = if self.etc().is_dir() { self.etc() } else { self.dir.path().to_path_buf() };
        etc.join("host_key.pub")
    }
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }
    /// The lines for the agent so far.
    #[allow(dead_code, reason = "not every test that has this rig reads them")]
    pub fn events(&self) -> String {
        self.events.lock().unwrap().clone()
    }
    /// The most memory that the server ever had, in KiB.
    pub fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// The OpenSSH client, with options before and a command after the destination.
    pub fn client(&self, options: &[&str], command: &[&str]) -> Command {
        let mut ssh = Command::new("timeout");
        ssh.arg(PATIENCE.as_secs().to_string()).args(["ssh", "-F", "none", "-o", "IdentitiesOnly=yes"]);
        ssh.args(["-o", "StrictHostKeyChecking=accept-new", "-o", "BatchMode=yes"]);
        ssh.arg("-o").arg(format!("UserKnownHostsFile={}", self.dir.path().join("known").display()));
        if !options.contains(&"-i") {
            ssh.arg("-i").arg(self.key());
        }
        ssh.args(["-p", &self.port.to_string()]).args(options);
        ssh.arg(format!("{}@127.0.0.1", self.user)).args(command);
        ssh
    }

    pub fn run(&self, command: &str) -> Output {
        self.client(&[], &[command]).stdin(Stdio::null()).output().unwrap()
    }

    pub fn text(&self, command: &str) -> String {
        let output = self.run(command);
        assert!(output.status.success(), "{command}: {output:?}\n{}", self.log());
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn run_with_input(&self, command: &str, input: &[u8]) -> Output {
        let mut child = self
            .client(&[], &[command])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        // A client that is refused reads no input; the output tells.
        let writer = thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        output
    }

    /// Replaces the keys as the agent does: another file under the same name.
    pub fn replace_keys(&self, text: &str) {
        let new = self.etc().join(".new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.etc().join("authorized_keys")).unwrap();
    }

    /// As the container's init does when the container is stopped.
    pub fn terminate(&self) {
        let pid = nix::unistd::Pid::from_raw(self.child.id().try_into().unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    }
    pub fn wait(&mut self) -> std::process::ExitStatus {
        self.child.wait().unwrap()
    }

    pub fn restart(&mut self) {
        self.stop();
        let (child, port, log, events) = Setup::default().spawn(&self.etc(), self.dir.path());
        (self.child, self.port, self.log, self.events) = (child, port, log, events);
    }

    fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // The binary's place is taken again at a restart.
        let _ = fs::remove_file(self.dir.path().join("berth"));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
        if thread::panicking() {
            eprintln!("the server's log:\n{}", self.log());
        }
    }
}
