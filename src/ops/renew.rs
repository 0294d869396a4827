//! Starts a lease anew. Its end is in the ledger only; nothing of the container changes.

use super::ration::Act;
use super::{Caller, Node, request};
use crate::error::Fault;
use crate::life::{self, Renewal};
use crate::model::{Berth, BerthState};
use anyhow::Result;
use jiff::SignedDuration;
use std::time::Duration;

impl Node {
    /// Starts the lease anew from now on, for `seconds` or the profile's time. An error unless the berth is live.
    pub async fn renew(&self, caller: &Caller, name: &str, seconds: Option<u64>) -> Result<Berth> {
        self.ration(caller, Act::Renew)?;
        let lease = request::lease(&self.settings().profile.berth, seconds)?;
        let berth = self.find_berth(caller, name).await?;
        let groups = self.limit_groups(&berth.owner).await?;
        let lease = self.limited_lease((&berth.owner, &groups), lease, seconds.is_some()).await?;
        let _busy = self.enter_berth(berth.id, name).await?;
        let id = berth.id;
        // Its owner hears how it is, without waiting for the next look. The lease is renewed also where Docker is away.
        if let Err(error) = self.renew_conditions(&berth).await {
            tracing::debug!(error = format!("{error:#}"), "could not look at a berth that is renewed");
        }
        // It may have ended between looking it up and entering.
        let now = self.ledger_berth(id).await?;
        let label = format!("{}/{}", now.owner, now.name);
        if now.state != BerthState::Live {
            return Err(Fault::refused(format!("{label} is {} and has no lease to renew", now.state)).into());
        }
        let (lease, is_wanted) = self.renewable(&now, lease, seconds.is_some()).await?;
        let until = self.now().wall.checked_add(SignedDuration::try_from(lease)?)?;
        let text = format!("the lease of {label} is renewed for {}", humantime::format_duration(lease));
        let event = self.about(&now, "berth.renewed", &caller.name, text);
        let renewed = self.ledger(move |ledger| ledger.renew(id, until, is_wanted, &event)).await?;
        if now.stops_at.is_some() {
            self.tell_renewed(&renewed, until).await?;
        }
        self.write_lease_files().await;
        Ok(renewed)
    }

    /// For how long the lease may be renewed, and whether another request waits for its cards. If one does, it may
    /// be renewed once and for a limited time.
    async fn renewable(&self, berth: &Berth, lease: Duration, is_said: bool) -> Result<(Duration, bool)> {
        // Without cards it is in nobody's way.
        if berth.cards.is_empty() || !self.is_anybody_waiting().await? {
            return Ok((lease, false));
        }
        let _deciding = self.deciding.lock().await;
        let survey = self.survey(self.settings().config.tools.npu_smi_max_age).await?;
        let situation = self.situation(Some(&survey)).await?;
        let Some(standing) = situation.standing.iter().find(|standing| standing.id == berth.id) else {
            return Ok((lease, false));
        };
        let label = berth.label();
        match life::renewal(&situation, standing) {
            Renewal::Free => Ok((lease, false)),
            Renewal::Limited { most, is_wanted } if lease <= most => Ok((lease, is_wanted)),
            Renewal::Limited { most, is_wanted } if !is_said => Ok((most, is_wanted)),
            Renewal::Limited { most, is_wanted } => {
                let minutes = most.as_secs() / 60;
                let most = humantime::format_duration(Duration::from_secs(minutes * 60));
                let text = if is_wanted {
                    format!(
                        "somebody waits for the cards of {label}: it can be renewed for {most} at most, once"
                    )
                } else {
                    format!(
                        "cards of {label} are reserved for somebody else then: it can be renewed for {most} at most"
                    )
                };
                Err(Fault::refused(text)
                    .help(format!("berth renew {} --lease {minutes}m", berth.name))
                    .into())
            }
            Renewal::Refused => Err(Fault::refused(format!(
                "somebody waits for the cards of {label}, and its lease was renewed already"
            ))
            .help("`berth queue` shows who waits; `berth stop` keeps the container")
            .into()),
        }
    }
}
