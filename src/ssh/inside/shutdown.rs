//! Shutdown of the container: its sessions are told, and get a little time to save their work.
//!
//! It must only signal processes of sessions that this server started.

use super::berth::InsideBerth;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Less than the ten seconds after which the agent has the container killed.
const PATIENCE: Duration = Duration::from_secs(8);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The leaders of all sessions ever started. Kept when a leader ends: what it left in the background still bears
/// its number. Process numbers bound the set.
#[derive(Default)]
pub(in crate::ssh) struct Sessions(Mutex<BTreeSet<i32>>);

impl Sessions {
    pub(in crate::ssh) fn add(&self, leader: i32) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(leader);
    }

    /// Asks the programs of all sessions to end, and no more.
    fn terminate(&self) {
        for group in self.groups() {
            let _ = killpg(Pid::from_raw(group), Signal::SIGTERM);
        }
    }

    /// Hangs all sessions up and comes back when they have ended, or when their time is over.
    pub(in crate::ssh) async fn end(&self) {
        for group in self.groups() {
            for signal in [Signal::SIGHUP, Signal::SIGTERM] {
                // It may just have ended; then there is nobody to tell.
                let _ = killpg(Pid::from_raw(group), signal);
            }
        }
        let ended = async {
            while !self.groups().is_empty() {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        if tokio::time::timeout(PATIENCE, ended).await.is_err() {
            tracing::warn!("sessions still run after {} s: leaving them", PATIENCE.as_secs());
        }
    }

    /// The process groups of all sessions: an interactive shell gives each job its own.
    fn groups(&self) -> BTreeSet<i32> {
        let leaders = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if leaders.is_empty() {
            return leaders;
        }
        let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        processes
            .filter(|entry| entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit))
            .filter_map(|entry| std::fs::read(entry.path().join("stat")).ok())
            .filter_map(|stat| group_and_session(&String::from_utf8_lossy(&stat)))
            .filter(|(_, session)| leaders.contains(session))
            .map(|(group, _)| group)
            .collect()
    }
}

/// Passes on what the agent tells by a signal: an unattended berth ends soon, and its programs may write a checkpoint.
pub(super) async fn warn(mut told: tokio::signal::unix::Signal, berth: std::sync::Arc<InsideBerth>) {
    while told.recv().await.is_some() {
        tracing::info!("its lease ends soon: its programs get SIGTERM");
        berth.sessions.terminate();
    }
}

/// From a line of `/proc/PID/stat`; nothing of a process that has ended and was not waited for.
fn group_and_session(stat: &str) -> Option<(i32, i32)> {
    // The name before it is in brackets and may hold anything, also brackets.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    fields.next().filter(|state| !matches!(*state, "Z" | "X"))?;
    let group = fields.nth(1)?.parse().ok().filter(|group| *group > 1)?;
    Some((group, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_read_whatever_a_process_calls_itself() {
        assert_eq!(group_and_session("12 (sh) S 1 12 10 0 -1 4194560"), Some((12, 10)));
        assert_eq!(group_and_session("12 () S 1 7 7 (x) R 1 12 10 0"), Some((12, 10)));
        for line in ["12 (sh) Z 1 12 10 0", "12 (sh) S 1 0 0 0", "12 (sh) S 1", "", "12 (sh"] {
            assert_eq!(group_and_session(line), None, "{line}");
        }
    }
}
