//! What of the machine a test may use: the engine, the images, and ports and device numbers of its own.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// Majors that no driver has: those that the kernel hands out are 234 to 254 and 384 to 511. 300 is the benchmarks'.
const FIRST_MAJOR: u32 = 310;
const SLOTS: u32 = 70;
const FIRST_PORT: u16 = 31_000;
pub const PORTS: u16 = 24;

/// `None` leaves a test out, loudly; in CI nothing may be left out.
pub fn variable(name: &str) -> Option<PathBuf> {
    let value = std::env::var_os(name).map(PathBuf::from);
    if value.is_none() {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{name} is not set in CI");
        eprintln!("SKIPPED: {name} is not set; run scripts/test docker");
    }
    value
}

/// Device numbers and ports that no other test has while this is held, in whatever process it runs.
pub struct Slot {
    number: u32,
    lock: File,
}

impl Slot {
    pub fn take() -> Self {
        let dir = std::env::temp_dir().join("berth-test-slots");
        std::fs::create_dir_all(&dir).unwrap();
        until("a free slot", Duration::from_mins(1), || {
            (0..SLOTS).find_map(|number| {
                let lock = File::options()
                    .create(true)
                    .truncate(false)
                    .write(true)
                    .open(dir.join(number.to_string()))
                    .unwrap();
                let slot = Self { number, lock };
                (slot.lock.try_lock().is_ok() && slot.ports_are_free()).then_some(slot)
            })
        })
    }

    fn ports_are_free(&self) -> bool {
        (self.first_port()..self.first_port() + PORTS)
            .all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok())
    }

    pub fn major(&self) -> u32 {
        FIRST_MAJOR + self.number
    }

    pub fn first_port(&self) -> u16 {
        FIRST_PORT + u16::try_from(self.number).unwrap() * PORTS
    }
}

/// Runs a program that has to succeed; its standard output.
pub fn run(program: &str, args: &[&str]) -> String {
    let output = try_run(Command::new(program).args(args));
    assert!(output.status.success(), "{program} {args:?}: {}", both(&output));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

pub fn try_run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// The docker command line, as somebody else on the node uses it.
pub fn docker(socket: &Path, config: &Path, args: &[&str]) -> Output {
    let host = format!("unix://{}", socket.display());
    try_run(Command::new("docker").args(["-H", &host]).args(args).env("DOCKER_CONFIG", config))
}

pub fn both(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Asks again until the answer is there; a bounded wait on the very condition.
pub fn until<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what} did not come within {limit:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
