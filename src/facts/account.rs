//! The account that bootstrap is to make: which parts of it exist, and who has its uid and gid. No answer is an error:
//! numbers that are in no file may be in use in a directory service.

use crate::host::Host;
use crate::host::getent::{self, Answer, GroupRow, Row, UserRow};
use crate::model::driver::AccountSeen;
use std::time::Duration;

/// A directory service may answer slowly right after a boot, or when the machine is busy.
const TIMEOUT: Duration = Duration::from_mins(1);
/// For callers that only look, and can look again.
const SOON: Duration = Duration::from_secs(5);

/// Name and number that an account should have.
pub struct Wanted<'a> {
    pub user: &'a str,
    pub group: &'a str,
    pub uid: u32,
    pub gid: u32,
}

/// Number and group of an account; `None`: there is no such account.
pub fn gather_ids(host: &dyn Host, user: &str) -> Result<Option<(u32, u32)>, String> {
    let Some(row) = entry(host, user, SOON, |row: &UserRow| row.name == user)? else { return Ok(None) };
    ids(&row).map(Some).ok_or_else(|| format!("the entry of {user} has no numbers"))
}

pub fn gather(host: &dyn Host, wanted: &Wanted) -> Result<AccountSeen, String> {
    let Wanted { uid, gid, .. } = *wanted;
    let user = entry(host, wanted.user, TIMEOUT, |row: &UserRow| row.name == wanted.user)?;
    let group = entry(host, wanted.group, TIMEOUT, |row: &GroupRow| row.name == wanted.group)?;
    let by_uid = entry(host, &uid.to_string(), TIMEOUT, |row: &UserRow| row.uid == Some(uid))?;
    let by_gid = entry(host, &gid.to_string(), TIMEOUT, |row: &GroupRow| row.gid == Some(gid))?;
    let ids = user.as_ref().and_then(ids);
    let own_gid = group.as_ref().and_then(|row| row.gid);
    let is_listed = group.is_some_and(|row| row.members.iter().any(|member| member == wanted.user));
    let other_user = by_uid.map(|row| row.name).filter(|name| name != wanted.user);
    let other_group = by_gid.map(|row| row.name).filter(|name| name != wanted.group);
    Ok(AccountSeen {
        user: ids,
        gid: own_gid,
        is_member: ids.is_some_and(|(_, primary)| Some(primary) == own_gid) || is_listed,
        uid_holder: other_user.map(|name| format!("user {name}")),
        gid_holder: other_group.map(|name| format!("group {name}")),
    })
}

fn ids(row: &UserRow) -> Option<(u32, u32)> {
    row.uid.zip(row.gid)
}

/// The first row that fits. Where there is no getent, only the files are read.
fn entry<T: Row>(
    host: &dyn Host,
    key: &str,
    timeout: Duration,
    fits: impl Fn(&T) -> bool,
) -> Result<Option<T>, String> {
    let rows = match getent::ask(host, key, timeout) {
        Answer::Found(rows) => rows,
        Answer::NotThere => return Ok(None),
        Answer::NoGetent => {
            getent::in_file(host).map_err(|error| format!("/etc/{} cannot be read: {error}", T::DATABASE))?
        }
        Answer::Silent(error) => return Err(error.to_string()),
    };
    Ok(rows.into_iter().find(fits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::FakeHost;

    const WANTED: Wanted = Wanted { user: "HwHiAiUser", group: "HwHiAiUser", uid: 1000, gid: 1000 };

    fn host(passwd: &str, group: &str) -> FakeHost {
        let mut host = FakeHost::default().with_file("/etc/passwd", passwd).with_file("/etc/group", group);
        for key in ["passwd -- HwHiAiUser", "passwd -- 1000", "group -- HwHiAiUser", "group -- 1000"] {
            host = host.with_missing(&format!("getent {key}"));
        }
        host
    }

    #[test]
    fn nobody_is_there_on_a_bare_machine() {
        let seen = gather(&host("root:x:0:0::/root:/bin/sh\n", "root:x:0:\n"), &WANTED).unwrap();
        assert_eq!(seen, AccountSeen::default());
    }

    #[test]
    fn holders_of_the_numbers_are_named() {
        let host = host("alice:x:1000:1000::/home/alice:/bin/sh\n", "staff:x:1000:alice\n");
        let seen = gather(&host, &WANTED).unwrap();
        assert_eq!(seen.uid_holder.as_deref(), Some("user alice"));
        assert_eq!((seen.gid_holder.as_deref(), seen.user, seen.gid), (Some("group staff"), None, None));
    }

    #[test]
    fn an_account_is_seen_with_its_own_numbers() {
        let passwd = "HwHiAiUser:x:1001:1002::/home/HwHiAiUser:/bin/bash\n";
        let seen = gather(&host(passwd, "HwHiAiUser:x:1002:\n"), &WANTED).unwrap();
        assert_eq!((seen.user, seen.gid, seen.is_member), (Some((1001, 1002)), Some(1002), true));
        let member = gather(&host(passwd, "HwHiAiUser:x:7:bob,HwHiAiUser\n"), &WANTED).unwrap();
        assert!(member.is_member);
        assert!(!gather(&host(passwd, "HwHiAiUser:x:7:bob\n"), &WANTED).unwrap().is_member);
    }

    #[test]
    fn numbers_are_found_or_there_is_no_such_account() {
        let passwd = "HwHiAiUser:x:1001:1002::/home/HwHiAiUser:/bin/bash\n";
        assert_eq!(gather_ids(&host(passwd, ""), "HwHiAiUser"), Ok(Some((1001, 1002))));
        assert_eq!(gather_ids(&host("root:x:0:0::/root:/bin/sh\n", ""), "HwHiAiUser"), Ok(None));
        assert!(gather_ids(&host("HwHiAiUser:x:many\n", ""), "HwHiAiUser").is_err());
        let no_file = FakeHost::default().with_missing("getent passwd -- HwHiAiUser");
        assert!(gather_ids(&no_file, "HwHiAiUser").unwrap_err().contains("/etc/passwd cannot be read"));
    }

    #[test]
    fn a_directory_service_that_hangs_is_no_answer() {
        let host = FakeHost::default().with_hang("getent passwd -- HwHiAiUser");
        assert!(gather_ids(&host, "HwHiAiUser").unwrap_err().contains("did not end"));
        assert!(gather(&host, &WANTED).unwrap_err().contains("did not end"));
    }
}
