//! Keeps a berth that was asked back: its owner because they need it although it did nothing, an administrator because
//! they say so.

use super::ration::Act;
use super::{Caller, Node};
use crate::error::Fault;
use crate::life;
use crate::model::notice::Notice;
use crate::model::{Berth, BerthState, Lock, LockRequest, StopReason, text};
use anyhow::Result;
use jiff::SignedDuration;
use std::time::Duration;

/// The longest time for which a berth is locked at once.
const LONGEST_LOCK: Duration = Duration::from_hours(366 * 24);
/// The longest reason, in characters.
const LONGEST_WHY: usize = 200;

impl Node {
    /// Its owner needs it although it did nothing, or a stopped one although the disk runs full. An error where it is
    /// asked back for another reason, or was kept often enough.
    pub async fn keep_berth(&self, caller: &Caller, name: &str) -> Result<Berth> {
        self.ration(caller, Act::Renew)?;
        let (_busy, berth) = self.marked(caller, name).await?;
        let label = berth.label();
        if berth.state == BerthState::Stopped {
            return self.keep_stopped(caller, berth).await;
        }
        if berth.state != BerthState::Live {
            return Err(Fault::refused(format!("{label} is {} and cannot be kept", berth.state)).into());
        }
        match berth.stops_for {
            None => return Ok(berth),
            Some(StopReason::Idle) => {}
            Some(_) => {
                return Err(Fault::refused(format!("{label} is asked back because its lease is over"))
                    .help(format!("berth renew {name}"))
                    .into());
            }
        }
        let id = berth.id;
        let notes = self.ledger(move |ledger| ledger.lease_notes(id)).await?;
        let rules = life::Rules::default();
        if !rules.may_keep(notes.keeps) {
            let most = rules.keeps;
            return Err(Fault::refused(format!(
                "{label} was kept {most} times in this lease already, and somebody waits for its cards"
            ))
            .help("work on its cards keeps it; `berth stop` keeps its container")
            .into());
        }
        let event = self.about(&berth, "berth.kept", &caller.name, format!("{label} is kept: it is needed"));
        let message = self.notice(&berth, &Notice::Kept);
        let kept = self.ledger(move |ledger| ledger.keep(id, &message, &event)).await?;
        self.watch_anew(id);
        self.write_lease_files().await;
        Ok(kept)
    }

    /// It is not asked back for a time, whatever its lease says.
    pub async fn lock_berth(&self, caller: &Caller, name: &str, request: LockRequest) -> Result<Berth> {
        caller.require_admin("locking a berth")?;
        let length = Duration::from_secs(request.seconds);
        if length.is_zero() {
            return Err(Fault::usage("a lock for no time locks nothing").help("--for 2days").into());
        }
        if length > LONGEST_LOCK {
            let longest = humantime::format_duration(LONGEST_LOCK);
            return Err(Fault::usage(format!("the longest lock is {longest}")).into());
        }
        let why: String = request.why.trim().chars().map(text::plain).collect();
        if why.is_empty() || why.chars().count() > LONGEST_WHY {
            return Err(Fault::usage(format!("say why, in 1 to {LONGEST_WHY} characters"))
                .help("--why TEXT")
                .into());
        }
        let until = self.now().wall.checked_add(SignedDuration::try_from(length)?)?;
        let lock = Lock { until, why, by: caller.name.clone() };
        let said = format!("is not asked back for {}: {}", humantime::format_duration(length), lock.why);
        self.set_lock(caller, name, Some(lock), "berth.locked", &said).await
    }

    pub async fn unlock_berth(&self, caller: &Caller, name: &str) -> Result<Berth> {
        caller.require_admin("unlocking a berth")?;
        self.set_lock(caller, name, None, "berth.unlocked", "may be asked back as any other").await
    }

    async fn set_lock(
        &self,
        caller: &Caller,
        name: &str,
        lock: Option<Lock>,
        kind: &'static str,
        said: &str,
    ) -> Result<Berth> {
        let (_busy, berth) = self.marked(caller, name).await?;
        if berth.state.has_ended() {
            return Err(Fault::refused(format!("{} is {}", berth.label(), berth.state)).into());
        }
        let event = self.about(&berth, kind, &caller.name, format!("{} {said}", berth.label()));
        let id = berth.id;
        self.ledger(move |ledger| ledger.set_lock(id, lock.as_ref(), &event)).await
    }
}
