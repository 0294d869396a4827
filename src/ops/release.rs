//! Releases a berth: removes its container and frees its cards and port. Its owner's files stay.

use super::{Caller, Node, ProgressSender};
use crate::error::{Fault, class_of, flatten};
use crate::model::{Berth, BerthState, card};
use anyhow::Result;
use std::time::Duration;

/// How many seconds sessions have between SIGTERM and SIGKILL.
pub(super) const STOP_SECONDS: u32 = 10;

/// How long to wait for another task that works on the berth. The reconciler marks each berth for a moment at each
/// change in Docker, and no user should notice that.
pub(super) const BUSY_LIMIT: Duration = Duration::from_secs(20);

impl Node {
    pub async fn release(&self, caller: &Caller, name: &str, progress: &ProgressSender) -> Result<Berth> {
        let berth = self.find_berth(caller, name).await?;
        let _busy = self.busy.enter_within(berth.id, BUSY_LIMIT).await.ok_or_else(|| {
            Fault::busy(format!("{name} is being changed by another request")).help("try again in a moment")
        })?;
        let label = format!("{}/{}", berth.owner, berth.name);
        let begun = self.about(&berth, "berth.releasing", &caller.name, format!("{label} is released"));
        let id = berth.id;
        // Another release may have ended it between looking it up and entering.
        let now = self.ledger(move |ledger| ledger.berth_by_id(id)).await?;
        if now.state.has_ended() {
            return Ok(now);
        }
        // It may be written down already, and wait for Docker.
        if now.state != BerthState::Releasing {
            self.ledger(move |ledger| ledger.begin_release(id, &begun)).await?;
        }
        progress.step(format!("stopping {label}"));
        if let Err(error) = self.remove_containers(&berth, true).await {
            // The reconciler goes on with what is written down.
            *self.reconciled.lock().await = false;
            return Err(not_yet(&label, &berth, &error).into());
        }
        let text = format!("{label} is gone, free again: {}", card::named(&berth.cards));
        let ended = self.about(&berth, "berth.released", &caller.name, text);
        let note = format!("released by {}", caller.name);
        self.end(&berth, BerthState::Released, &note, ended).await?;
        self.ledger(move |ledger| ledger.berth_by_id(id)).await
    }
}

/// The fault for a release that is recorded and not done yet. Its exit code says that it is not done.
fn not_yet(label: &str, berth: &Berth, error: &anyhow::Error) -> Fault {
    let (why, cards) = (flatten(error).message, card::named(&berth.cards));
    Fault::new(class_of(error), format!("the release of {label} is written down, but not done yet: {why}"))
        .help(format!(
            "it is done as soon as Docker can, without another word; until then {cards} cannot be given out"
        ))
}
