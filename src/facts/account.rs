//! An account that is to be made: what of it there is, and who has its numbers. An answer that cannot be had is an
//! error, for what looks free may be somebody's in a directory service.

use crate::host::{Host, RunError, Tool, read_text};
use crate::model::driver::AccountSeen;
use std::path::Path;
use std::time::Duration;

/// Exit status of getent for a key that it does not know.
const UNKNOWN_KEY: i32 = 2;
/// Right after a boot, a directory service and a machine that is busy take their time.
const TIMEOUT: Duration = Duration::from_mins(1);
/// Where somebody only looks, and looks again.
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
    let Some(fields) = entry(host, "passwd", user, SOON, |fields| fields.first() == Some(&user))? else {
        return Ok(None);
    };
    let ids = number(&fields, 2).zip(number(&fields, 3));
    ids.map(Some).ok_or_else(|| format!("the entry of {user} has no numbers"))
}

pub fn gather(host: &dyn Host, wanted: &Wanted) -> Result<AccountSeen, String> {
    let user = entry(host, "passwd", wanted.user, TIMEOUT, |fields| fields.first() == Some(&wanted.user))?;
    let group = entry(host, "group", wanted.group, TIMEOUT, |fields| fields.first() == Some(&wanted.group))?;
    let numbered =
        |number: u32| move |fields: &[&str]| fields.get(2).is_some_and(|text| text.parse() == Ok(number));
    let by_uid = entry(host, "passwd", &wanted.uid.to_string(), TIMEOUT, numbered(wanted.uid))?;
    let by_gid = entry(host, "group", &wanted.gid.to_string(), TIMEOUT, numbered(wanted.gid))?;
    let other = |found: Option<Vec<String>>, name: &str, kind: &str| {
        let holder = found?.into_iter().next().filter(|holder| holder != name)?;
        Some(format!("{kind} {holder}"))
    };
    let ids = user.as_deref().and_then(|fields| Some((number(fields, 2)?, number(fields, 3)?)));
    let gid = group.as_deref().and_then(|fields| number(fields, 2));
    let members = group.as_ref().and_then(|fields| fields.get(3)).map(String::as_str).unwrap_or_default();
    Ok(AccountSeen {
        user: ids,
        gid,
        is_member: ids.is_some_and(|(_, own)| Some(own) == gid)
            || members.split(',').any(|member| member == wanted.user),
        uid_holder: other(by_uid, wanted.user, "user"),
        gid_holder: other(by_gid, wanted.group, "group"),
    })
}

fn number(fields: &[String], index: usize) -> Option<u32> {
    fields.get(index)?.parse().ok()
}

/// The fields of the first entry that fits.
fn entry(
    host: &dyn Host,
    database: &str,
    key: &str,
    timeout: Duration,
    fits: impl Fn(&[&str]) -> bool,
) -> Result<Option<Vec<String>>, String> {
    let cmd = Tool::Getent.cmd().args([database, "--", key]).allow_exits(&[UNKNOWN_KEY]).timeout(timeout);
    let text = match host.run(&cmd) {
        Ok(output) => output.stdout,
        Err(RunError::Missing { .. }) => {
            let path = Path::new("/etc").join(database);
            read_text(host, &path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?
        }
        Err(error) => return Err(error.to_string()),
    };
    let mut entries = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let found = entries.find(|fields| fits(fields));
    Ok(found.map(|fields| fields.into_iter().map(str::to_owned).collect()))
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
