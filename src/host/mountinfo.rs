//! The one reader of mountinfo lines. Other modules make their own types from it.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

/// As it stands there: spaces and their like are three octal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// Of this mount and no other, in whatever namespace.
    pub id: u64,
    /// `259:1`
    pub device: &'a str,
    pub root: &'a str,
    pub target: &'a str,
    /// Of the mount itself.
    pub options: &'a str,
    /// What is mounted above it elsewhere later comes here too.
    pub is_slave: bool,
    pub kind: &'a str,
    pub source: &'a str,
    /// Of the file system.
    pub super_options: &'a str,
}

impl<'a> Line<'a> {
    /// `36 35 98:0 /root /target rw,noatime master:1 - ext3 /dev/root rw,errors=continue`, as proc(5) describes it.
    pub fn parse(line: &'a str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ');
        let id = before.next()?.parse().ok()?;
        let mut before = before.skip(1);
        let (device, root, target) = (before.next()?, before.next()?, before.next()?);
        let options = before.next()?;
        let is_slave = before.any(|field| field.starts_with("master:"));
        let mut after = after.split(' ');
        let (kind, source) = (after.next()?, after.next()?);
        let super_options = after.next().unwrap_or_default();
        Some(Self { id, device, root, target, options, is_slave, kind, source, super_options })
    }

    pub fn target_path(&self) -> PathBuf {
        OsString::from_vec(unescape(self.target)).into()
    }

    pub fn has_option(&self, wanted: &str) -> bool {
        self.options.split(',').any(|option| option == wanted)
    }
}

/// All lines that can be read.
pub fn lines(text: &str) -> impl DoubleEndedIterator<Item = Line<'_>> {
    text.lines().filter_map(Line::parse)
}

/// The kernel writes space, tab, newline and backslash as three octal digits; fstab does too.
pub fn unescape(field: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let octal = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = octal.filter(|_| *first == b'\\').and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { after.get(3..).unwrap_or_default() } else { after };
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_whole_or_not_at_all() {
        let text = "36 35 98:0 /a\\040b /home/x\\043y rw,noatime shared:1 master:2 - ext3 /dev/root rw,errors=continue";
        let line = Line::parse(text).unwrap();
        assert_eq!((line.id, line.device, line.root), (36, "98:0", "/a\\040b"));
        assert_eq!(line.target_path(), PathBuf::from("/home/x#y"));
        assert!(line.is_slave && line.has_option("noatime") && !line.has_option("errors=continue"));
        assert_eq!((line.kind, line.source, line.super_options), ("ext3", "/dev/root", "rw,errors=continue"));
        let short = Line::parse("1 0 0:1 / / rw - tmpfs none").unwrap();
        assert!(!short.is_slave && short.super_options.is_empty());
        for bad in [
            "",
            "bad",
            "x 0 0:1 / / rw - tmpfs none",
            "1 0 0:1 / / - tmpfs none",
            "1 0 0:1 / / rw tmpfs none",
        ] {
            assert_eq!(Line::parse(bad), None, "{bad}");
        }
        assert_eq!(lines("bad\n1 0 0:1 / / rw - tmpfs none\n").count(), 1);
    }

    #[test]
    fn octal_digits_are_bytes() {
        assert_eq!(unescape("a\\04"), b"a\\04");
        assert_eq!(unescape("\\134é"), "\\é".as_bytes());
        assert_eq!(unescape("\\134040"), b"\\040");
    }
}
