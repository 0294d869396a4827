//! Keeps leases: counts time, warns owners, and asks for cards back that another request waits for. `life` decides
//! what to do; this module records and does it.

use super::lease_time::{Passed, passed};
use super::situation::reason_of;
use super::{Caller, Node, ProgressSender, queue};
use crate::error::Fault;
use crate::host::sysctl;
use crate::ledger::{Counted, Ledger, Shift};
use crate::life::time::between;
use crate::life::{self, Action, Renewal, Situation, Why};
use crate::model::notice::{Notice, Waits};
use crate::model::{Berth, BerthState, card};
use anyhow::Result;
use jiff::{SignedDuration, Timestamp};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// How long no lease ends after the clock was set: whoever set it may set it back.
const HELD: Duration = Duration::from_mins(30);
/// How long a stopped berth is kept at least after the clock was set.
const KEPT_AFTER_JUMP: SignedDuration = SignedDuration::from_hours(24);
/// How often the ledger is told up to when time was counted.
const WRITE_EVERY: SignedDuration = SignedDuration::from_secs(60);

/// The server inside sends SIGTERM to the programs of its sessions when it gets this.
const TERMINATE_PROGRAMS: &str = "SIGUSR1";

/// What is remembered between looks.
#[derive(Default)]
pub struct Count {
    last: Option<Counted>,
    /// When the ledger was last told.
    written: Option<Timestamp>,
}

impl Node {
    /// One look at all leases.
    pub async fn keep_leases(self: &Arc<Self>, count: &mut Count) -> Result<()> {
        self.count_time(count).await?;
        self.release_old_stopped().await?;
        self.release_sooner().await?;
        self.pass_on_unused().await?;
        let is_wanted = self.is_anybody_waiting().await?;
        let survey = if is_wanted && self.has_engine().await {
            let looked = self.survey(self.settings().config.tools.npu_smi_max_age).await;
            // Without a look nobody is asked back, and the rest goes on.
            looked
                .inspect_err(|error| {
                    tracing::warn!(error = format!("{error:#}"), "could not look at the cards");
                })
                .ok()
        } else {
            None
        };
        let (situation, actions) = {
            let _deciding = self.deciding.lock().await;
            let situation = self.situation(survey.as_ref()).await?;
            let actions = life::decide(&situation);
            (situation, actions)
        };
        for action in actions {
            self.act(action, &situation).await?;
        }
        self.write_lease_files().await;
        Ok(())
    }

    /// Whether the clock was set a moment ago.
    pub(super) fn ends_are_held(&self) -> bool {
        let until = self.ends_held.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| self.now().boot < until)
    }

    async fn count_time(&self, count: &mut Count) -> Result<()> {
        let now = self.now();
        let boot_id = sysctl::read(&*self.host(), sysctl::BOOT_ID).unwrap_or_default();
        let was_down = count.last.is_none();
        let last = match count.last.take() {
            Some(last) => Some(last),
            None => self.ledger(Ledger::counted).await?,
        };
        let passed = last.map(|last| passed(&last, was_down, now, &boot_id)).unwrap_or_default();
        if passed.jump.is_some() {
            *self.ends_held.lock().unwrap_or_else(PoisonError::into_inner) = Some(now.boot + HELD);
        }
        let counted = Counted { wall: now.wall, boot: now.boot.0, boot_id };
        let is_due =
            count.written.is_none_or(|written| now.wall.duration_since(written).abs() >= WRITE_EVERY);
        let shift = Shift {
            leases: passed.shift,
            kept: passed.kept,
            // Who stopped a berth on the clock that is set by now, before this was seen, has it for a while, too.
            kept_at_least: passed
                .jump
                .map(|_| now.wall.checked_add(KEPT_AFTER_JUMP).unwrap_or(Timestamp::MAX)),
        };
        if is_due || !shift.is_zero() {
            let event = said(&passed).map(|text| self.event("leases.moved", &Caller::agent().name, text));
            let written = counted.clone();
            self.ledger(move |ledger| ledger.count(&written, shift, event.as_ref())).await?;
            count.written = Some(now.wall);
        }
        count.last = Some(counted);
        Ok(())
    }

    async fn act(self: &Arc<Self>, action: Action, situation: &Situation) -> Result<()> {
        match action {
            // Whoever waits looks for themselves: theirs is the connection, and the image.
            Action::Start { .. } => self.tell_freed(),
            Action::Overtaken { .. } => {}
            Action::Warn { berth, left, terminate } => {
                self.warn_of_end(berth, left, terminate, situation).await?;
            }
            Action::Announce { berth, stops_at, why } => {
                self.ask_back(berth, stops_at, why, situation).await?;
            }
            Action::Withdraw { berth } => self.ask_no_more(berth, situation).await?,
            Action::Stop { berth, why } => {
                let node = self.clone();
                // It takes as long as its programs take to end, and nobody else's lease waits for that.
                tokio::spawn(async move { node.stop_as_announced(berth, why).await });
            }
        }
        Ok(())
    }

    async fn warn_of_end(
        &self,
        id: i64,
        left: Duration,
        terminate: bool,
        situation: &Situation,
    ) -> Result<()> {
        let Some(berth) = self.live(id).await? else { return Ok(()) };
        let text =
            format!("the lease of {} ends in {}", berth.label(), humantime::format_duration(rounded(left)));
        let event = self.about(&berth, "berth.lease-ending", &Caller::agent().name, text);
        let until = berth.until.unwrap_or(self.now().wall);
        let waiting = others(situation, &berth).count();
        let message = self.notice(&berth, &Notice::Ending { until, waiting, unattended: berth.unattended });
        self.ledger(move |ledger| ledger.note_warning(id, left, &message, &event)).await?;
        if terminate && let Err(error) = self.tell_programs(&berth).await {
            let (berth, error) = (berth.label(), format!("{error:#}"));
            tracing::warn!(berth, error, "its programs could not be told that it ends soon");
        }
        Ok(())
    }

    /// Sends SIGTERM to the programs of its sessions, which may write a checkpoint. Its server goes on, and so does a
    /// program that ignores the signal.
    async fn tell_programs(&self, berth: &Berth) -> Result<()> {
        let container =
            berth.container_id.clone().ok_or_else(|| Fault::bug("a live berth without a container"))?;
        self.engine().await?.signal(&container, TERMINATE_PROGRAMS).await
    }

    async fn ask_back(&self, id: i64, stops_at: Timestamp, why: Why, situation: &Situation) -> Result<()> {
        let Some(berth) = self.live(id).await? else { return Ok(()) };
        let left = between(self.now().wall, stops_at);
        let text = format!(
            "{} is stopped in {}: {}; its files and its container stay",
            berth.label(),
            humantime::format_duration(rounded(left)),
            because(why)
        );
        tracing::info!(berth = berth.label(), %stops_at, "asked back");
        let event = self.about(&berth, "berth.asked-back", &Caller::agent().name, text);
        let reason = reason_of(why);
        let stops = Notice::Stops {
            at: stops_at,
            why: reason,
            waits: waits(situation, &berth),
            renewable: renewable(situation, id),
        };
        let message = self.notice(&berth, &stops);
        self.ledger(move |ledger| ledger.note_stop(id, Some((stops_at, reason)), &message, &event)).await
    }

    async fn ask_no_more(&self, id: i64, situation: &Situation) -> Result<()> {
        let Some(berth) = self.live(id).await? else { return Ok(()) };
        let standing = situation.standing.iter().find(|standing| standing.id == id);
        let works = standing.is_some_and(life::Standing::is_idle_no_more);
        let message = self.notice(&berth, &Notice::StopsNot { works });
        let event = self.about(&berth, "berth.not-asked-back", &Caller::agent().name, message.clone());
        self.ledger(move |ledger| ledger.note_stop(id, None, &message, &event)).await
    }

    async fn stop_as_announced(&self, id: i64, why: Why) {
        let Some(_busy) = self.busy.enter(id) else { return };
        let stopped = async {
            // Its owner may have renewed it, or released it, since it was decided.
            let Some(berth) = self.live(id).await?.filter(|berth| berth.stops_at.is_some()) else {
                return Ok(());
            };
            let cards = card::named(&berth.cards);
            tracing::info!(berth = berth.label(), cards, "its time is over");
            self.stop_marked(&berth, reason_of(why), &Caller::agent().name, &ProgressSender::nobody())
                .await
                .map(drop)
        };
        if let Err(error) = stopped.await {
            tracing::warn!(
                berth = id,
                error = format!("{error:#}"),
                "a berth whose time is over could not be stopped"
            );
        }
    }

    async fn live(&self, id: i64) -> Result<Option<Berth>> {
        let berth = self.ledger(move |ledger| ledger.find_berth(id)).await?;
        Ok(berth.filter(|berth| berth.state == BerthState::Live))
    }
}

/// Requests of others that wait for cards.
fn others<'a>(situation: &'a Situation, berth: &Berth) -> impl Iterator<Item = &'a life::Ticket> {
    let owner = berth.owner.clone();
    situation.tickets.iter().filter(move |ticket| ticket.owner != owner)
}

fn waits(situation: &Situation, berth: &Berth) -> Waits {
    let mut all = others(situation, berth);
    match (all.next(), all.count()) {
        (Some(one), 0) => Waits::One { owner: one.owner.clone(), wish: queue::wish(&one.wish) },
        (Some(_), more) => Waits::More(more + 1),
        (None, _) => Waits::More(0),
    }
}

/// Whether its owner may renew the lease of a berth that is asked back.
fn renewable(situation: &Situation, id: i64) -> bool {
    let standing = situation.standing.iter().find(|standing| standing.id == id);
    standing.is_some_and(|standing| life::renewal(situation, standing) != Renewal::Refused)
}

/// The time rounded for people, without seconds.
fn rounded(time: Duration) -> Duration {
    let seconds = time.as_secs();
    Duration::from_secs(if seconds < 120 { seconds } else { seconds.div_ceil(60) * 60 })
}

fn because(why: Why) -> &'static str {
    match why {
        Why::Lease => "its lease is over, and somebody waits for cards",
        Why::Idle => "it does nothing, and somebody waits for cards",
        Why::Parked => "it holds memory of its cards and does nothing, and somebody waits for cards",
        Why::Unattended => "its lease is over",
    }
}

fn said(passed: &Passed) -> Option<String> {
    let long = |time: SignedDuration| humantime::format_duration(time.unsigned_abs()).to_string();
    match passed.jump {
        Some(jump) => {
            let direction = if jump.is_negative() { "back" } else { "forward" };
            Some(format!(
                "the clock was set {direction} by {}: leases end as they would have, and none for {}",
                long(jump),
                humantime::format_duration(HELD)
            ))
        }
        None if !passed.given_back.is_zero() => {
            Some(format!("the agent was not there for {}: leases end so much later", long(passed.given_back)))
        }
        None => None,
    }
}
