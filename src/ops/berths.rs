//! Finding and listing berths.

use super::{Caller, Node};
use crate::error::Fault;
use crate::model::{Berth, name};
use anyhow::Result;

/// How many berths a listing shows with `all`.
const HISTORY: u32 = 1000;

impl Node {
    /// Berths that hold cards, the caller's own or all of them for an administrator; with `all`, ended ones too.
    pub async fn berths(&self, caller: &Caller, all: bool) -> Result<Vec<Berth>> {
        let mut berths = if all {
            let owner = caller.sees_only().map(str::to_owned);
            self.ledger(move |ledger| ledger.all_berths(HISTORY, owner.as_deref())).await?
        } else {
            self.ledger(crate::ledger::Ledger::standing_berths).await?
        };
        if let Some(only) = caller.sees_only() {
            berths.retain(|berth| berth.owner == only);
        }
        Ok(berths)
    }

    /// The berth, with how its lease stands now.
    pub fn with_lease_state(&self, berth: Berth) -> Berth {
        berth.with_lease_state(self.now().wall, self.settings().profile.lease.first_warning)
    }

    /// The berth of this name. `NAME` is the caller's own berth; `OWNER/NAME` is anyone's, for an administrator.
    /// For an administrator who has no berth `NAME`, it is the only berth of that name. An error when there is
    /// none.
    pub async fn find_berth(&self, caller: &Caller, given: &str) -> Result<Berth> {
        let (owner, short) = match given.split_once('/') {
            Some((owner, short)) => (Some(owner), short),
            None => (None, given),
        };
        name::check_name("berth name", short).map_err(Fault::usage)?;
        if let Some(owner) = owner {
            name::check_user_name(owner).map_err(Fault::usage)?;
        }
        let unknown = || {
            Fault::usage(format!("there is no berth {given}")).help("`berth list` shows the berths there are")
        };
        let owner = match owner {
            Some(owner) => caller.owner(Some(owner))?,
            None => match &caller.user {
                Some(own) if self.held(own, short).await?.is_some() || !caller.admin => own.clone(),
                _ => self.only_owner_of(short).await?.ok_or_else(unknown)?,
            },
        };
        Ok(self.held(&owner, short).await?.ok_or_else(unknown)?)
    }

    /// As [`Self::find_berth`]; where no such berth stands, the last one of that name that has ended. An
    /// administrator names its owner then.
    pub(super) async fn find_latest(&self, caller: &Caller, given: &str) -> Result<Berth> {
        let none = match self.find_berth(caller, given).await {
            Ok(berth) => return Ok(berth),
            Err(none) => none,
        };
        let (owner, short) = match given.split_once('/') {
            Some((owner, short)) => (Some(owner), short),
            None => (None, given),
        };
        let Ok(owner) = caller.owner(owner) else { return Err(none) };
        let short = short.to_owned();
        self.ledger(move |ledger| ledger.last_berth(&owner, &short)).await?.ok_or(none)
    }

    async fn held(&self, owner: &str, name: &str) -> Result<Option<Berth>> {
        let (owner, name) = (owner.to_owned(), name.to_owned());
        self.ledger(move |ledger| ledger.standing_berth(&owner, &name)).await
    }

    async fn only_owner_of(&self, name: &str) -> Result<Option<String>> {
        let berths = self.ledger(crate::ledger::Ledger::standing_berths).await?;
        let owners: Vec<String> =
            berths.into_iter().filter(|berth| berth.name == name).map(|berth| berth.owner).collect();
        match owners.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(one.clone())),
            more => Err(Fault::usage(format!("{} users have a berth {name}", more.len()))
                .help(format!(
                    "say which: {}",
                    more.iter().map(|o| format!("{o}/{name}")).collect::<Vec<_>>().join(", ")
                ))
                .into()),
        }
    }
}
