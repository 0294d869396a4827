//! An engine that one test has for itself: with runtimes of its own, and files that somebody edits. It is in nobody's way:
//! a bridge of its own, and no rules of iptables.

use crate::machine::{Slot, both, docker, run, until};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

pub struct OwnEngine {
    dir: TempDir,
    /// Short: the path of a socket has at most 107 bytes.
    run: PathBuf,
    bridge: String,
    slot: Slot,
    /// A directory with iptables' programs, where it makes rules at all.
    tools: Option<PathBuf>,
    /// Its data has a file system of its own.
    has_disk: bool,
    daemon: Option<Child>,
}

impl OwnEngine {
    pub fn start(config: &Value) -> Self {
        Self::with_rules(config, None)
    }

    /// What it knows is on a disk of its own, of so many MiB.
    pub fn on_disk(config: &Value, mib: u32) -> Self {
        Self::make(config, None, Some(mib))
    }

    /// It makes rules with the programs in `tools`.
    pub fn with_rules(config: &Value, tools: Option<PathBuf>) -> Self {
        Self::make(config, tools, None)
    }

    fn make(config: &Value, tools: Option<PathBuf>, disk: Option<u32>) -> Self {
        let slot = Slot::take();
        let name = format!("btest{}", slot.major());
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("daemon.json"), config.to_string()).unwrap();
        let run_dir = Path::new("/run").join(&name);
        std::fs::create_dir_all(&run_dir).unwrap();
        let has_disk = disk.is_some();
        let mut engine = Self { dir, run: run_dir, bridge: name, slot, tools, has_disk, daemon: None };
        if let Some(mib) = disk {
            engine.mount_disk(mib);
        }
        let network = format!("10.213.{}.1/24", engine.slot.major() % 256);
        let _ = Command::new("ip").args(["link", "del", &engine.bridge]).stderr(Stdio::null()).status();
        run("ip", &["link", "add", "name", &engine.bridge, "type", "bridge"]);
        run("ip", &["addr", "add", &network, "dev", &engine.bridge]);
        run("ip", &["link", "set", &engine.bridge, "up"]);
        engine.start_again();
        engine
    }

    pub fn socket(&self) -> PathBuf {
        self.run.join("docker.sock")
    }

    pub fn bridge(&self) -> &str {
        &self.bridge
    }

    fn path(&self) -> Option<(&'static str, String)> {
        let path = std::env::var("PATH").unwrap();
        self.tools.as_ref().map(|tools| ("PATH", format!("{}:{path}", tools.display())))
    }

    fn mount_disk(&self, mib: u32) {
        let image = self.dir.path().join("disk").display().to_string();
        run("truncate", &["-s", &format!("{mib}M"), &image]);
        run("mkfs.xfs", &["-q", &image]);
        std::fs::create_dir(self.data()).unwrap();
        run("mount", &["-o", "loop", &image, &self.data().display().to_string()]);
    }

    /// Where it keeps what it knows.
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub fn start_again(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.log()).unwrap();
        let at = |name: &str| self.run.join(name);
        let mut daemon = Command::new("dockerd");
        daemon.arg("--data-root").arg(self.data()).arg("--exec-root").arg(at("exec"));
        daemon.arg("--pidfile").arg(at("pid")).arg("--config-file").arg(self.dir.path().join("daemon.json"));
        daemon.args(["--bridge", &self.bridge, &format!("--iptables={}", self.tools.is_some())]);
        daemon.envs(self.path());
        daemon.arg("-H").arg(format!("unix://{}", self.socket().display()));
        daemon.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.daemon = Some(daemon.spawn().unwrap());
        until("an answer of an engine of its own", Duration::from_mins(1), || {
            if let Some(status) = self.daemon.as_mut().unwrap().try_wait().unwrap() {
                panic!("dockerd ended with {status}: {}", std::fs::read_to_string(self.log()).unwrap());
            }
            docker(&self.socket(), self.dir.path(), &["version"]).status.success().then_some(())
        });
    }

    /// As it is stopped for an update: its containers end with it.
    pub fn stop(&mut self) {
        let Some(mut daemon) = self.daemon.take() else { return };
        run("kill", &["-TERM", &daemon.id().to_string()]);
        until("the engine's end", Duration::from_mins(1), || daemon.try_wait().unwrap());
    }

    pub fn docker(&self, args: &[&str]) -> String {
        let output = docker(&self.socket(), self.dir.path(), args);
        assert!(output.status.success(), "docker {args:?}: {}", both(&output));
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("dockerd.log")
    }
}

impl Drop for OwnEngine {
    fn drop(&mut self) {
        self.stop();
        if self.has_disk {
            // The loop device goes with it.
            let _ = Command::new("umount").arg("-l").arg(self.data()).status();
        }
        let _ = Command::new("ip").args(["link", "del", &self.bridge]).status();
        let _ = std::fs::remove_dir_all(&self.run);
    }
}
