//! Hard limits of what one user may have at once: set by an administrator for one user, or in the profile for all, or
//! for the members of a group of the node.
//! What would pass one is refused, and the refusal says what is used by what. A berth that is there is never touched.

use super::{Caller, Node};
use crate::error::Fault;
use crate::ledger::{Ledger, User};
use crate::model::{Berth, LimitChange, LimitSources, OwnLimit, Size, UserLimit};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What a request or a start wants more of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct More {
    pub(super) cards: usize,
    pub(super) memory: Option<Size>,
    /// 1 for a new berth, 0 for one that is there.
    pub(super) berths: usize,
}

/// A user with what limits them, and what of it they have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserView {
    #[serde(flatten)]
    pub user: User,
    /// What counts for them; `null` is no limit.
    #[serde(default)]
    pub limit: UserLimit,
    /// Who said each of them; `null` where there is none.
    #[serde(default)]
    pub limit_from: LimitSources,
    #[serde(default)]
    pub used: Used,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    pub cards: usize,
    pub berths: usize,
    /// Bytes.
    pub memory: u64,
}

impl Node {
    pub async fn user_view(&self, caller: &Caller, name: &str) -> Result<UserView> {
        let user = self.user(caller, name).await?;
        let groups = self.limit_groups(&user.name).await?;
        let (limit, limit_from) = self.limit_of(&user.name, &groups).await?;
        let mut held = self.ledger(Ledger::standing_berths).await?;
        held.retain(|berth| berth.owner == user.name);
        Ok(UserView { user, limit, limit_from, used: used(&held) })
    }

    pub async fn set_limit(&self, caller: &Caller, name: &str, change: LimitChange) -> Result<UserView> {
        caller.require_admin("limiting a user")?;
        if let LimitChange::Set(limit) = change {
            check_change(&limit)?;
        }
        let user = self.user(caller, name).await?;
        let text = match change {
            LimitChange::None => format!("nothing limits user {name}"),
            LimitChange::Default => format!("the profile's limits count for user {name}"),
            LimitChange::Set(limit) => format!("user {name} may have at most {}", said(&limit)),
        };
        let mut event = self.event("user.limit", &caller.name, text);
        event.owner = Some(user.name.clone());
        self.ledger(move |ledger| ledger.set_user_limit(&user.name, change, &event)).await?;
        self.user_view(caller, name).await
    }

    /// The user's groups of the node that the profile has limits for. A directory service may be slow: to be called before
    /// a lock that others need.
    pub(super) async fn limit_groups(&self, owner: &str) -> Result<Vec<String>> {
        let list: Vec<String> = self.settings().profile.limits.group.keys().cloned().collect();
        if list.is_empty() {
            return Ok(list);
        }
        let asked = owner.to_owned();
        let user = self.ledger(move |ledger| ledger.user(&asked)).await?;
        match user.and_then(|user| user.uid) {
            Some(uid) => Ok(self.directory.groups(self.host(), uid, &list).await),
            // Who has no account is in no group.
            None => Ok(Vec::new()),
        }
    }

    /// What limits a user in these groups, and who said so.
    async fn limit_of(&self, owner: &str, groups: &[String]) -> Result<(UserLimit, LimitSources)> {
        let asked = owner.to_owned();
        let own = self.ledger(move |ledger| ledger.user_limit(&asked)).await?;
        Ok(OwnLimit::effective(own, &self.settings().profile.limits.of(groups)))
    }

    /// An error when the owner would have more than they may. To be called under the lock that decides, with the
    /// berths that stand.
    pub(super) async fn check_limit(
        &self,
        (owner, groups): (&str, &[String]),
        held: &[Berth],
        more: More,
    ) -> Result<()> {
        let own: Vec<Berth> = held.iter().filter(|berth| berth.owner == owner).cloned().collect();
        Ok(check(owner, &self.limit_of(owner, groups).await?.0, &own, more)?)
    }

    /// The lease, if the owner may have it; one that was not asked for is made shorter.
    pub(super) async fn limited_lease(
        &self,
        (owner, groups): (&str, &[String]),
        lease: Duration,
        is_said: bool,
    ) -> Result<Duration> {
        let (limit, _) = self.limit_of(owner, groups).await?;
        let Some(most) = limit.lease.map(Duration::from_secs) else { return Ok(lease) };
        if is_said && lease > most {
            let most = humantime::format_duration(most);
            return Err(Fault::refused(format!("the longest lease of {owner} is {most}"))
                .help(format!("an administrator may change that: berth user limit {owner} --lease TIME"))
                .into());
        }
        Ok(lease.min(most))
    }
}

fn check_change(limit: &UserLimit) -> Result<(), Fault> {
    if *limit == UserLimit::default() {
        return Err(
            Fault::usage("no limit was named").help("--cards, --berths, --lease, --memory, or --none")
        );
    }
    if limit.lease == Some(0) {
        return Err(Fault::usage("a lease of 0 is over at once").help("--lease 12h"));
    }
    Ok(())
}

fn used(held: &[Berth]) -> Used {
    let at_work = held.iter().filter(|berth| berth.state.holds_cards());
    Used {
        cards: at_work.clone().map(|berth| berth.cards.len()).sum(),
        berths: held.len(),
        memory: at_work.filter_map(|berth| berth.memory).map(|memory| memory.0).sum(),
    }
}

/// `held` are the owner's berths that stand.
fn check(owner: &str, limit: &UserLimit, held: &[Berth], more: More) -> Result<(), Fault> {
    let used = used(held);
    let at_work = |berth: &&Berth| berth.state.holds_cards();
    let number = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    if let Some(most) = limit.cards
        && more.cards > 0
        && used.cards + more.cards > number(most)
    {
        let by = held.iter().filter(at_work).filter(|berth| !berth.cards.is_empty());
        let by = by.map(|berth| format!("{} {}", berth.name, berth.cards.len()));
        let has = format!("{owner} has {} of {most} cards{}", used.cards, listed(by));
        return Err(too_many(&has, &format!("{}", more.cards), owner, "--cards N"));
    }
    if let Some(most) = limit.berths
        && used.berths + more.berths > number(most)
        && more.berths > 0
    {
        let by = held.iter().map(|berth| match berth.state {
            crate::model::BerthState::Stopped => format!("{} (stopped)", berth.name),
            _ => berth.name.clone(),
        });
        let has = format!("{owner} has {} of {most} berths{}", used.berths, listed(by));
        return Err(too_many(&has, "one", owner, "--berths N"));
    }
    if let (Some(most), Some(memory)) = (limit.memory, more.memory)
        && used.memory.saturating_add(memory.0) > most.0
    {
        let by = held.iter().filter(at_work);
        let by = by.filter_map(|berth| Some(format!("{} {}", berth.name, berth.memory?)));
        let has = format!("{owner} has {} of {most} memory{}", Size(used.memory), listed(by));
        return Err(too_many(&has, &memory.to_string(), owner, "--memory SIZE"));
    }
    Ok(())
}

fn listed(by: impl Iterator<Item = String>) -> String {
    let by: Vec<String> = by.collect();
    if by.is_empty() { String::new() } else { format!(": {}", by.join(", ")) }
}

fn too_many(has: &str, more: &str, owner: &str, option: &str) -> Fault {
    let too = if more == "one" || more == "1" { "is" } else { "are" };
    Fault::refused(format!("{has}; {more} more {too} too many")).help(format!(
        "give something back first; an administrator may raise the limit: berth user limit {owner} {option}"
    ))
}

/// `4 cards, leases of 12h`
fn said(limit: &UserLimit) -> String {
    let lease = |seconds| humantime::format_duration(Duration::from_secs(seconds));
    [
        limit.cards.map(|cards| format!("{cards} cards")),
        limit.berths.map(|berths| format!("{berths} berths")),
        limit.lease.map(|seconds| format!("leases of {}", lease(seconds))),
        limit.memory.map(|memory| format!("{memory} of memory")),
    ]
    .into_iter()
    .flatten()
    .collect::<Vec<_>>()
    .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorClass;
    use crate::host::clock::SystemClock;
    use crate::model::CardId;
    use std::sync::Arc;

    fn berth(name: &str, state: &str, cards: u32, gib: u64) -> Berth {
        let cards: Vec<CardId> = (0..cards).map(CardId).collect();
        serde_json::from_value(serde_json::json!({
            "id": 1, "owner": "alice", "name": name, "state": state, "cards": cards, "port": 20000, "ssh_user": "u",
            "image": "i", "image_id": "sha256:1", "container_id": null, "memory": gib << 30, "cpus": null,
            "host_key": null, "created_at": "2026-01-01T00:00:00Z", "until": null, "ended_at": null, "note": null
        }))
        .unwrap()
    }

    #[test]
    fn a_refusal_says_what_is_used_by_what() {
        let held =
            [berth("dev", "live", 2, 8), berth("train", "starting", 2, 16), berth("old", "stopped", 0, 64)];
        let limit = UserLimit { cards: Some(4), berths: Some(3), lease: None, memory: Some(Size::gib(32)) };
        let ask = |cards, gib, berths| {
            check("alice", &limit, &held, More { cards, memory: Some(Size::gib(gib)), berths })
        };
        let fault = ask(2, 1, 0).unwrap_err();
        assert_eq!(fault.message, "alice has 4 of 4 cards: dev 2, train 2; 2 more are too many");
        assert_eq!(fault.class, ErrorClass::Refused);
        assert!(fault.help.unwrap().ends_with("berth user limit alice --cards N"));
        assert_eq!(
            ask(0, 1, 1).unwrap_err().message,
            "alice has 3 of 3 berths: dev, train, old (stopped); one more is too many"
        );
        assert_eq!(
            ask(0, 16, 0).unwrap_err().message,
            "alice has 24GiB of 32GiB memory: dev 8GiB, train 16GiB; 16GiB more are too many"
        );
        assert!(ask(0, 8, 0).is_ok(), "a berth without cards, and as much memory as there is left");
        let none = UserLimit { cards: Some(1), ..UserLimit::default() };
        let fault = check("bob", &none, &[], More { cards: 2, ..More::default() }).unwrap_err();
        assert_eq!(fault.message, "bob has 0 of 1 cards; 2 more are too many");
        assert!(
            check("bob", &UserLimit::default(), &held, More { cards: 99, memory: None, berths: 9 }).is_ok()
        );
    }

    #[tokio::test]
    async fn a_lease_is_refused_where_it_was_asked_for_and_shorter_where_not() {
        let (node, _dir) = Node::for_test(Arc::new(SystemClock));
        let root = Caller { name: "root".into(), admin: true, user: None };
        let event = node.event("user.added", "root", String::new());
        node.ledger(move |ledger| ledger.add_user("alice", None, &[], &event)).await.unwrap();
        let hours = Duration::from_hours;
        assert_eq!(node.limited_lease(("alice", &[]), hours(8), true).await.unwrap(), hours(8));
        let change = LimitChange::Set(UserLimit { lease: Some(3600), ..UserLimit::default() });
        let view = node.set_limit(&root, "alice", change).await.unwrap();
        assert_eq!(view.limit.lease, Some(3600));
        assert_eq!(node.limited_lease(("alice", &[]), hours(8), false).await.unwrap(), hours(1));
        let fault =
            crate::error::flatten(&node.limited_lease(("alice", &[]), hours(8), true).await.unwrap_err());
        assert_eq!(fault.message, "the longest lease of alice is 1h");
        let alice = Caller { name: "alice".into(), admin: false, user: Some("alice".into()) };
        assert!(node.set_limit(&alice, "alice", LimitChange::None).await.is_err());
        assert_eq!(node.user_view(&alice, "alice").await.unwrap().limit.lease, Some(3600));
        for nothing in [UserLimit::default(), UserLimit { lease: Some(0), ..UserLimit::default() }] {
            let fault = node.set_limit(&root, "alice", LimitChange::Set(nothing)).await.unwrap_err();
            assert_eq!(crate::error::flatten(&fault).class, ErrorClass::Usage);
        }
    }
}
