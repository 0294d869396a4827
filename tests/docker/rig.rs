//! One agent with everything of its own, and the command line as a person uses it.

use crate::machine::{PORTS, Slot, both, docker, run, try_run, until, variable};
use serde_json::Value;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;
use tempfile::TempDir;

pub const BERTH: &str = env!("CARGO_BIN_EXE_berth");
/// Uids that no account has.
pub const ALICE: u32 = 54_001;
pub const BOB: u32 = 54_002;
pub const STRANGER: u32 = 54_009;

/// What differs between tests; see `Default`.
pub struct Setup {
    /// Another engine than the one that all tests share.
    pub docker: Option<PathBuf>,
    /// What the agent takes for the engine's socket.
    pub proxy: Option<PathBuf>,
    /// How many ports berths may have.
    pub ports: u16,
    /// Lines for the config's tables, such as `("[tools]", "npu-smi-timeout = \"1s\"")`.
    pub config: Vec<(&'static str, String)>,
    /// Replacements in the simulated node's profile.
    pub profile: Vec<(&'static str, String)>,
    /// The image `base`, a name in `BERTH_TEST_IMAGES`; none is imported when empty.
    pub image: &'static str,
    /// Users alice and bob.
    pub users: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            docker: None,
            proxy: None,
            ports: PORTS,
            config: Vec::new(),
            profile: Vec::new(),
            image: "workspace",
            users: true,
        }
    }
}

pub struct Rig {
    pub dir: TempDir,
    pub slot: Slot,
    pub engine: PathBuf,
    /// Tells this agent's containers from others'.
    pub instance: String,
    pub agent: Option<Child>,
    images: Vec<String>,
    /// Containers that the test itself started.
    foreign: Vec<String>,
}

/// How a command ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Rig {
    /// `None` where there is no engine.
    pub fn start() -> Option<Self> {
        Self::with(Setup::default())
    }

    pub fn with(setup: Setup) -> Option<Self> {
        let mut rig = Self::prepare(&setup)?;
        rig.start_agent();
        rig.instance = rig.instance_of_agent();
        if setup.users {
            for (user, uid) in [("alice", ALICE), ("bob", BOB)] {
                let key = rig.key(user);
                rig.ok(&["user", "add", user, "--key", &format!("{key}.pub"), "--uid", &uid.to_string()]);
            }
        }
        if !setup.image.is_empty() {
            rig.import("base", setup.image);
        }
        Some(rig)
    }

    fn instance_of_agent(&self) -> String {
        self.api("/v1/version")["instance"].as_str().unwrap().to_owned()
    }

    /// Everything but the agent.
    pub fn prepare(setup: &Setup) -> Option<Self> {
        let engine = variable("BERTH_TEST_DOCKER")?;
        let dir = tempfile::tempdir().unwrap();
        // Other uids run the command line in here.
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let rig = Self {
            dir,
            slot: Slot::take(),
            engine: setup.docker.clone().unwrap_or(engine),
            instance: String::new(),
            agent: None,
            images: Vec::new(),
            foreign: Vec::new(),
        };
        rig.write_files(setup);
        Some(rig)
    }

    fn write_files(&self, setup: &Setup) {
        let profiles = Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles");
        let mut profile = std::fs::read_to_string(profiles.join("sim.toml")).unwrap();
        let major = ("major = 236", format!("major = {}", self.slot.major()));
        for (old, new) in setup.profile.iter().chain([&major]) {
            assert!(profile.contains(old), "the profile has no {old:?}");
            profile = profile.replace(old, new);
        }
        let path = self.path("node.toml");
        std::fs::write(&path, profile).unwrap();
        let first = self.slot.first_port();
        let socket = setup.proxy.as_ref().unwrap_or(&self.engine).display();
        let between = if setup.config.iter().any(|(_, line)| line.starts_with("between-berths")) {
            ""
        } else {
            "between-berths = \"open\""
        };
        let tables = [
            (
                "[paths]",
                "state = \"state\"\nrun = \"run\"\nstorage = \"storage\"\ndev = \"dev\"\nimages = \"images.toml\""
                    .to_owned(),
            ),
            ("[tools]", String::new()),
            // The machine's firewall is not each test's to change.
            ("[docker]", format!("socket = \"{socket}\"\nclose-metadata = false\n{between}")),
            (
                "[ssh]",
                format!(
                    "ports = \"{first}-{}\"\naddress = \"127.0.0.1\"\nhost = \"127.0.0.1\"\ngateway = \"\"",
                    first + setup.ports - 1
                ),
            ),
        ];
        let mut config = format!("profile = \"{}\"\n", path.display());
        for (table, lines) in tables {
            let more = setup.config.iter().filter(|(name, _)| *name == table).map(|(_, line)| line.as_str());
            let lines: Vec<&str> = std::iter::once(lines.as_str()).chain(more).collect();
            config.extend([table, "\n", &lines.join("\n"), "\n"]);
        }
        std::fs::write(self.path("berth.toml"), config).unwrap();
        std::fs::DirBuilder::new().mode(0o700).create(self.path("storage")).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// A key pair of that name, made once; the private half's path.
    pub fn key(&self, name: &str) -> String {
        let path = self.text(&format!("key-{name}"));
        if !Path::new(&path).exists() {
            run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", name, "-f", &path]);
        }
        path
    }

    // The agent.

    /// Ends with this thread, so that a test that is killed leaves none behind.
    pub fn agent_command(&self) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", BERTH, "--config"]).arg(self.path("berth.toml")).arg("agent");
        command.stdin(Stdio::null()).env_remove("BERTH_CONFIG");
        command
    }

    pub fn start_agent(&mut self) {
        let command = self.agent_command();
        self.start_agent_as(command);
    }

    pub fn start_agent_as(&mut self, mut command: Command) {
        assert!(self.agent.is_none(), "an agent runs already");
        let log = std::fs::File::options().create(true).append(true).open(self.path("agent.log")).unwrap();
        self.agent = Some(command.stdout(Stdio::null()).stderr(log).spawn().unwrap());
        until("an answer of the agent", Duration::from_secs(30), || {
            if let Some(status) = self.agent.as_mut().unwrap().try_wait().unwrap() {
                panic!("the agent ended with {status}: {}", self.log());
            }
            (self.berth(&["list"]).code == 0).then_some(())
        });
    }

    /// As systemd ends it.
    pub fn stop_agent(&mut self) {
        let mut agent = self.agent.take().unwrap();
        run("kill", &["-TERM", &agent.id().to_string()]);
        assert!(agent.wait().unwrap().success(), "{}", self.log());
    }

    pub fn agent_ended(&mut self) -> bool {
        self.agent.as_mut().unwrap().try_wait().unwrap().is_some()
    }

    pub fn kill_agent(&mut self) {
        let mut agent = self.agent.take().unwrap();
        agent.kill().unwrap();
        agent.wait().unwrap();
    }

    /// While others still use the rig; `kill_agent` has to follow.
    pub fn kill_agent_by_pid(&self) {
        run("kill", &["-KILL", &self.agent.as_ref().unwrap().id().to_string()]);
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("agent.log")).unwrap_or_default()
    }

    // The command line.

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(BERTH);
        command.arg("--config").arg(self.path("berth.toml")).args(args);
        command.stdin(Stdio::null()).env("HOME", self.dir.path());
        command
    }

    pub fn berth(&self, args: &[&str]) -> Ran {
        Ran::of(&try_run(&mut self.command(args)))
    }

    /// As a person of this host who is not root.
    pub fn berth_as(&self, uid: u32, args: &[&str]) -> Ran {
        let mut command = Command::new("setpriv");
        let id = uid.to_string();
        command.args(["--reuid", &id, "--regid", &id, "--clear-groups", BERTH, "--config"]);
        Ran::of(&try_run(command.arg(self.path("berth.toml")).args(args).stdin(Stdio::null())))
    }

    /// Standard output of a command that has to succeed.
    pub fn ok(&self, args: &[&str]) -> String {
        let ran = self.berth(args);
        assert_eq!(ran.code, 0, "berth {args:?}: {}\nagent:\n{}", ran.err, self.log());
        ran.out
    }

    pub fn json(&self, args: &[&str]) -> Value {
        let text = self.ok(&[args, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{args:?}: {error}: {text}"))
    }

    /// A berth of alice's.
    pub fn request(&self, args: &[&str]) -> Value {
        self.json(&[&["request", "--user", "alice"], args].concat())
    }

    /// A call that has to be refused with this code: one clear sentence, perhaps some help, and nothing done.
    pub fn refused(&self, code: i32, args: &[&str]) -> String {
        self.refused_as(0, code, args)
    }

    pub fn refused_as(&self, uid: u32, code: i32, args: &[&str]) -> String {
        let before = self.footprint();
        let ran = if uid == 0 { self.berth(args) } else { self.berth_as(uid, args) };
        assert_eq!(ran.code, code, "berth {args:?}: {ran:?}\nagent:\n{}", self.log());
        ran.assert_one_sentence();
        assert_eq!(before, self.footprint(), "berth {args:?} was refused and changed something");
        ran.err
    }

    /// What a refused call must not change: berths, users, images, containers, directories.
    pub fn footprint(&self) -> String {
        let names = |dir: &str| {
            let entries = std::fs::read_dir(self.path(dir)).into_iter().flatten();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            format!("{dir}: {names:?}\n")
        };
        let state: Vec<String> =
            ["/v1/berths", "/v1/users"].iter().map(|path| self.api(path).to_string()).collect();
        let images = std::fs::read_to_string(self.path("images.toml")).unwrap_or_default();
        let containers = self.containers();
        format!("{state:#?}\n{images}\n{containers:?}\n{}{}", names("storage"), names("state/berths"))
    }

    /// Nothing is left of any berth, and every card is free.
    pub fn assert_nothing_left(&self) {
        assert_eq!(self.berths(), Vec::<Value>::new());
        assert_eq!(self.containers(), Vec::<String>::new());
        assert_eq!(std::fs::read_dir(self.path("state/berths")).unwrap().count(), 0);
        let taken: Vec<Value> =
            self.cards().into_iter().filter(|card| card["holders"] != Value::Array(vec![])).collect();
        assert_eq!(taken, Vec::<Value>::new());
    }

    pub fn berths(&self) -> Vec<Value> {
        self.json(&["list"])["berths"].as_array().unwrap().clone()
    }

    /// Also where they could not be looked at, which is an error of the command line.
    pub fn cards(&self) -> Vec<Value> {
        self.api("/v1/cards")["cards"].as_array().unwrap().clone()
    }

    /// Kinds of the events so far, oldest first.
    pub fn events(&self) -> Vec<Value> {
        let text = self.ok(&["events", "--last", "1000", "--json"]);
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// `GET` on the agent's socket, without the command line between.
    pub fn api(&self, path: &str) -> Value {
        let socket = self.text("run/berth.sock");
        let url = format!("http://berth{path}");
        serde_json::from_str(&run("curl", &["-sS", "--max-time", "60", "--unix-socket", &socket, &url]))
            .unwrap()
    }

    // The engine.

    pub fn docker(&self, args: &[&str]) -> String {
        let output = self.try_docker(args);
        assert!(output.status.success(), "docker {args:?}: {}", both(&output));
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    pub fn try_docker(&self, args: &[&str]) -> Output {
        docker(&self.engine, &self.path("docker-config"), args)
    }

    /// Ids of this agent's containers, probes included, in whatever state.
    pub fn containers(&self) -> Vec<String> {
        let mut ids = Vec::new();
        for label in ["instance", "probe"] {
            let filter = format!("label=berth.{label}={}", self.instance);
            let listed = self.docker(&["ps", "-aq", "--no-trunc", "--filter", &filter]);
            ids.extend(listed.lines().map(str::to_owned));
        }
        ids.sort();
        ids
    }

    pub fn inspect(&self, container: &str) -> Value {
        let text = self.docker(&["inspect", container]);
        serde_json::from_str::<Value>(&text).unwrap()[0].clone()
    }

    /// `docker run -d` by somebody who does not know berth; returns the container's name.
    pub fn foreign(&mut self, name: &str, options: &[&str]) -> String {
        let name = format!("{name}-{}", self.slot.major());
        self.foreign.push(name.clone());
        let image = self.reference("base");
        let run = ["run", "-d", "--name", &name, "--network", "none"];
        let program = [image.as_str(), "/bin/busybox", "sleep", "600"];
        self.docker(&[&run[..], options, &program].concat());
        name
    }

    /// Imports an image under a name that no other test's catalogue has.
    pub fn import(&mut self, name: &str, tar: &str) {
        self.import_with(name, tar, &[]);
    }

    /// With lines of a Dockerfile on top.
    pub fn import_with(&mut self, name: &str, tar: &str, lines: &[&str]) {
        let images =
            variable("BERTH_TEST_IMAGES").expect("BERTH_TEST_IMAGES is set where there is an engine");
        let file = images.join(format!("{tar}.tar")).display().to_string();
        let reference = self.reference(name);
        let lines = lines.iter().flat_map(|line| ["--change", line]);
        let args: Vec<&str> =
            ["import"].into_iter().chain(lines).chain([file.as_str(), &reference]).collect();
        self.docker(&args);
        self.add_image(name, &reference);
    }

    pub fn add_image(&mut self, name: &str, reference: &str) {
        self.images.push(reference.to_owned());
        self.ok(&["image", "add", name, reference]);
    }

    pub fn reference(&self, name: &str) -> String {
        format!("berth-test-{}-{}:{name}", std::process::id(), self.slot.major())
    }

    // Inside a berth.

    /// The real client with the host key pinned to what `berth show` says.
    pub fn ssh(&self, berth: &Value, command: &str) -> Output {
        let key = self.key(berth["owner"].as_str().unwrap());
        self.ssh_with(berth, &key, command)
    }

    pub fn ssh_with(&self, berth: &Value, key: &str, command: &str) -> Output {
        let known = self.text(&format!("known-{}", berth["id"]));
        let port = berth["port"].to_string();
        let line = format!("[127.0.0.1]:{port} {}\n", berth["host_key"].as_str().unwrap());
        std::fs::write(&known, line).unwrap();
        let login = format!("{}@127.0.0.1", berth["ssh_user"].as_str().unwrap());
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "/dev/null", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"]);
        ssh.args(["-o", "StrictHostKeyChecking=yes", "-o", &format!("UserKnownHostsFile={known}")]);
        ssh.args(["-o", "ConnectTimeout=20", "-i", key, "-p", &port, &login, command]);
        try_run(ssh.stdin(Stdio::null()))
    }

    pub fn ssh_ok(&self, berth: &Value, command: &str) -> String {
        let output = self.ssh(berth, command);
        assert!(output.status.success(), "ssh {command:?}: {}\nagent:\n{}", both(&output), self.log());
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// As root in the container, which no SSH user is.
    pub fn exec(&self, berth: &Value, script: &str) -> String {
        let container = berth["container_id"].as_str().unwrap();
        both(&self.try_docker(&["exec", "-u", "0", container, "/bin/busybox", "sh", "-c", script]))
    }

    /// The cards whose nodes a container really has.
    pub fn devices(&self, container: &str) -> Vec<String> {
        let inspected = self.inspect(container);
        let devices = inspected["HostConfig"]["Devices"].as_array().unwrap();
        let mut names: Vec<String> =
            devices.iter().map(|device| device["PathInContainer"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            let _ = agent.kill();
            let _ = agent.wait();
        }
        if std::thread::panicking() {
            eprintln!("the agent's log:\n{}", self.log());
        }
        let ours = if self.instance.is_empty() { Vec::new() } else { self.containers() };
        for container in ours.iter().chain(&self.foreign) {
            self.try_docker(&["rm", "-fv", container]);
        }
        for image in &self.images {
            self.try_docker(&["rmi", "-f", image]);
        }
    }
}

impl Ran {
    pub fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            code: output.status.code().unwrap_or(-1),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }

    /// An error is `berth: …`, perhaps with a `help: …` line; progress lines before it are indented.
    pub fn assert_one_sentence(&self) {
        assert_eq!(self.out, "", "a refused call prints no result");
        let lines: Vec<&str> = self.err.lines().filter(|line| !line.starts_with("  ")).collect();
        let (first, rest) = lines.split_first().unwrap_or_else(|| panic!("nothing was said: {self:?}"));
        assert!(first.starts_with("berth: ") && first.len() < 600, "{self:?}");
        assert!(rest.iter().all(|line| line.starts_with("help: ")) && rest.len() <= 1, "{self:?}");
        for word in ["panicked", "RUST_BACKTRACE", "Os {", "Error {"] {
            assert!(!self.err.contains(word), "{self:?}");
        }
    }
}
