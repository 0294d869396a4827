//! Accounts and groups of the host. A static program cannot load NSS modules, so `getent` is asked:
//! accounts may come from LDAP. Where there is no getent, the files are read.

use super::{Host, Tool, read_text};
use std::path::Path;

/// Exit status of getent for a key that it does not know.
const UNKNOWN_KEY: i32 = 2;

/// An account's name and primary group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
}

pub fn account_by_uid(host: &dyn Host, uid: u32) -> Option<Account> {
    entries(host, "passwd", &uid.to_string())
        .iter()
        .filter_map(|line| parse_account(line))
        .find(|a| a.uid == uid)
}

pub fn account_by_name(host: &dyn Host, name: &str) -> Option<Account> {
    entries(host, "passwd", name).iter().filter_map(|line| parse_account(line)).find(|a| a.name == name)
}

/// Whether an account is in a group, as its primary group or as a member.
pub fn is_member(host: &dyn Host, account: &Account, group: &str) -> bool {
    entries(host, "group", group).iter().any(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        match fields.as_slice() {
            [name, _, gid, members, ..] if *name == group => {
                gid.parse() == Ok(account.gid) || members.split(',').any(|member| member == account.name)
            }
            _ => false,
        }
    })
}

fn entries(host: &dyn Host, database: &str, key: &str) -> Vec<String> {
    let asked = host.run(&Tool::Getent.cmd().arg(database).arg("--").arg(key).allow_exits(&[UNKNOWN_KEY]));
    let text = match asked {
        Ok(output) => output.stdout,
        Err(_) => read_text(host, &Path::new("/etc").join(database)).unwrap_or_default(),
    };
    text.lines().map(str::to_owned).collect()
}

fn parse_account(line: &str) -> Option<Account> {
    let mut fields = line.split(':');
    let name = fields.next()?.to_owned();
    let uid = fields.nth(1)?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    Some(Account { name, uid, gid })
}

#[cfg(test)]
mod tests {
    use super::super::FakeHost;
    use super::*;

    #[test]
    fn getent_is_asked_and_files_are_the_fallback() {
        let host = FakeHost::default()
            .with_output("getent passwd -- 1001", 0, "alice:x:1001:100:A:/home/alice:/bin/bash\n", "")
            .with_output("getent passwd -- 7", 2, "", "")
            .with_output("getent group -- berth-admin", 0, "berth-admin:x:990:bob,alice\n", "");
        let alice = account_by_uid(&host, 1001).unwrap();
        assert_eq!(alice, Account { name: "alice".into(), uid: 1001, gid: 100 });
        assert_eq!(account_by_uid(&host, 7), None);
        assert!(is_member(&host, &alice, "berth-admin"));
        let carol = Account { name: "carol".into(), uid: 1002, gid: 990 };
        assert!(is_member(&host, &carol, "berth-admin"), "by primary group");
        assert!(!is_member(&host, &Account { gid: 1, ..carol }, "berth-admin"));

        let files = FakeHost::default().with_file("/etc/passwd", "root:x:0:0:root:/root:/bin/bash\n");
        assert_eq!(account_by_name(&files, "root").map(|account| account.uid), Some(0));
    }
}
