//! A machine: boots, runs commands, loses power, boots again with other disks.

use crate::qemu::{self, Base, Disk, Rig};
use crate::shell::{Follow, Ran, Shell, end, finish};
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// An emulated processor beside another one, on a machine with other work.
const BOOT: Duration = Duration::from_mins(5);
/// What a command may take when nothing else is said.
const PATIENCE: Duration = Duration::from_mins(4);

pub struct Machine {
    image: PathBuf,
    /// Root disk, data disks, console; stays when the test fails.
    dir: Option<tempfile::TempDir>,
    /// In the order of their slots. To be changed while the machine is off.
    pub disks: Vec<Disk>,
    qemu: Option<Child>,
    shell: Option<Shell>,
    port: u16,
}

impl Machine {
    /// A new machine, booted.
    pub fn boot(rig: &Rig, base: Base, disks: Vec<Disk>) -> Self {
        let mut machine = Self::new(rig, base, disks);
        machine.power_on();
        machine
    }

    /// A new machine that is off.
    pub fn new(rig: &Rig, base: Base, disks: Vec<Disk>) -> Self {
        let dir = tempfile::Builder::new().prefix("machine-").tempdir_in(&rig.scratch).unwrap();
        qemu::make_root(&rig.image, base, dir.path());
        Self { image: rig.image.clone(), dir: Some(dir), disks, qemu: None, shell: None, port: 0 }
    }

    pub fn dir(&self) -> &Path {
        self.dir.as_ref().expect("it has one until it is dropped").path()
    }

    /// The system is installed anew, on the same disks.
    pub fn reinstall(&mut self, base: Base) {
        assert!(self.qemu.is_none(), "the machine is on");
        qemu::make_root(&self.image, base, self.dir());
    }

    /// Boots, and waits for a login.
    pub fn power_on(&mut self) {
        assert!(self.qemu.is_none(), "the machine is on");
        let start = Instant::now();
        while self.shell.is_none() {
            assert!(start.elapsed() < BOOT, "no login within {BOOT:?}");
            let running = self.qemu.as_mut().is_some_and(|qemu| qemu.try_wait().unwrap().is_none());
            if !running {
                // Nobody has the port when we ask; when QEMU takes it, somebody may have come in between.
                self.port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
                self.qemu = Some(qemu::start(&self.image, self.dir(), &self.disks, self.port));
                std::thread::sleep(Duration::from_millis(200));
            } else if says_ssh(self.port) {
                self.shell = Shell::open(&self.image.join("key"), self.port);
            }
        }
        eprintln!("booted in {:.1} s", start.elapsed().as_secs_f32());
    }

    /// The power goes: what was not flushed is lost.
    pub fn cut(&mut self) {
        self.shell = None;
        end(self.qemu.as_mut().expect("the machine is on"));
        self.qemu = None;
    }

    pub fn power_off(&mut self) {
        self.leave("systemctl poweroff");
    }

    /// Down and up again, with `disks` as they are now.
    pub fn reboot(&mut self) {
        self.leave("systemctl reboot");
        self.power_on();
    }

    fn leave(&mut self, command: &str) {
        // The connection may end before the answer.
        self.run(command);
        self.wait_until_off();
    }

    /// Waits for a machine that is going down by itself: a reboot ends QEMU too.
    pub fn wait_until_off(&mut self) {
        let qemu = self.qemu.as_mut().expect("the machine is on");
        until("the machine is off", PATIENCE, || qemu.try_wait().unwrap());
        self.qemu = None;
        self.shell = None;
    }

    fn shell(&self) -> &Shell {
        self.shell.as_ref().expect("the machine is on")
    }

    /// Runs a shell script as root, however it ends.
    pub fn run(&self, script: &str) -> Ran {
        self.run_within(PATIENCE, script)
    }

    pub fn run_within(&self, limit: Duration, script: &str) -> Ran {
        self.shell().run(script, None, limit)
    }

    /// Runs a script that has to succeed; its standard output without the last line's end.
    #[track_caller]
    pub fn ok(&self, script: &str) -> String {
        self.ok_within(PATIENCE, script)
    }

    #[track_caller]
    pub fn ok_within(&self, limit: Duration, script: &str) -> String {
        let ran = self.run_within(limit, script);
        assert_eq!(ran.code, 0, "{script}\n{}{}", ran.out, ran.err);
        ran.out.trim_end().to_owned()
    }

    /// Starts a script that gives its lines as they come.
    pub fn follow(&self, script: &str) -> Follow {
        self.shell().follow(script)
    }

    #[track_caller]
    pub fn put(&self, from: &Path, to: &str) {
        let ran = self.shell().run(&format!("cat >'{to}'"), Some(from), PATIENCE);
        assert_eq!(ran.code, 0, "putting {} at {to}: {}", from.display(), ran.err);
    }

    #[track_caller]
    pub fn write(&self, to: &str, text: &str) {
        let file = self.dir().join("written");
        std::fs::write(&file, text).unwrap();
        self.put(&file, to);
    }

    /// OpenSSH from outside to a port of the machine's loopback.
    pub fn ssh_to(&self, port: u16, key: &Path, user: &str, script: &str) -> Ran {
        let through = self.shell().tunnel(port);
        let quoted = |word: &std::ffi::OsStr| format!("'{}'", word.to_string_lossy());
        let words: Vec<_> = through.get_args().map(quoted).collect();
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"]);
        ssh.args(["-o", "LogLevel=ERROR", "-o", "UserKnownHostsFile=/dev/null", "-o", "IdentitiesOnly=yes"]);
        ssh.arg("-o").arg(format!("ProxyCommand=ssh {}", words.join(" "))).arg("-i").arg(key);
        ssh.arg(format!("{user}@berth")).arg(script).stdin(Stdio::null());
        finish(ssh.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap(), script, PATIENCE)
    }

    /// Takes a disk out of the running machine.
    #[track_caller]
    pub fn unplug(&self, serial: &str) {
        let name = self.device(serial);
        let name = name.trim_start_matches("/dev/");
        self.ok(&format!("echo 1 >/sys/block/{name}/device/device/remove"));
        // The kernel takes the node away, udev its other names, some time later.
        self.ok(&format!(
            "timeout 60 sh -c 'while ls /dev/{name} /dev/disk/by-id/nvme-*_{serial} 2>/dev/null | grep -q .; \
             do sleep 0.1; done'"
        ));
    }

    /// `/dev/nvmeXn1` of a serial, as this boot has it.
    #[track_caller]
    pub fn device(&self, serial: &str) -> String {
        // A login may come before udev has named all disks.
        let link = format!("/dev/disk/by-id/nvme-*_{serial}");
        self.ok(&format!("timeout 60 sh -c 'until readlink -e {link}; do sleep 0.1; done'"))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.shell = None;
        if let Some(qemu) = &mut self.qemu {
            end(qemu);
        }
        if std::thread::panicking() {
            let dir = self.dir.take().expect("it has one until it is dropped").keep();
            for log in ["console.log", "qemu.log"] {
                let text = std::fs::read(dir.join(log)).unwrap_or_default();
                let text = String::from_utf8_lossy(&text);
                let lines: Vec<_> = text.lines().collect();
                eprintln!("{log} of {}, its end:", dir.display());
                eprintln!("{}", lines[lines.len().saturating_sub(20)..].join("\n"));
            }
        }
    }
}

/// QEMU takes connections before there is anybody to answer.
fn says_ssh(port: u16) -> bool {
    let pause = Duration::from_millis(100);
    std::thread::sleep(pause);
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let mut start = [0; 4];
    stream.read_exact(&mut start).is_ok() && &start == b"SSH-"
}

/// Asks again until the answer is there; a bounded wait on the very condition.
pub fn until<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
