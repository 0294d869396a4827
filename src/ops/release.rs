//! Releases a berth: removes its container and frees its cards and port. Its owner's files stay.

use super::{Caller, Node, ProgressSender};
use crate::error::{Fault, class_of, flatten};
use crate::host::crash;
use crate::model::{Berth, BerthState, card};
use anyhow::Result;

/// How many seconds sessions have between SIGTERM and SIGKILL.
pub(super) const STOP_SECONDS: u32 = 10;

impl Node {
    pub async fn release(&self, caller: &Caller, name: &str, progress: &ProgressSender) -> Result<Berth> {
        let (_busy, berth) = self.marked(caller, name).await?;
        self.release_marked(berth, caller, None, progress).await
    }

    /// Releases a berth that the caller has marked busy, and read again since. `why` is said where nobody asked for it.
    pub(super) async fn release_marked(
        &self,
        berth: Berth,
        caller: &Caller,
        why: Option<&str>,
        progress: &ProgressSender,
    ) -> Result<Berth> {
        if berth.state.has_ended() {
            return Ok(berth);
        }
        let (id, label) = (berth.id, berth.label());
        let because = why.map(|why| format!(": {why}")).unwrap_or_default();
        let text = format!("{label} is released{because}");
        let begun = self.about(&berth, "berth.releasing", &caller.name, text);
        // It may be written down already, and wait for Docker.
        if berth.state != BerthState::Releasing {
            self.ledger(move |ledger| ledger.begin_release(id, &begun)).await?;
        }
        crash::point("release.written");
        progress.step(format!("stopping {label}"));
        if let Err(error) = self.remove_containers(&berth, true).await {
            self.reconcile_again().await;
            return Err(not_yet("release", &berth, &error).into());
        }
        crash::point("release.removed");
        let text = format!("{label} is gone{}{because}", freed(&berth));
        let ended = self.about(&berth, "berth.released", &caller.name, text);
        let note = format!("released by {}{because}", caller.name);
        self.end(&berth, BerthState::Released, &note, ended).await?;
        self.ledger_berth(id).await
    }
}

/// What became free with it, as the end of a sentence.
pub(super) fn freed(berth: &Berth) -> String {
    if berth.cards.is_empty() {
        String::new()
    } else {
        format!(", free again: {}", card::named(&berth.cards))
    }
}

/// The fault for a stop or a release that is recorded and not done yet. Its exit code says that it is not done.
pub(super) fn not_yet(what: &str, berth: &Berth, error: &anyhow::Error) -> Fault {
    let (why, cards) = (flatten(error).message, card::named(&berth.cards));
    let text = format!("the {what} of {} is written down, but not done yet: {why}", berth.label());
    let until = if berth.cards.is_empty() {
        String::new()
    } else {
        format!("; until then {cards} cannot be given out")
    };
    Fault::new(class_of(error), text)
        .help(format!("it is done as soon as Docker can, without another word{until}"))
}
