//! The accounts of the agent's callers, and the members of groups. Where getent is missing or does not answer, the
//! files are read.

use super::Host;
use super::getent::{self, Answer, GroupRow, Row, UserRow};
use std::time::Duration;

/// A directory service that takes longer counts as not answering: a caller waits for the result.
const TIMEOUT: Duration = Duration::from_secs(3);
/// The most members of a group that are read.
const MOST_MEMBERS: usize = 256;

/// An account's name and primary group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
}

/// What is known of a uid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub account: Option<Account>,
    pub is_member: bool,
    /// False where a directory service did not answer, so that it may know more than the files.
    pub sure: bool,
}

/// Where an answer is to come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Getent,
    /// The files only, while a directory service does not answer.
    Files,
}

/// The account behind a uid, and whether it is in a group.
pub fn member_by_uid(host: &dyn Host, uid: u32, group: &str, source: Source) -> Member {
    let asked = rows::<UserRow>(host, &uid.to_string(), source);
    let account = asked.account(|account| account.uid == uid);
    let Some(account) = account else { return Member { account: None, is_member: false, sure: asked.sure } };
    // What did not answer once is not asked again.
    let source = if asked.sure { source } else { Source::Files };
    let groups = rows(host, group, source);
    let is_member = has_member(&groups.rows, &account, group);
    Member { account: Some(account), is_member, sure: is_member || (asked.sure && groups.sure) }
}

/// Which groups of a list an account is in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Groups {
    pub names: Vec<String>,
    /// False where a directory service did not answer, so that it may know more than the files.
    pub sure: bool,
}

/// The groups of this list that the account of a uid is in.
pub fn groups_of(host: &dyn Host, uid: u32, groups: &[String], mut source: Source) -> Groups {
    let asked = rows::<UserRow>(host, &uid.to_string(), source);
    let Some(account) = asked.account(|account| account.uid == uid) else {
        return Groups { names: Vec::new(), sure: asked.sure };
    };
    let mut found = Groups { names: Vec::new(), sure: asked.sure };
    for group in groups {
        // What did not answer once is not asked again.
        source = if found.sure { source } else { Source::Files };
        let rows = rows(host, group, source);
        found.sure &= rows.sure;
        if has_member(&rows.rows, &account, group) {
            found.names.push(group.clone());
        }
    }
    found
}

/// The groups of this list that the node does not know; those about which its directory service does not answer are not
/// among them.
pub fn unknown_groups(host: &dyn Host, groups: &[String]) -> Vec<String> {
    let mut unknown = Vec::new();
    for group in groups {
        let found = rows::<GroupRow>(host, group, Source::Getent);
        if !found.sure {
            break;
        }
        if !found.rows.iter().any(|row| row.name == *group) {
            unknown.push(group.clone());
        }
    }
    unknown
}

/// The uids of the accounts in a group, at most [`MOST_MEMBERS`]. Accounts whose primary group it is are found only in
/// the node's own files: a directory service would have to list all its accounts.
pub fn uids_in_group(host: &dyn Host, group: &str, mut source: Source) -> Vec<u32> {
    let local: Vec<Account> = in_file(host).iter().filter_map(account).collect();
    let found = rows::<GroupRow>(host, group, source);
    let mut uids = Vec::new();
    for row in found.rows.iter().filter(|row| row.name == group) {
        uids.extend(local.iter().filter(|account| row.gid == Some(account.gid)).map(|account| account.uid));
        for name in row.members.iter().take(MOST_MEMBERS) {
            match local.iter().find(|account| account.name == *name) {
                Some(account) => uids.push(account.uid),
                None if found.sure && source == Source::Getent => {
                    let asked = rows::<UserRow>(host, name, source);
                    uids.extend(asked.account(|account| account.name == *name).map(|account| account.uid));
                    // What did not answer once is not asked again.
                    source = if asked.sure { source } else { Source::Files };
                }
                None => {}
            }
        }
    }
    uids.truncate(MOST_MEMBERS);
    uids
}

pub fn account_by_name(host: &dyn Host, name: &str) -> Option<Account> {
    rows::<UserRow>(host, name, Source::Getent).account(|account| account.name == name)
}

/// Whether the account is in the group, as its primary group or as a member.
fn has_member(rows: &[GroupRow], account: &Account, group: &str) -> bool {
    rows.iter()
        .filter(|row| row.name == group)
        .any(|row| row.gid == Some(account.gid) || row.members.contains(&account.name))
}

struct Rows<T> {
    rows: Vec<T>,
    sure: bool,
}

impl Rows<UserRow> {
    fn account(&self, is_it: impl Fn(&Account) -> bool) -> Option<Account> {
        self.rows.iter().filter_map(account).find(is_it)
    }
}

fn rows<T: Row>(host: &dyn Host, key: &str, source: Source) -> Rows<T> {
    let asked = match source {
        Source::Files => return Rows { rows: in_file(host), sure: false },
        Source::Getent => getent::ask(host, key, TIMEOUT),
    };
    match asked {
        Answer::Found(rows) => Rows { rows, sure: true },
        Answer::NotThere => Rows { rows: Vec::new(), sure: true },
        Answer::Silent(_) => Rows { rows: in_file(host), sure: false },
        // Without getent the files are all there is.
        Answer::NoGetent => Rows { rows: in_file(host), sure: true },
    }
}

/// The rows of the file; none if it cannot be read.
fn in_file<T: Row>(host: &dyn Host) -> Vec<T> {
    getent::in_file(host).unwrap_or_default()
}

/// The account of a row; `None` if the row has no numbers.
fn account(row: &UserRow) -> Option<Account> {
    Some(Account { name: row.name.clone(), uid: row.uid?, gid: row.gid? })
}

#[cfg(test)]
mod tests {
    use super::super::FakeHost;
    use super::*;

    const GROUP: &str = "berth-admin";

    #[test]
    fn getent_is_asked_and_files_are_the_fallback() {
        let host = FakeHost::default()
            .with_output("getent passwd -- 1001", 0, "alice:x:1001:100:A:/home/alice:/bin/bash\n", "")
            .with_output("getent passwd -- 7", 2, "", "")
            .with_output("getent group -- berth-admin", 0, "berth-admin:x:990:bob,alice\n", "");
        let alice = member_by_uid(&host, 1001, GROUP, Source::Getent);
        let account = Account { name: "alice".into(), uid: 1001, gid: 100 };
        assert_eq!(alice, Member { account: Some(account), is_member: true, sure: true });
        let nobody = Member { account: None, is_member: false, sure: true };
        assert_eq!(member_by_uid(&host, 7, GROUP, Source::Getent), nobody);
        let lines = [GroupRow::parse("berth-admin:x:990:bob,alice")];
        let carol = Account { name: "carol".into(), uid: 1002, gid: 990 };
        assert!(has_member(&lines, &carol, GROUP), "by primary group");
        assert!(!has_member(&lines, &Account { gid: 1, ..carol }, GROUP));

        let files = FakeHost::default().with_file("/etc/passwd", "root:x:0:0:root:/root:/bin/bash\n");
        assert_eq!(account_by_name(&files, "root").map(|account| account.uid), Some(0));
    }

    #[test]
    fn an_account_is_in_some_groups_of_a_list() {
        let files = || {
            FakeHost::default()
                .with_file("/etc/passwd", "alice:x:1001:990::/:/bin/sh\n")
                .with_file("/etc/group", "staff:x:990:\nclass:x:991:alice\nother:x:992:bob\n")
        };
        let list = ["class", "other", "staff"].map(str::to_owned);
        let expected = ["class", "staff"].map(str::to_owned);
        // Without getent the files are all there is.
        let found = groups_of(&files(), 1001, &list, Source::Files);
        assert_eq!((found.names.as_slice(), found.sure), (expected.as_slice(), false));
        assert!(groups_of(&files(), 7, &list, Source::Files).names.is_empty());
        let host = files()
            .with_output("getent passwd -- 1001", 0, "alice:x:1001:990::/:/bin/sh\n", "")
            .with_output("getent group -- class", 0, "class:*:991:bob\n", "")
            .with_output("getent group -- other", 0, "other:*:992:alice\n", "")
            .with_output("getent group -- staff", 2, "", "");
        let found = groups_of(&host, 1001, &list, Source::Getent);
        assert_eq!((found.names.as_slice(), found.sure), (["other".to_owned()].as_slice(), true));
        assert_eq!(unknown_groups(&host, &list), ["staff"]);
        // The first that does not answer is the last that is asked.
        let hangs = files()
            .with_output("getent passwd -- 1001", 0, "alice:x:1001:990::/:/bin/sh\n", "")
            .with_hang("getent group -- class");
        let found = groups_of(&hangs, 1001, &list, Source::Getent);
        assert_eq!((found.names.as_slice(), found.sure), (expected.as_slice(), false));
        assert!(unknown_groups(&hangs, &list).is_empty());
    }

    #[test]
    fn who_is_in_a_group_is_known_before_they_come() {
        let passwd = "alice:x:1001:100::/:/bin/sh\nbob:x:1002:990::/:/bin/sh\nroot:x:0:0::/:/bin/sh\n";
        let files = || {
            FakeHost::default()
                .with_file("/etc/passwd", passwd)
                .with_file("/etc/group", "berth-admin-2:x:991:root\nberth-admin:x:990:alice,,nobody-knows\n")
        };
        assert_eq!(uids_in_group(&files(), GROUP, Source::Files), [1002, 1001]);
        // Members of the directory's; the second does not answer, and the third is not asked for.
        let host = files()
            .with_output("getent group -- berth-admin", 0, "berth-admin:*:990:dora,eve,fay,alice\n", "")
            .with_output("getent passwd -- dora", 0, "dora:*:70001:100::/:/bin/sh\n", "")
            .with_hang("getent passwd -- eve")
            .with_output("getent passwd -- fay", 0, "fay:*:70003:100::/:/bin/sh\n", "");
        assert_eq!(uids_in_group(&host, GROUP, Source::Getent), [1002, 70001, 1001]);
        let hangs = files().with_hang("getent group -- berth-admin");
        assert_eq!(uids_in_group(&hangs, GROUP, Source::Getent), [1002, 1001]);
        let many: Vec<String> = (0..1000).map(|number| format!("m{number}")).collect();
        let line = |number: u32| format!("m{number}:x:{}:1::/:/bin/sh\n", number + 2000);
        let crowd = (0..1000).map(line).collect::<Vec<_>>().concat();
        let host = FakeHost::default()
            .with_file("/etc/passwd", &crowd)
            .with_file("/etc/group", &format!("berth-admin:x:990:{}\n", many.join(",")));
        assert_eq!(uids_in_group(&host, GROUP, Source::Files).len(), MOST_MEMBERS);
    }

    #[test]
    fn a_directory_that_hangs_leaves_what_the_files_say() {
        let host = FakeHost::default()
            .with_file(
                "/etc/passwd",
                "alice:x:1001:100:A:/home/alice:/bin/bash\ndave:x:1002:100::/:/bin/sh\n",
            )
            .with_file("/etc/group", "berth-admin:x:990:alice\n")
            .with_hang("getent passwd -- 1001")
            .with_hang("getent passwd -- 1002")
            .with_hang("getent passwd -- 7");
        let look = |uid: u32| {
            let member = member_by_uid(&host, uid, GROUP, Source::Getent);
            (member.account.is_some(), member.is_member, member.sure)
        };
        assert_eq!(look(1001), (true, true, true), "a member by the files is one");
        assert_eq!(look(1002), (true, false, false), "the directory might say otherwise");
        assert_eq!(look(7), (false, false, false));
    }
}
