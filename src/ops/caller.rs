//! Who calls, and what they may do. The kernel says who it is; nothing that a caller sends changes that.

use super::Node;
use crate::error::Fault;
use crate::host::accounts::{Member, Source};
use anyhow::Result;

/// Members of this group are administrators, as root is.
const ADMIN_GROUP: &str = "berth-admin";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// For the events: the host account's name, or the user's.
    pub name: String,
    pub admin: bool,
    /// The registered user that this is, if any.
    pub user: Option<String>,
}

impl Caller {
    /// The agent itself, for what it does by itself.
    pub fn agent() -> Self {
        Self { name: "agent".into(), admin: true, user: None }
    }

    pub fn require_admin(&self, what: &str) -> Result<(), Fault> {
        if self.admin {
            return Ok(());
        }
        Err(Fault::refused(format!("{what} is for administrators"))
            .help(format!("ask one, or run it as root or as a member of the group {ADMIN_GROUP}")))
    }

    /// The user whom a call is about: the caller, or another user where an administrator names one. An error where
    /// anybody else names another user.
    pub fn owner(&self, named: Option<&str>) -> Result<String, Fault> {
        match (named, &self.user) {
            (Some(named), Some(own)) if named == own => Ok(named.to_owned()),
            (Some(named), _) if self.admin => Ok(named.to_owned()),
            (Some(named), _) => Err(Fault::refused(format!("{named}'s berths are not yours"))),
            (None, Some(own)) => Ok(own.clone()),
            (None, None) => {
                Err(Fault::usage(format!("{} is not a user of berth: say whose it is to be", self.name))
                    .help("name a registered user with --user; `berth user list` shows them"))
            }
        }
    }

    /// The owner filter for what this caller may see: `None` is everything.
    pub fn sees_only(&self) -> Option<&str> {
        if self.admin { None } else { self.user.as_deref() }
    }
}

impl Node {
    /// Reads from the node's own files who the administrators are, before anybody calls.
    pub async fn expect_admins(&self) {
        self.directory.expect(self.host(), ADMIN_GROUP, Source::Files).await;
    }

    /// As [`Node::expect_admins`], but asks the node's directory service, which may be slow.
    pub async fn ask_for_admins(&self) {
        self.directory.expect(self.host(), ADMIN_GROUP, Source::Getent).await;
    }

    /// Whether this account is known as root, a user or an administrator. It answers from memory.
    pub fn knows(&self, uid: u32) -> bool {
        uid == 0 || self.ledger_handle().knows_uid(uid) || self.directory.was_member(uid)
    }

    /// The caller behind a uid of the host.
    pub async fn caller(&self, uid: u32) -> Result<Caller> {
        let user = self.ledger(move |ledger| ledger.user_by_uid(uid)).await?.map(|user| user.name);
        // Root is never kept waiting by a directory.
        let found = if uid == 0 {
            Member { account: None, is_member: true, sure: true }
        } else {
            self.directory.member(self.host(), uid, ADMIN_GROUP).await
        };
        let admin = found.is_member;
        let name = match (&user, found.account) {
            (Some(user), _) => user.clone(),
            (None, Some(account)) => account.name,
            (None, None) if uid == 0 => "root".into(),
            (None, None) => format!("uid {uid}"),
        };
        if !admin && user.is_none() {
            if !found.sure {
                return Err(Fault::busy(format!(
                    "who {name} is cannot be looked up now: getent does not answer"
                ))
                .help("try again in half a minute; an administrator looks at the node's LDAP or sssd")
                .into());
            }
            return Err(Fault::refused(format!("{name} is not a user of berth"))
                .help(format!(
                    "ask an administrator: berth user add NAME --uid {uid} --key FILE, or for a user whose account this is: \
                     berth user set NAME --uid {uid}"
                ))
                .into());
        }
        Ok(Caller { name, admin, user })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_only_their_own_and_an_administrator_names_whose() {
        let alice = Caller { name: "alice".into(), admin: false, user: Some("alice".into()) };
        let root = Caller { name: "root".into(), admin: true, user: None };
        assert_eq!(alice.owner(None).unwrap(), "alice");
        assert_eq!(alice.owner(Some("alice")).unwrap(), "alice");
        assert_eq!(alice.owner(Some("bob")).unwrap_err().message, "bob's berths are not yours");
        assert_eq!(root.owner(Some("bob")).unwrap(), "bob");
        assert!(root.owner(None).unwrap_err().help.is_some());
        assert!(alice.require_admin("adding a user").is_err());
        assert_eq!((alice.sees_only(), root.sees_only()), (Some("alice"), None));
    }
}
