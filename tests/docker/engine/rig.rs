//! What the tests share: the engine, names of their own, a busybox image, device nodes; all removed at the end.

use crate::machine::{docker, run};
use berth::engine::{BindMount, ContainerSpec, DeviceNode, Engine};
use berth::model::{Capability, Size};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use std::collections::BTreeMap;
use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A major that no driver uses, and no other suite: those of real cards and of the simulated node differ.
pub const MAJOR: u32 = 237;
static NEXT: AtomicU32 = AtomicU32::new(0);

pub fn socket() -> PathBuf {
    let socket = std::env::var_os("BERTH_TEST_DOCKER").map_or("/var/run/docker.sock".into(), PathBuf::from);
    assert!(socket.exists(), "no Docker Engine at {}: set BERTH_TEST_DOCKER", socket.display());
    socket
}

/// A test's own corner of the machine.
pub struct Rig {
    pub engine: Engine,
    pub prefix: String,
    pub dir: tempfile::TempDir,
}

impl Rig {
    pub async fn new() -> Self {
        let engine = Engine::connect(&socket()).await.unwrap();
        let prefix = format!("berth-t{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let rig = Self { engine, prefix, dir: tempfile::tempdir().unwrap() };
        // A network of its own: others may be at work on the default one.
        rig.docker(&["network", "create", &rig.network()]);
        rig
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn name(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    pub fn network(&self) -> String {
        format!("{}-net", self.prefix)
    }

    /// `docker run -d`, or another command, of the busybox image under this name; returns the id.
    pub fn run(&self, verb: &[&str], name: &str, options: &[&str]) -> Output {
        let (name, network, tag) = (self.name(name), self.network(), format!("{}:base", self.prefix));
        let mut args = verb.to_vec();
        args.extend(["--name", &name, "--network", &network]);
        args.extend(options);
        args.extend([tag.as_str(), "/bin/busybox", "sleep", "600"]);
        self.try_docker(&args)
    }

    pub fn start(&self, name: &str, options: &[&str]) -> String {
        let output = self.run(&["run", "-d"], name, options);
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// A tar of a root file system: busybox, an account, and a time zone behind a link, as images have it.
    pub fn rootfs_tar(&self) -> PathBuf {
        let root = self.path("rootfs");
        for dir in ["bin", "etc", "usr/share/zoneinfo", "home/ma-user", "tmp"] {
            std::fs::create_dir_all(root.join(dir)).unwrap();
        }
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
        std::fs::copy(busybox.expect("busybox-static is installed"), root.join("bin/busybox")).unwrap();
        std::fs::write(root.join("usr/share/zoneinfo/UTC"), "TZif").unwrap();
        std::os::unix::fs::symlink("/usr/share/zoneinfo/UTC", root.join("etc/localtime")).unwrap();
        // Layers of their own, so that no other test's has been pulled already.
        std::fs::write(root.join("etc/rig"), &self.prefix).unwrap();
        let tar = self.path("rootfs.tar");
        run("tar", &["-C", root.to_str().unwrap(), "-cf", tar.to_str().unwrap(), "."]);
        tar
    }

    /// The busybox image under a name of this rig's; returns its id.
    pub async fn image(&self) -> String {
        let tar = File::open(self.rootfs_tar()).unwrap();
        self.engine.import_rootfs(tar, &format!("{}:base", self.prefix), |_| {}).await.unwrap().id
    }

    /// `davinciN` in a directory of this rig's.
    pub fn node(&self, minor: u32) -> PathBuf {
        let path = self.path(&format!("davinci{minor}"));
        let mode = Mode::from_bits_truncate(0o660);
        mknod(&path, SFlag::S_IFCHR, mode, makedev(u64::from(MAJOR), u64::from(minor)))
            .expect("mknod needs root");
        path
    }

    /// A berth with one card, its storage, a read-only mount and one over a link; busybox runs `script` in it.
    pub fn spec(&self, image_id: &str, card: u32, script: &str) -> ContainerSpec {
        let storage = self.path("storage");
        std::fs::create_dir_all(&storage).unwrap();
        let zone = self.path("zone");
        std::fs::write(&zone, "TZif2").unwrap();
        let mount =
            |source: PathBuf, target: &str, read_only| BindMount { source, target: target.into(), read_only };
        ContainerSpec {
            name: self.name("berth"),
            image_id: image_id.into(),
            hostname: "train".into(),
            labels: BTreeMap::from([("berth.instance".into(), self.prefix.clone())]),
            env: vec![("BERTH_CARDS".into(), card.to_string())],
            devices: vec![DeviceNode {
                host: self.node(card),
                container: format!("/dev/davinci{card}").into(),
            }],
            mounts: vec![
                mount(storage, "/home/ma-user/work", false),
                mount(zone, "/etc/localtime", true),
                mount(self.dir.path().to_path_buf(), "/opt/shared", true),
            ],
            listen: SocketAddr::from(([127, 0, 0, 1], free_port())),
            memory: Some(Size::mib(64)),
            cpus: Some(0.5),
            cpuset: Some("0".into()),
            // So that a node can be made, and only its opening is refused.
            capabilities: vec![Capability::Mknod],
            shm_size: Size::mib(16),
            pids_limit: 64,
            nofile: 2048,
            groups: vec![1000],
            network: self.network(),
            no_new_privileges: true,
            command: ["/bin/busybox", "sh", "-c", script].map(str::to_owned).to_vec(),
            stop_after: Duration::from_secs(1),
        }
    }

    /// The docker command line, as somebody else on the node uses it.
    pub fn docker(&self, args: &[&str]) -> String {
        let output = self.try_docker(args);
        assert!(output.status.success(), "docker {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    pub fn try_docker(&self, args: &[&str]) -> Output {
        docker_with(&self.path("docker-config"), args)
    }

    /// For a privileged container; with the runtime that scripts/test gives its engine where root has not every
    /// capability and plain runc would refuse. It holds every agent's cards: such tests run `_alone`.
    pub fn privileged(&self) -> Vec<&'static str> {
        let runtimes = self.docker(&["info", "--format", "{{json .Runtimes}}"]);
        let rig: &[&str] = if runtimes.contains("\"rig\"") { &["--runtime", "rig"] } else { &[] };
        [&["--privileged"], rig].concat()
    }

    /// Runs a busybox script in a container and returns its two outputs together.
    pub fn exec(&self, container: &str, script: &str) -> String {
        let output = self.try_docker(&["exec", container, "/bin/busybox", "sh", "-c", script]);
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let ours = |args: &[&str]| {
            let listed = self.try_docker(args).stdout;
            let text = String::from_utf8_lossy(&listed).into_owned();
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        };
        let prefix = format!("{}-", self.prefix);
        let mut containers = ours(&["ps", "-aq", "--filter", &format!("name={prefix}")]);
        containers.extend(ours(&["ps", "-aq", "--filter", &format!("label=berth.probe={}", self.prefix)]));
        for id in containers {
            self.try_docker(&["rm", "-fv", &id]);
        }
        self.try_docker(&["network", "rm", &self.network()]);
        let images = ours(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
        for image in images.iter().filter(|image| image.contains(&self.prefix)) {
            self.try_docker(&["rmi", "-f", image]);
        }
    }
}

pub fn docker_with(config: &Path, args: &[&str]) -> Output {
    docker(&socket(), config, args)
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
