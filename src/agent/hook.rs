//! Runs the hook program of `[notify]` once: as nobody, with one text on its standard input, for a bounded time.

use crate::host::trust;
use crate::model::text::clean_to;
use crate::ops::notify::Hook;
use crate::ssh::as_nobody;
use futures_util::FutureExt as _;
use futures_util::future::FusedFuture as _;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::path::Path;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, sink};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// How much of what it writes to standard error is kept.
const SAID: u64 = 1000;
/// How long its last words are waited for.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// All that it has of an environment.
const ENVIRONMENT: [(&str, &str); 2] =
    [("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"), ("LANG", "C.UTF-8")];

/// `Err` says how it failed. After `limit` it is killed, with what it started.
pub(super) async fn run(hook: &Hook, text: &[u8], limit: Duration) -> Result<(), String> {
    let program = hook.program.clone();
    // Each time: what an administrator forgot to protect today, somebody else could change tomorrow.
    let trusted = tokio::task::spawn_blocking(move || trust::check_program(Path::new("/"), &program)).await;
    trusted.map_err(|error| error.to_string())??;
    serve_command(as_nobody(hook.uid, &hook.program), text, limit).await
}

async fn serve_command(mut command: Command, text: &[u8], limit: Duration) -> Result<(), String> {
    command.envs(ENVIRONMENT).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("it could not be started: {error}"))?;
    let group = child.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw);
    match timeout(limit, serve(&mut child, text)).await {
        Ok((Ok(status), _)) if status.success() => Ok(()),
        Ok((Ok(status), said)) => Err(failure(status, &said)),
        Ok((Err(error), _)) => Err(format!("it could not be waited for: {error}")),
        Err(_) => {
            // It began a session of its own: all that it started ends with it, unless that did so too.
            let _ = group.map(|group| killpg(group, Signal::SIGKILL));
            let _ = child.kill().await;
            Err(format!("it did not end within {} and was killed", humantime::format_duration(limit)))
        }
    }
}

/// Hands the text over and waits for its end; what it wrote to standard error comes back.
async fn serve(child: &mut Child, text: &[u8]) -> (std::io::Result<ExitStatus>, Vec<u8>) {
    let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
    let mut said = Vec::new();
    let status = {
        let reading = async {
            let Some(mut stderr) = stderr else { return };
            // What breaks off has ended.
            let _ = (&mut stderr).take(SAID).read_to_end(&mut said).await;
            let _ = tokio::io::copy(&mut stderr, &mut sink()).await;
        };
        let mut reading = pin!(reading.fuse());
        let mut ending = pin!(async {
            if let Some(mut stdin) = stdin {
                // A program that reads nothing may be content all the same.
                let _ = stdin.write_all(text).await;
            }
            child.wait().await
        });
        let status = tokio::select! {
            status = &mut ending => status,
            () = &mut reading => ending.await,
        };
        // What it left behind may keep the stream open for ever.
        if !reading.is_terminated() {
            let _ = timeout(LAST_WORDS, reading).await;
        }
        status
    };
    (status, said)
}

fn failure(status: ExitStatus, said: &[u8]) -> String {
    let said = String::from_utf8_lossy(said);
    let last = said.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
    let words = if last.is_empty() { String::new() } else { format!(": {}", clean_to(last, 300)) };
    format!("it ended with {status}{words}")
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "starts scripts that stand for an administrator's")]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(30);

    /// As the real one: in a session of its own.
    async fn run(script: &str, text: &[u8], limit: Duration) -> Result<(), String> {
        let mut command = Command::new("setsid");
        command.args(["sh", "-c", script]).env_clear();
        serve_command(command, text, limit).await
    }

    #[tokio::test]
    async fn the_text_comes_whole_and_what_fails_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("got").display().to_string();
        let text = "{\"a\": \"字\"}".repeat(20_000);
        run(&format!("cat > {path}"), text.as_bytes(), SOON).await.unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        run("exit 0", text.as_bytes(), SOON).await.unwrap();
        let why = run("echo first >&2; echo no such host >&2; exit 6", b"", SOON).await.unwrap_err();
        assert_eq!(why, "it ended with exit status: 6: no such host");
        let why = run("yes wrong | head -c 1000000 >&2; exit 1", b"", SOON).await.unwrap_err();
        assert!(why.starts_with("it ended with exit status: 1: wr") && why.len() < 400, "{why}");
        // What it leaves behind holds nobody up.
        run("sleep 60 & exit 0", b"", SOON).await.unwrap();
    }

    #[tokio::test]
    async fn what_hangs_is_killed_with_what_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid").display().to_string();
        let limit = Duration::from_millis(700);
        let why = run(&format!("sleep 60 & echo $! > {path}; wait"), b"", limit).await.unwrap_err();
        assert_eq!(why, "it did not end within 700ms and was killed");
        let pid = std::fs::read_to_string(&path).unwrap();
        let is_there = || match std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())) {
            Ok(stat) => !stat.contains(") Z "),
            Err(_) => false,
        };
        for _ in 0..200 {
            if !is_there() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{pid} goes on");
    }
}
