//! The one reader of accounts and groups of the host. It runs `getent`, because accounts may come from LDAP and a
//! static program cannot load NSS modules. If getent does not answer, the caller decides whether the files count.

use super::{Host, RunError, Tool, read_text};
use std::io;
use std::path::Path;
use std::time::Duration;

/// Exit status of getent for a key that it does not know.
const UNKNOWN_KEY: i32 = 2;

/// A line of a database. What is not there, or no number, is `None`: anybody may have written the file.
pub trait Row: Sized {
    /// As getent calls it; the file of it is in /etc.
    const DATABASE: &'static str;
    fn parse(line: &str) -> Self;
}

/// A line of `passwd`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRow {
    pub name: String,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
}

/// A line of `group`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupRow {
    pub name: String,
    pub gid: Option<u32>,
    /// Not those whose primary group it is.
    pub members: Vec<String>,
}

/// What getent says of one key.
#[derive(Debug)]
pub enum Answer<T> {
    Found(Vec<T>),
    NotThere,
    /// It did not answer, or failed. The directory service may have the key.
    Silent(RunError),
    /// This machine has no getent: the files are all there is.
    NoGetent,
}

/// Asks for a name or a number.
pub fn ask<T: Row>(host: &dyn Host, key: &str, timeout: Duration) -> Answer<T> {
    let cmd = Tool::Getent.cmd().args([T::DATABASE, "--", key]).allow_exits(&[UNKNOWN_KEY]);
    match host.run(&cmd.timeout(timeout)) {
        Ok(output) if output.status == UNKNOWN_KEY => Answer::NotThere,
        Ok(output) => Answer::Found(rows(&output.stdout)),
        Err(RunError::Missing { .. }) => Answer::NoGetent,
        Err(error) => Answer::Silent(error),
    }
}

/// All that the node's own file has.
pub fn in_file<T: Row>(host: &dyn Host) -> io::Result<Vec<T>> {
    read_text(host, &Path::new("/etc").join(T::DATABASE)).map(|text| rows(&text))
}

fn rows<T: Row>(text: &str) -> Vec<T> {
    text.lines().map(T::parse).collect()
}

impl Row for UserRow {
    const DATABASE: &'static str = "passwd";

    /// `name:password:uid:gid:…`
    fn parse(line: &str) -> Self {
        let mut fields = line.split(':');
        let name = fields.next().unwrap_or_default().to_owned();
        let uid = fields.nth(1).and_then(|field| field.parse().ok());
        let gid = fields.next().and_then(|field| field.parse().ok());
        Self { name, uid, gid }
    }
}

impl Row for GroupRow {
    const DATABASE: &'static str = "group";

    /// `name:password:gid:member,member`
    fn parse(line: &str) -> Self {
        let mut fields = line.split(':');
        let name = fields.next().unwrap_or_default().to_owned();
        let gid = fields.nth(1).and_then(|field| field.parse().ok());
        let members = fields.next().unwrap_or_default().split(',').filter(|member| !member.is_empty());
        Self { name, gid, members: members.map(str::to_owned).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::FakeHost;
    use super::*;

    const SOON: Duration = Duration::from_secs(3);

    #[test]
    fn a_line_is_read_as_far_as_it_goes() {
        let row = |name: &str, uid, gid| UserRow { name: name.into(), uid, gid };
        assert_eq!(
            UserRow::parse("alice:x:1001:100:A:/home/alice:/bin/sh"),
            row("alice", Some(1001), Some(100))
        );
        assert_eq!(UserRow::parse("bob:x:many:100"), row("bob", None, Some(100)));
        assert_eq!(UserRow::parse(""), row("", None, None));
        let row = |gid, members: &[&str]| GroupRow {
            name: "g".into(),
            gid,
            members: members.iter().map(|member| (*member).to_owned()).collect(),
        };
        assert_eq!(GroupRow::parse("g:x:990:bob,,alice"), row(Some(990), &["bob", "alice"]));
        assert_eq!(
            (GroupRow::parse("g:x:990:"), GroupRow::parse("g")),
            (row(Some(990), &[]), row(None, &[]))
        );
    }

    #[test]
    fn no_such_key_no_answer_and_no_getent_are_three_things() {
        let host = FakeHost::default()
            .with_output("getent group -- g", 0, "g:x:990:alice\n", "")
            .with_output("getent group -- h", 2, "", "")
            .with_output("getent group -- i", 1, "", "no such database")
            .with_hang("getent group -- j")
            .with_missing("getent group -- k")
            .with_file("/etc/group", "g:x:990:alice\nk:x:7:\n");
        let asked = |key: &str| ask::<GroupRow>(&host, key, SOON);
        assert!(matches!(asked("g"), Answer::Found(rows) if rows.len() == 1 && rows[0].members == ["alice"]));
        assert!(matches!(asked("h"), Answer::NotThere));
        assert!(matches!(asked("i"), Answer::Silent(_)) && matches!(asked("j"), Answer::Silent(_)));
        assert!(matches!(asked("k"), Answer::NoGetent));
        assert_eq!(in_file::<GroupRow>(&host).unwrap()[1].gid, Some(7));
        assert!(in_file::<UserRow>(&host).is_err());
    }
}
