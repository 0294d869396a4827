//! Users: who may have berths, and with which keys they log in.

use super::ration::{Act, MOST_KEYS};
use super::{Caller, Node, keys};
use crate::error::Fault;
use crate::host::accounts;
use crate::ledger::{Key, NewEvent, User};
use crate::model::{card, name};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Which account of the host a user is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Login {
    /// The account of the same name, when there is one.
    #[default]
    SameName,
    Uid(u32),
    /// No account. They connect over SSH, and an administrator acts for them on the node.
    None,
}

impl Node {
    pub async fn add_user(&self, caller: &Caller, new: &str, keys_text: &str, login: Login) -> Result<User> {
        caller.require_admin("adding a user")?;
        name::check_user_name(new).map_err(|wrong| {
            Fault::usage(wrong)
                .help("choose another, and say which account it is: berth user add NAME --uid UID --key FILE")
        })?;
        let keys = keys::read_keys(keys_text)?;
        check_number(new, &[], &keys)?;
        let uid = self.uid_of(new, login).await?;
        let event = self.about_user(caller, "user.added", new, format!("user {new}, keys: {}", keys.len()));
        let new = new.to_owned();
        self.ledger(move |ledger| ledger.add_user(&new, uid, &keys, &event)).await
    }

    async fn uid_of(&self, new: &str, login: Login) -> Result<Option<u32>> {
        let (host, account) = (self.host(), new.to_owned());
        match login {
            Login::None => Ok(None),
            Login::Uid(0) => Err(Fault::refused("uid 0 administers and cannot be a user").into()),
            Login::Uid(uid) if uid == self.settings().config.ssh.gateway_uid => {
                Err(Fault::refused(format!("uid {uid} is the gateway's and cannot be a user")).into())
            }
            Login::Uid(uid) => Ok(Some(uid)),
            Login::SameName => {
                let found =
                    tokio::task::spawn_blocking(move || accounts::account_by_name(&*host, &account)).await?;
                // Neither root nor the gateway's commands are anybody.
                let gateway = self.settings().config.ssh.gateway_uid;
                Ok(found.map(|account| account.uid).filter(|uid| *uid != 0 && *uid != gateway))
            }
        }
    }

    /// Sets a user's account, where it was made after the user was added, or now belongs to somebody else.
    pub async fn set_login(&self, caller: &Caller, of: &str, login: Login) -> Result<User> {
        caller.require_admin("changing whose account is a user's")?;
        let user = self.user(caller, of).await?;
        let same_name = login == Login::SameName;
        let uid = self.uid_of(&user.name, login).await?;
        if same_name && uid.is_none() {
            return Err(Fault::usage(format!("no account on this host that could be a user is called {of}"))
                .help(format!("berth user set {of} --uid UID"))
                .into());
        }
        let text = uid.map_or_else(|| "no account on this host".to_owned(), |uid| format!("uid {uid}"));
        let event = self.about_user(caller, "user.changed", of, format!("user {of} is {text}"));
        self.ledger(move |ledger| ledger.set_uid(&user.name, uid, &event)).await
    }

    /// All users for an administrator; only the caller for a user.
    pub async fn users(&self, caller: &Caller) -> Result<Vec<User>> {
        let mut users = self.ledger(crate::ledger::Ledger::users).await?;
        if let Some(only) = caller.sees_only() {
            users.retain(|user| user.name == only);
        }
        Ok(users)
    }

    pub async fn user(&self, caller: &Caller, wanted: &str) -> Result<User> {
        let owner = caller.owner(Some(wanted))?;
        let asked = owner.clone();
        Ok(self.ledger(move |ledger| ledger.user(&asked)).await?.ok_or_else(|| {
            Fault::usage(format!("there is no user {owner}")).help("`berth user list` shows them")
        })?)
    }

    /// Removes a user. Their personal storage stays. An error while they have a berth.
    pub async fn remove_user(&self, caller: &Caller, gone: &str) -> Result<()> {
        caller.require_admin("removing a user")?;
        let user = self.user(caller, gone).await?;
        // No claim is made between looking for berths and removing their owner.
        let _deciding = self.deciding.lock().await;
        let held = self.ledger(crate::ledger::Ledger::standing_berths).await?;
        if let Some(berth) = held.iter().find(|berth| berth.owner == user.name) {
            let (name, cards) = (&berth.name, card::named(&berth.cards));
            return Err(Fault::refused(format!("{gone} has berth {name} on {cards}"))
                .help(format!("berth release {gone}/{name}"))
                .into());
        }
        let event =
            self.about_user(caller, "user.removed", gone, format!("user {gone}; personal storage is kept"));
        let gone = gone.to_owned();
        self.ledger(move |ledger| ledger.remove_user(&gone, &event)).await?;
        self.forget_owner_key(&user).await;
        Ok(())
    }

    /// A user may add and remove their own keys.
    pub async fn add_keys(&self, caller: &Caller, of: &str, keys_text: &str) -> Result<User> {
        self.ration(caller, Act::Key)?;
        let user = self.user(caller, of).await?;
        let keys = keys::read_keys(keys_text)?;
        check_number(of, &user.keys, &keys)?;
        let text = keys.iter().map(|key| key.fingerprint.as_str()).collect::<Vec<_>>().join(", ");
        let event = self.about_user(caller, "key.added", of, text);
        self.ledger(move |ledger| ledger.add_keys(&user.name, &keys, &event)).await?;
        self.tell_berths(caller, of).await
    }

    pub async fn remove_key(&self, caller: &Caller, of: &str, fingerprint: &str) -> Result<User> {
        self.ration(caller, Act::Key)?;
        let user = self.user(caller, of).await?;
        let event = self.about_user(caller, "key.removed", of, fingerprint.to_owned());
        if !user.keys.iter().any(|key| key.fingerprint == fingerprint) {
            // An earlier removal may not have reached every berth.
            self.tell_berths(caller, of).await?;
            return Err(Fault::usage(format!("{of} has no key {fingerprint}"))
                .help(format!("berth user show {of}"))
                .into());
        }
        let key = fingerprint.to_owned();
        self.ledger(move |ledger| ledger.remove_key(&user.name, &key, &event)).await?;
        self.tell_berths(caller, of).await
    }

    async fn tell_berths(&self, caller: &Caller, of: &str) -> Result<User> {
        let user = self.user(caller, of).await?;
        let mut berths = self.ledger(crate::ledger::Ledger::standing_berths).await?;
        berths.retain(|berth| berth.owner == user.name);
        self.refresh_keys(&berths).await?;
        Ok(user)
    }

    fn about_user(&self, caller: &Caller, kind: &'static str, user: &str, text: String) -> NewEvent {
        NewEvent { owner: Some(user.to_owned()), ..self.event(kind, &caller.name, text) }
    }
}

/// An error when a user would have too many keys: each login reads all of them.
fn check_number(of: &str, known: &[Key], new: &[Key]) -> Result<(), Fault> {
    let all: BTreeSet<&str> = known.iter().chain(new).map(|key| key.fingerprint.as_str()).collect();
    if all.len() <= MOST_KEYS {
        return Ok(());
    }
    Err(Fault::refused(format!("{of} would have {} keys; {MOST_KEYS} is the most", all.len()))
        .help(format!("remove some first: berth user show {of}; berth user key remove {of} FINGERPRINT")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_so_many_keys_and_no_more() {
        let key = |number: usize| Key { line: String::new(), fingerprint: number.to_string() };
        let known: Vec<Key> = (0..MOST_KEYS).map(key).collect();
        check_number("alice", &known, &[key(0), key(1)]).unwrap();
        let fault = check_number("alice", &known, &[key(MOST_KEYS)]).unwrap_err();
        assert!(fault.message.contains("101 keys; 100 is the most"), "{fault:?}");
    }
}
