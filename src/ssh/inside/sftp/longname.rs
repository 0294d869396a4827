//! The line of `ls -l` that goes with each name of a directory, and the names of users and groups in it.

use crate::ssh::user::{account, image};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use rustix::fs::{FileType, Stat};
use std::collections::HashMap;
use std::path::Path;

/// Older than half a year: the year is told, not the time.
const HALF_A_YEAR: i64 = 365 * 24 * 60 * 60 / 2;

/// Longer ones are no names that anybody gave.
const LONGEST_NAME: usize = 64;

/// Names by numbers as the image has them, read when the first is asked for and then kept.
pub(super) struct Names {
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
    zone: TimeZone,
}

impl Names {
    pub(super) fn read() -> Self {
        let table = |path: &str| image::read_table(Path::new(path)).unwrap_or_default();
        let (passwd, group) = (table("/etc/passwd"), table("/etc/group"));
        let users = first_names(account::entries(&passwd).map(|entry| (entry.uid, entry.name)));
        let groups = first_names(account::group_entries(&group).map(|(name, gid, _)| (gid, name)));
        Self { users, groups, zone: TimeZone::system() }
    }

    pub(super) fn user(&self, uid: u32) -> Option<&str> {
        self.users.get(&uid).map(String::as_str)
    }

    pub(super) fn group(&self, gid: u32) -> Option<&str> {
        self.groups.get(&gid).map(String::as_str)
    }

    /// `-rw-r--r--    1 anna     users        1234 Jan  1 12:00 ` and the name's bytes.
    pub(super) fn line(&self, name: &[u8], stat: &Stat) -> Vec<u8> {
        // Now, not when the session began: an editor's lasts for days.
        self.line_at(Timestamp::now().as_second(), name, stat)
    }

    fn line_at(&self, now: i64, name: &[u8], stat: &Stat) -> Vec<u8> {
        let named = |name: Option<&str>, id: u32| name.map_or_else(|| id.to_string(), str::to_owned);
        let mut line = format!(
            "{} {:>3} {:<8} {:<8} {:>8} {} ",
            mode_text(stat.st_mode),
            stat.st_nlink,
            named(self.user(stat.st_uid), stat.st_uid),
            named(self.group(stat.st_gid), stat.st_gid),
            stat.st_size,
            self.time(now, stat.st_mtime),
        )
        .into_bytes();
        line.extend_from_slice(name);
        line
    }

    fn time(&self, now: i64, seconds: i64) -> String {
        let Ok(time) = Timestamp::from_second(seconds) else { return "?".to_owned() };
        let age = now.saturating_sub(seconds);
        let format = if (0..HALF_A_YEAR).contains(&age) { "%b %e %H:%M" } else { "%b %e  %Y" };
        time.to_zoned(self.zone.clone()).strftime(format).to_string()
    }
}

/// Of several names for one number the first counts, as for the C library.
fn first_names<'a>(entries: impl Iterator<Item = (u32, &'a str)>) -> HashMap<u32, String> {
    let mut names = HashMap::new();
    for (id, name) in entries.filter(|(_, name)| name.len() <= LONGEST_NAME) {
        names.entry(id).or_insert_with(|| name.to_owned());
    }
    names
}

/// The home of a user by name, from the image's table.
pub(super) fn home_of(user: &[u8]) -> Option<Vec<u8>> {
    let table = image::read_table(Path::new("/etc/passwd")).ok()?;
    account::entries(&table)
        .find(|entry| entry.name.as_bytes() == user && entry.home.starts_with('/'))
        .map(|entry| entry.home.as_bytes().to_vec())
}

/// `drwxr-xr-t`.
fn mode_text(mode: u32) -> String {
    let kind = match FileType::from_raw_mode(mode) {
        FileType::Directory => 'd',
        FileType::Symlink => 'l',
        FileType::Fifo => 'p',
        FileType::Socket => 's',
        FileType::CharacterDevice => 'c',
        FileType::BlockDevice => 'b',
        _ => '-',
    };
    let mut text = String::from(kind);
    // Of the owner with setuid, of the group with setgid, of the others with the sticky bit.
    for (shift, special, marks) in [(6, 0o4000, ['s', 'S']), (3, 0o2000, ['s', 'S']), (0, 0o1000, ['t', 'T'])]
    {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (mode & special != 0, bits & 1 != 0) {
            (true, true) => marks[0],
            (true, false) => marks[1],
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_read_as_ls_writes_them() {
        for (mode, text) in [
            (0o100_644, "-rw-r--r--"),
            (0o041_777, "drwxrwxrwt"),
            (0o041_770, "drwxrwx--T"),
            (0o106_755, "-rwsr-sr-x"),
            (0o120_777, "lrwxrwxrwx"),
            (0o010_600, "prw-------"),
        ] {
            assert_eq!(mode_text(mode), text);
        }
    }

    #[test]
    fn a_line_has_names_or_numbers_and_a_time_or_a_year() {
        const NOW: i64 = 1_700_000_000;
        let names =
            Names { users: [(5, "anna".to_owned())].into(), groups: HashMap::new(), zone: TimeZone::UTC };
        let mut stat = rustix::fs::stat("/").unwrap();
        (stat.st_mode, stat.st_uid, stat.st_gid, stat.st_size) = (0o100_640, 5, 4242, 123);
        (stat.st_nlink, stat.st_mtime) = (1, NOW - 60);
        let line = names.line_at(NOW, b"\xd6\xd0", &stat);
        assert_eq!(line, b"-rw-r-----   1 anna     4242          123 Nov 14 22:12 \xd6\xd0");
        // Written after the names were read: no time to come.
        assert!(names.line_at(NOW + HALF_A_YEAR, b"x", &stat).ends_with(b" Nov 14  2023 x"));
        stat.st_mtime = Timestamp::now().as_second();
        assert!(!names.line(b"x", &stat).ends_with(b" x") || names.line(b"x", &stat).contains(&b':'));
        stat.st_mtime = 0;
        assert!(names.line(b"x", &stat).ends_with(b" Jan  1  1970 x"));
        stat.st_mtime = i64::MAX;
        assert!(names.line(b"x", &stat).ends_with(b" ? x"));
    }
}
