//! What an environment script, such as CANN's `set_env.sh`, sets. It is run once as the session user, and the
//! result is kept.
//!
//! The script is hostile. It runs without privileges and without a terminal, and its time and output are limited.
//! When it fails, that is a warning: users can log in all the same, and a later session tries again.

use super::berth::home_of;
use crate::ssh::channel::environment::{Environment, read_block};
use crate::ssh::user::account::Account;
use crate::ssh::user::become_user::{self, Become};
use crate::ssh::user::image;
use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt as _;
use tokio::sync::Mutex;

const TIMEOUT: Duration = Duration::from_secs(10);
const LIMIT: u64 = 1 << 20;
const SOURCE: &str = r#". "$1" >/dev/null 2>&1; exec "$2" inside print-env"#;

/// How long sessions do without scripts that failed, before one of them waits for them again.
const TRY_AGAIN: Duration = Duration::from_mins(1);

/// What came of the last scripts that were run.
#[derive(Debug, Default)]
pub(in crate::ssh) struct ScriptCache(Mutex<Option<Run>>);

#[derive(Debug)]
struct Run {
    account: Account,
    scripts: Vec<PathBuf>,
    at: Instant,
    environment: Environment,
    /// Whether one of them failed: what the others set counts all the same.
    failed: bool,
}

impl Run {
    /// Whether it still says what these scripts do for this account.
    fn holds(&self, account: &Account, scripts: &[PathBuf], now: Instant) -> bool {
        let is_fresh = !self.failed || now.duration_since(self.at) < TRY_AGAIN;
        is_fresh && (&self.account, self.scripts.as_slice()) == (account, scripts)
    }
}

impl ScriptCache {
    /// `base` with what these scripts make of it, one after the other. Several sessions at once wait for one run.
    pub(in crate::ssh) async fn apply(
        &self,
        scripts: Vec<PathBuf>,
        account: &Account,
        base: Environment,
    ) -> Environment {
        if scripts.is_empty() {
            return base;
        }
        let mut cached = self.0.lock().await;
        let known = cached.as_ref().filter(|run| run.holds(account, &scripts, Instant::now()));
        if let Some(known) = known {
            return known.environment.clone();
        }
        let (mut environment, mut failed) = (base, false);
        for script in &scripts {
            match run(script, account, &environment).await {
                Ok(changed) => environment = changed,
                Err(error) => {
                    failed = true;
                    tracing::warn!(script = %script.display(), "sessions do without this script: {error:#}");
                }
            }
        }
        let (account, at) = (account.clone(), Instant::now());
        *cached = Some(Run { account, scripts, at, environment: environment.clone(), failed });
        environment
    }
}

async fn run(script: &Path, account: &Account, base: &Environment) -> Result<Environment> {
    let shell = ["/bin/bash", "/usr/bin/bash", "/bin/sh"]
        .into_iter()
        .map(Path::new)
        .find(|shell| image::is_program(shell))
        .context("the image has no shell")?;
    let arguments =
        ["-c".into(), SOURCE.into(), "sh".into(), script.into(), become_user::own_path().into_os_string()];
    let mut child = Become::new(account, &home_of(account), shell)
        .arguments(arguments)
        .command()
        .envs(base)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("starting the shell")?;
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
    let Some(stdout) = child.stdout.take() else { bail!("the script has no output") };
    let answer = async {
        let mut block = Vec::new();
        stdout.take(LIMIT + 1).read_to_end(&mut block).await?;
        Ok::<_, std::io::Error>((block, child.wait().await?))
    };
    let answer = tokio::time::timeout(TIMEOUT, answer).await;
    if !matches!(answer, Ok(Ok(_)))
        && let Some(pid) = pid
    {
        // Nobody waited for it yet, so the number is still its own.
        let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        let _ = child.wait().await;
    }
    let (block, status) = answer.context("it took longer than 10 seconds")??;
    let environment = read_block(&block);
    if !status.success() || block.len() as u64 > LIMIT || environment.is_empty() {
        bail!("its shell ended with {status} and {} bytes of environment", block.len());
    }
    Ok(environment)
}

/// This process' environment for [`read_block`]: `berth inside print-env`.
pub fn environment_as_bytes() -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in std::env::vars_os() {
        block.extend_from_slice(name.as_bytes());
        block.push(b'=');
        block.extend_from_slice(value.as_bytes());
        block.push(0);
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_forgotten_after_a_while_and_a_success_is_not() {
        let account =
            Account { name: "a".into(), uid: 1, gid: 1, groups: Vec::new(), home: None, shell: None };
        let (scripts, now) = ([PathBuf::from("/set_env.sh")], Instant::now());
        let mut run = Run {
            account: account.clone(),
            scripts: scripts.to_vec(),
            at: now,
            environment: Environment::new(),
            failed: true,
        };
        assert!(run.holds(&account, &scripts, now + TRY_AGAIN / 2));
        assert!(!run.holds(&account, &scripts, now + TRY_AGAIN));
        run.failed = false;
        assert!(run.holds(&account, &scripts, now + 100 * TRY_AGAIN));
        assert!(!run.holds(&account, &[], now));
        let other = Account { uid: 2, ..account };
        assert!(!run.holds(&other, &scripts, now));
    }
}
