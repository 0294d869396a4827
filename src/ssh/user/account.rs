//! Which account a session runs as. Pure: works on the text of the image's `/etc/passwd` and `/etc/group`.
//!
//! The files are read directly: a static program has no NSS, and an image need not have a libc.

use crate::error::Fault;
use crate::model::name::check_account_name;
use crate::model::session::SessionConfig;
use std::path::PathBuf;

/// The session user, as the image describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups, without `gid`, ascending.
    pub groups: Vec<u32>,
    /// `None`: the image does not say.
    pub home: Option<PathBuf>,
    pub shell: Option<PathBuf>,
}

pub(in crate::ssh) struct Entry<'a> {
    pub(in crate::ssh) name: &'a str,
    pub(in crate::ssh) uid: u32,
    gid: u32,
    pub(in crate::ssh) home: &'a str,
    shell: &'a str,
}

pub(in crate::ssh) fn entries(passwd: &str) -> impl Iterator<Item = Entry<'_>> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        let home = fields.nth(1).unwrap_or("");
        Some(Entry { name, uid, gid, home, shell: fields.next().unwrap_or("").trim_end() })
    })
}

/// `(name, gid, members)` of each line.
pub(in crate::ssh) fn group_entries(group: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    group.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some((name, gid, fields.next().unwrap_or("").trim_end()))
    })
}

/// The gid of a group by its name.
pub(in crate::ssh) fn group_id(group: &str, name: &str) -> Option<u32> {
    group_entries(group).find(|entry| entry.0 == name).map(|entry| entry.1)
}

impl Account {
    /// The first of `users` that exists, else the image's `USER`, else root.
    ///
    /// A `USER` that the image does not have is refused: falling back to root would give more than was asked for.
    pub fn choose(config: &SessionConfig, passwd: &str, group: &str) -> Result<Self, Fault> {
        let known = config.users.iter().find_map(|name| entries(passwd).find(|entry| entry.name == name));
        let mut account = match (known, config.image_user.as_deref().filter(|user| !user.is_empty())) {
            (Some(entry), _) => Self::of_entry(&entry, group),
            (None, Some(user)) => Self::of_image_user(user, passwd, group)?,
            (None, None) => Self::root(passwd, group),
        };
        check_account_name(&account.name)
            .map_err(|reason| Fault::host(format!("the image's user is refused: {reason}")))?;
        account.groups.extend(&config.groups);
        account.groups.retain(|gid| *gid != account.gid);
        account.groups.sort_unstable();
        account.groups.dedup();
        Ok(account)
    }

    fn of_entry(entry: &Entry<'_>, group: &str) -> Self {
        let is_member = |members: &str| members.split(',').any(|member| member == entry.name);
        Self {
            name: entry.name.to_owned(),
            uid: entry.uid,
            gid: entry.gid,
            groups: group_entries(group).filter(|found| is_member(found.2)).map(|found| found.1).collect(),
            home: Some(entry.home).filter(|home| home.starts_with('/')).map(PathBuf::from),
            shell: Some(entry.shell).filter(|shell| shell.starts_with('/')).map(PathBuf::from),
        }
    }

    fn root(passwd: &str, group: &str) -> Self {
        entries(passwd).find(|entry| entry.uid == 0).map_or_else(
            || Self { name: "root".into(), uid: 0, gid: 0, groups: Vec::new(), home: None, shell: None },
            |entry| Self::of_entry(&entry, group),
        )
    }

    /// As Docker reads `USER`: names win over numbers; a group takes the place of the user's own groups.
    fn of_image_user(user: &str, passwd: &str, group: &str) -> Result<Self, Fault> {
        let (user, wanted_group) =
            user.split_once(':').map_or((user, None), |(user, group)| (user, Some(group)));
        let number: Option<u32> = user.parse().ok();
        let entry = entries(passwd)
            .find(|entry| entry.name == user)
            .or_else(|| entries(passwd).find(|entry| Some(entry.uid) == number));
        let mut account = match (entry, number) {
            (Some(entry), _) => Self::of_entry(&entry, group),
            (None, Some(0)) => Self::root(passwd, group),
            (None, Some(uid)) => {
                Self { name: uid.to_string(), uid, gid: 0, groups: Vec::new(), home: None, shell: None }
            }
            (None, None) => {
                return Err(Fault::host(format!("the image's user {user:?} is not in its /etc/passwd")));
            }
        };
        if let Some(wanted) = wanted_group.filter(|wanted| !wanted.is_empty()) {
            account.gid = group_id(group, wanted).or_else(|| wanted.parse().ok()).ok_or_else(|| {
                Fault::host(format!("the image's group {wanted:?} is not in its /etc/group"))
            })?;
            account.groups.clear();
        }
        Ok(account)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\nma-user:x:1000:100::/home/ma-user:/bin/bash\n\
                          broken\n:x:5:5::/:\nno:x:many:1::/:\ncn:x:1001:1001:中文:/home/cn\n";
    const GROUP: &str = "root:x:0:\nusers:x:100:\nHwHiAiUser:x:1500:ma-user,cn\ndocker:x:999:cn\nbad\n";

    fn choose(users: &[&str], image_user: Option<&str>) -> Result<Account, Fault> {
        let config = SessionConfig {
            users: users.iter().map(ToString::to_string).collect(),
            image_user: image_user.map(str::to_owned),
            groups: vec![1500, 7, 100],
            ..SessionConfig::default()
        };
        Account::choose(&config, PASSWD, GROUP)
    }

    #[test]
    fn the_first_user_that_exists_wins() {
        let account = choose(&["absent", "ma-user", "root"], Some("cn")).unwrap();
        assert_eq!((account.name.as_str(), account.uid, account.gid), ("ma-user", 1000, 100));
        assert_eq!(account.groups, [7, 1500]);
        assert_eq!(account.home.unwrap(), PathBuf::from("/home/ma-user"));
    }

    #[test]
    fn the_image_user_is_read_as_docker_reads_it() {
        for (user, name, uid, gid, groups) in [
            ("cn", "cn", 1001, 1001, vec![7, 100, 999, 1500]),
            ("1000", "ma-user", 1000, 100, vec![7, 1500]),
            ("cn:users", "cn", 1001, 100, vec![7, 1500]),
            ("4242:77", "4242", 4242, 77, vec![7, 100, 1500]),
            ("4242", "4242", 4242, 0, vec![7, 100, 1500]),
            ("", "root", 0, 0, vec![7, 100, 1500]),
        ] {
            let account = choose(&[], Some(user)).unwrap();
            assert_eq!((account.name.as_str(), account.uid, account.gid), (name, uid, gid), "{user}");
            assert_eq!(account.groups, groups, "{user}");
        }
    }

    #[test]
    fn a_user_that_the_image_does_not_have_never_becomes_root() {
        assert_eq!(
            choose(&["absent"], Some("ghost")).unwrap_err().message,
            "the image's user \"ghost\" is not in its /etc/passwd"
        );
        assert!(choose(&[], Some("cn:nogroup")).is_err());
    }

    #[test]
    fn a_name_that_could_be_an_option_is_refused() {
        for name in ["-oProxyCommand=evil", "a b", "\u{1b}[2J"] {
            let passwd = format!("{name}:x:0:0::/root:/bin/sh\n");
            let fault = Account::choose(&SessionConfig::default(), &passwd, "").unwrap_err();
            assert!(fault.message.starts_with("the image's user is refused: account name"), "{fault:?}");
            assert!(!fault.message.contains('\u{1b}'));
        }
    }

    #[test]
    fn an_image_without_passwd_has_root() {
        let account = Account::choose(&SessionConfig::default(), "", "").unwrap();
        assert_eq!((account.name.as_str(), account.uid, account.gid, account.home), ("root", 0, 0, None));
    }
}
