//! /etc/fstab as text and as entries. A line that cannot be parsed is an error that names it, and is never skipped.

use crate::host::{Host, mountinfo};
use crate::model::observed::{Fstab, FstabEntry, FstabError};
use std::io::ErrorKind;
use std::path::Path;

pub const PATH: &str = "/etc/fstab";

pub fn gather(host: &dyn Host) -> Result<Fstab, String> {
    match host.read(Path::new(PATH)) {
        Ok(bytes) => Ok(parse_bytes(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Fstab::default()),
        Err(error) => Err(format!("{PATH} cannot be read: {error}")),
    }
}

/// Bytes of another encoding cannot be written back as they were, and so the file cannot be edited.
fn parse_bytes(bytes: Vec<u8>) -> Fstab {
    let error = match String::from_utf8(bytes) {
        Ok(text) => return parse(&text),
        Err(error) => error,
    };
    let (before, bytes) = (error.utf8_error().valid_up_to(), error.as_bytes());
    let line = bytes.iter().take(before).filter(|byte| **byte == b'\n').count() + 1;
    let text = String::from_utf8_lossy(bytes);
    let text = text.lines().nth(line - 1).unwrap_or_default().chars().take(200).collect();
    Fstab { error: Some(FstabError { line, text, why: "it is not UTF-8".to_owned() }), ..Fstab::default() }
}

pub fn parse(text: &str) -> Fstab {
    let mut fstab = Fstab { text: text.to_owned(), ..Fstab::default() };
    for (index, line) in text.lines().enumerate() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        match parse_line(index + 1, trimmed) {
            Ok(entry) => fstab.entries.push(entry),
            Err(why) => {
                let text = trimmed.chars().take(200).collect();
                fstab.error.get_or_insert(FstabError { line: index + 1, text, why: why.to_owned() });
            }
        }
    }
    fstab
}

/// As fstab(5): device, mount point, type, and where they are given options and two numbers.
fn parse_line(line: usize, text: &str) -> Result<FstabEntry, &'static str> {
    let fields: Vec<&str> = text.split_whitespace().collect();
    let [spec, target, kind, rest @ ..] = fields.as_slice() else {
        return Err("it has less than three fields");
    };
    // Behind the sixth field mount reads nothing, and some people write a comment there.
    if rest.get(3).is_some_and(|field| !field.starts_with('#')) {
        return Err("it has more than six fields");
    }
    let target = tidy(&unescape(target));
    if !target.starts_with('/') && !matches!(target.as_str(), "none" | "swap") {
        return Err("the mount point is no absolute path");
    }
    if rest.iter().skip(1).take(2).any(|number| number.parse::<u32>().is_err()) {
        return Err("the fifth and the sixth field must be numbers");
    }
    let options = rest.first().unwrap_or(&"defaults").split(',').map(str::to_owned).collect();
    Ok(FstabEntry { line, spec: unescape(spec), target, kind: (*kind).to_owned(), options })
}

/// The same path in its short form: `/data/`, `//data` and `/srv/../data` are `/data`. Links are not followed: one on a
/// network file system whose server does not answer would hang us.
fn tidy(target: &str) -> String {
    if !target.starts_with('/') {
        return target.to_owned();
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// `\040` is a space, `\011` a tab, `\134` a backslash. mountinfo uses the same.
pub fn unescape(field: &str) -> String {
    String::from_utf8_lossy(&mountinfo::unescape(field)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read() {
        let fstab = parse(
            "# comment\n\nUUID=1 / ext4 errors=remount-ro 0 1\n/dev/sdb1\t/my\\040data xfs\nLABEL=s none swap sw\n",
        );
        assert_eq!(fstab.error, None);
        let targets: Vec<&str> = fstab.entries.iter().map(|entry| entry.target.as_str()).collect();
        assert_eq!(targets, ["/", "/my data", "none"]);
        assert_eq!(fstab.entries[1].options, ["defaults"]);
        assert_eq!(fstab.entries[0].line, 3);
        for (written, meant) in
            [("/data/", "/data"), ("//data/.", "/data"), ("/srv/../data", "/data"), ("/", "/"), ("/..", "/")]
        {
            assert_eq!(parse(&format!("LABEL=x {written} xfs\n")).entries[0].target, meant, "{written}");
        }
    }

    #[test]
    fn a_line_that_is_no_entry_is_named() {
        for (text, why) in [
            ("UUID=1 /data\n", "less than three"),
            ("UUID=1 data xfs defaults 0 0\n", "absolute"),
            ("UUID=1 /data xfs defaults 0 0 mine\n", "more than six"),
            ("UUID=1 /data xfs defaults # mine\n", "numbers"),
            ("UUID=1 /data xfs defaults no 0\n", "numbers"),
        ] {
            let error = parse(&format!("/dev/vda / ext4\n{text}")).error.unwrap();
            assert_eq!(error.line, 2);
            assert!(error.why.contains(why), "{}", error.why);
        }
        let error = parse_bytes(b"/dev/vda / ext4\n//nas/\xb5\xb5 /mnt cifs\n".to_vec()).error.unwrap();
        assert_eq!((error.line, error.why.as_str()), (2, "it is not UTF-8"));
        assert_eq!(parse("UUID=1 /data xfs defaults 0 0 # mine\n").error, None);
    }
}
