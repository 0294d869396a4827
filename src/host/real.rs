//! The real machine, optionally seen under another root directory.

use super::{Cmd, Host, Output, RunError};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

const READ_LIMIT: u64 = 16 << 20;
/// Fixed search path: the caller's `PATH` is not trusted, the agent is root.
const SEARCH: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// `root` prefixes what is read under `/sys`, `/proc`, `/etc` and so on: a fixture directory *is* a host.
#[derive(Debug, Clone)]
pub struct RealHost {
    root: PathBuf,
}

impl Default for RealHost {
    fn default() -> Self {
        Self::new("/")
    }
}

impl RealHost {
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    fn at(&self, path: &Path) -> PathBuf {
        if self.root == Path::new("/") {
            return path.to_path_buf();
        }
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    fn find(&self, cmd: &Cmd) -> Result<PathBuf, RunError> {
        let program = cmd.tool.program();
        let found = if program.is_absolute() {
            Some(self.at(&program)).filter(|path| path.exists())
        } else {
            // The programs of another root are its own too: this machine's say nothing about it.
            SEARCH.iter().map(|dir| self.at(&Path::new(dir).join(&program))).find(|path| path.exists())
        };
        found.ok_or_else(|| RunError::Missing { program: program.display().to_string() })
    }
}

impl Host for RealHost {
    fn run(&self, cmd: &Cmd) -> Result<Output, RunError> {
        let program = self.find(cmd)?;
        let command = cmd.to_string();
        let mut child = Command::new(&program)
            .args(&cmd.args)
            .env_clear()
            .env("LC_ALL", "C")
            .env("PATH", SEARCH.join(":"))
            .envs(cmd.env.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|source| RunError::NotStarted { command: command.clone(), source })?;
        let output = wait(&mut child, cmd, &command)?;
        tracing::trace!(command, status = output.status, "ran");
        if cmd.allows(output.status) {
            Ok(output)
        } else {
            Err(RunError::Failed { command, status: output.status, stderr: output.stderr })
        }
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = fs::File::open(self.at(path))?;
        let mut content = Vec::new();
        let read = file.take(READ_LIMIT + 1).read_to_end(&mut content)?;
        if read as u64 > READ_LIMIT {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 16 MiB"));
        }
        Ok(content)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let mut names: Vec<PathBuf> = fs::read_dir(self.at(dir))?
            .map(|entry| entry.map(|entry| dir.join(entry.file_name())))
            .collect::<io::Result<_>>()?;
        names.sort();
        Ok(names)
    }

    fn exists(&self, path: &Path) -> bool {
        self.at(path).exists()
    }

    fn write_atomic(&self, path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
        let path = self.at(path);
        let dir = path.parent().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let mut temporary = tempfile::Builder::new()
            .prefix(".berth-")
            .permissions(fs::Permissions::from_mode(0o600))
            .tempfile_in(dir)?;
        temporary.write_all(content)?;
        temporary.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
        temporary.as_file().sync_all()?;
        temporary.persist(&path)?;
        fs::OpenOptions::new().read(true).custom_flags(nix::libc::O_DIRECTORY).open(dir)?.sync_all()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let path = self.at(path);
        let removed = match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_dir() => fs::remove_dir_all(&path),
            Ok(_) => fs::remove_file(&path),
            Err(error) => Err(error),
        };
        match removed {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}

/// What a program prints, as far as it has come.
type Text = Arc<Mutex<Vec<u8>>>;

/// How long a stream is read on after its program has ended: a daemon that was left behind may keep it open.
const AFTER_END: Duration = Duration::from_secs(2);

/// Reads on a thread of its own; sends when the stream has ended.
fn collect(mut stream: Box<dyn Read + Send>, ended: mpsc::Sender<()>) -> Text {
    let text = Text::default();
    let shared = Arc::clone(&text);
    thread::spawn(move || {
        let mut part = vec![0; 64 << 10];
        let mut left = usize::try_from(READ_LIMIT).unwrap_or(usize::MAX);
        // A stream that breaks off keeps what had come; the exit status tells the rest.
        loop {
            let count = match stream.read(&mut part) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Ok(0) | Err(_) => break,
                Ok(count) => count.min(left),
            };
            left -= count;
            let mut text = shared.lock().unwrap_or_else(PoisonError::into_inner);
            text.extend_from_slice(part.get(..count).unwrap_or_default());
            if left == 0 {
                break;
            }
        }
        let _ = ended.send(());
    });
    text
}

fn take(text: &Text) -> String {
    String::from_utf8_lossy(&text.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
}

/// Collects both streams on threads and waits until the deadline; then the whole process group is killed.
fn wait(child: &mut Child, cmd: &Cmd, command: &str) -> Result<Output, RunError> {
    let deadline = Instant::now() + cmd.timeout;
    let (sender, receiver) = mpsc::channel();
    let streams = [
        child.stdout.take().map(|stream| Box::new(stream) as Box<dyn Read + Send>),
        child.stderr.take().map(|stream| Box::new(stream) as Box<dyn Read + Send>),
    ];
    let [stdout, stderr] =
        streams.map(|stream| stream.map_or_else(Text::default, |stream| collect(stream, sender.clone())));
    drop(sender);
    let mut open = 2;
    let mut read_until = deadline;
    let mut status = None;
    while open > 0 || status.is_none() {
        if status.is_none() {
            status = child
                .try_wait()
                .map_err(|source| RunError::NotStarted { command: command.to_owned(), source })?;
            if status.is_some() {
                read_until = deadline.min(Instant::now() + AFTER_END);
            }
        }
        let now = Instant::now();
        if now >= read_until {
            if status.is_some() {
                break;
            }
            return Err(kill(child, cmd, command));
        }
        let pause = if open == 0 { Duration::from_millis(2) } else { Duration::from_millis(20) };
        match receiver.recv_timeout(pause.min(read_until - now)) {
            Ok(()) => open -= 1,
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                open = 0;
                thread::sleep(Duration::from_millis(2));
            }
        }
    }
    let status =
        status.map_or(-1, |status| status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)));
    Ok(Output { status, stdout: take(&stdout), stderr: take(&stderr) })
}

fn kill(child: &mut Child, cmd: &Cmd, command: &str) -> RunError {
    if let Ok(pid) = i32::try_from(child.id()) {
        // It may have just ended by itself; then there is nothing to kill.
        let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
    }
    // A process stuck in the driver (state D) never dies: reap it on a thread of its own.
    let pid = child.id();
    if let Ok(None) = child.try_wait()
        && let Ok(raw) = i32::try_from(pid)
    {
        thread::spawn(move || {
            let _ = nix::sys::wait::waitpid(Pid::from_raw(raw), None);
        });
    }
    RunError::TimedOut { command: command.to_owned(), timeout: cmd.timeout }
}

#[cfg(test)]
mod tests {
    use super::super::Tool;
    use super::*;

    fn script(dir: &Path, body: &str) -> Tool {
        let path = dir.join("tool");
        fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Tool::NpuSmi(path)
    }

    #[test]
    fn output_and_status_are_kept_apart() {
        let dir = tempfile::tempdir().unwrap();
        let tool = script(dir.path(), "echo out; echo err >&2; exit 172");
        let output = RealHost::default().run(&tool.cmd().allow_any_exit()).unwrap();
        assert_eq!((output.status, &*output.stdout, &*output.stderr), (172, "out\n", "err\n"));
        let error = RealHost::default().run(&tool.cmd()).unwrap_err();
        assert!(error.to_string().ends_with("ended with status 172: err"), "{error}");
    }

    #[test]
    fn a_tool_that_hangs_is_killed_with_its_children() {
        let dir = tempfile::tempdir().unwrap();
        let tool = script(dir.path(), "sleep 60 & wait");
        let started = Instant::now();
        let error = RealHost::default().run(&tool.cmd().timeout(Duration::from_millis(200))).unwrap_err();
        assert!(matches!(error, RunError::TimedOut { .. }), "{error}");
        assert!(started.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_root_prefixes_paths() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("etc")).unwrap();
        let host = RealHost::new(dir.path());
        host.write_atomic(Path::new("/etc/x"), b"1", 0o640).unwrap();
        assert_eq!(fs::read(dir.path().join("etc/x")).unwrap(), b"1");
        assert_eq!(host.list(Path::new("/etc")).unwrap(), [PathBuf::from("/etc/x")]);
        host.remove(Path::new("/etc/x")).unwrap();
        host.remove(Path::new("/etc/x")).unwrap();
        assert!(!host.exists(Path::new("/etc/x")));
    }
}
