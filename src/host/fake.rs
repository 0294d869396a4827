//! A machine made of captured output, for tests. Unknown commands and paths fail and say what to capture.

use super::{Cmd, Host, Output, RunError};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

#[derive(Debug, Clone)]
enum Answer {
    Output(Output),
    Hangs,
    Missing,
}

#[derive(Debug, Default)]
pub struct FakeHost {
    commands: BTreeMap<String, Answer>,
    files: Mutex<BTreeMap<PathBuf, Vec<u8>>>,
}

impl FakeHost {
    /// `command` is the rendered command line, e.g. `lsblk --json`.
    #[must_use]
    pub fn with_output(mut self, command: &str, status: i32, stdout: &str, stderr: &str) -> Self {
        let output = Output { status, stdout: stdout.into(), stderr: stderr.into() };
        self.commands.insert(command.into(), Answer::Output(output));
        self
    }
    #[must_use]
    pub fn with_hang(mut self, command: &str) -> Self {
        self.commands.insert(command.into(), Answer::Hangs);
        self
    }
    #[must_use]
    pub fn with_missing(mut self, command: &str) -> Self {
        self.commands.insert(command.into(), Answer::Missing);
        self
    }
    #[must_use]
    pub fn with_file(self, path: &str, content: &str) -> Self {
        self.files().insert(path.into(), content.as_bytes().to_vec());
        self
    }
    fn files(&self) -> std::sync::MutexGuard<'_, BTreeMap<PathBuf, Vec<u8>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Host for FakeHost {
    fn run(&self, cmd: &Cmd) -> Result<Output, RunError> {
        let command = cmd.to_string();
        match self.commands.get(&command) {
            Some(Answer::Output(output)) if cmd.allows(output.status) => Ok(output.clone()),
            Some(Answer::Output(output)) => {
                Err(RunError::Failed { command, status: output.status, stderr: output.stderr.clone() })
            }
            Some(Answer::Hangs) => Err(RunError::TimedOut { command, timeout: cmd.timeout }),
            Some(Answer::Missing) => {
                Err(RunError::Missing { program: cmd.tool.program().display().to_string() })
            }
            None => Err(RunError::NotStarted {
                source: io::Error::other(format!("no captured output: capture `{command}`")),
                command,
            }),
        }
    }
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let files = self.files();
        if let Some(content) = files.get(path) {
            return Ok(content.clone());
        }
        if files.keys().any(|known| known.starts_with(path)) {
            return Err(io::Error::from(io::ErrorKind::IsADirectory));
        }
        Err(io::Error::new(io::ErrorKind::NotFound, format!("no captured file: capture {}", path.display())))
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let mut found: Vec<PathBuf> = self
            .files()
            .keys()
            .filter_map(|path| path.strip_prefix(dir).ok())
            .filter_map(|rest| rest.components().next())
            .map(|first| dir.join(first))
            .collect();
        found.dedup();
        if found.is_empty() { Err(io::Error::from(io::ErrorKind::NotFound)) } else { Ok(found) }
    }
    fn exists(&self, path: &Path) -> bool {
        self.files().keys().any(|known| known.starts_with(path))
    }
    fn write_atomic(&self, path: &Path, content: &[u8], _mode: u32) -> io::Result<()> {
        self.files().insert(path.to_path_buf(), content.to_vec());
        Ok(())
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.files().retain(|known, _| !known.starts_with(path));
        Ok(())
    }
}
