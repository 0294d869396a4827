//! What is mounted, and what /etc/fstab says is to be.

use crate::host::{Host, read_text};
use crate::model::check_facts::{FstabLine, Mounted};
use std::io::ErrorKind;
use std::path::Path;

pub fn gather_mounts(host: &dyn Host) -> Result<Vec<Mounted>, String> {
    let text = read_text(host, Path::new("/proc/self/mounts"))
        .map_err(|error| format!("/proc/self/mounts cannot be read: {error}"))?;
    Ok(parse_mounts(&text))
}

pub fn parse_mounts(text: &str) -> Vec<Mounted> {
    text.lines().filter_map(mounted).collect()
}

fn mounted(line: &str) -> Option<Mounted> {
    let mut words = line.split_whitespace();
    Some(Mounted {
        source: unescape(words.next()?),
        target: unescape(words.next()?),
        fs_type: words.next()?.to_owned(),
        options: words.next()?.split(',').map(str::to_owned).collect(),
    })
}

/// A machine without the file mounts nothing by it.
pub fn gather_fstab(host: &dyn Host) -> Result<Vec<FstabLine>, String> {
    match read_text(host, Path::new("/etc/fstab")) {
        Ok(text) => Ok(parse_fstab(&text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(format!("/etc/fstab cannot be read: {error}")),
    }
}

pub fn parse_fstab(text: &str) -> Vec<FstabLine> {
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(number, line)| entry(number, line))
        .collect()
}

/// fstab(5): three fields at least, and six at most.
fn entry(number: usize, line: &str) -> FstabLine {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [source, target, fs_type, rest @ ..] = words.as_slice() else {
        return broken(number, "it has less than three fields");
    };
    if rest.len() > 3 {
        return broken(number, "it has more than six fields");
    }
    let target = unescape(target);
    if !target.starts_with('/') && !matches!(target.as_str(), "none" | "swap") {
        return broken(number, "its mount point is no absolute path");
    }
    FstabLine {
        number,
        source: unescape(source),
        target,
        fs_type: (*fs_type).to_owned(),
        options: rest.first().unwrap_or(&"defaults").split(',').map(str::to_owned).collect(),
        broken: None,
    }
}

fn broken(number: usize, why: &str) -> FstabLine {
    FstabLine {
        number,
        source: String::new(),
        target: String::new(),
        fs_type: String::new(),
        options: Vec::new(),
        broken: Some(why.to_owned()),
    }
}

/// The kernel and fstab write a space as `\040`.
fn unescape(field: &str) -> String {
    field.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_and_entries_are_read() {
        let mounts = parse_mounts(
            "/dev/sda2 / ext4 rw,relatime 0 0\n/dev/x /my\\040data xfs rw,prjquota 0 0\nshort\n",
        );
        assert_eq!((mounts.len(), mounts[1].target.as_str()), (2, "/my data"));
        let lines =
            parse_fstab("# c\n\nUUID=1 / ext4 defaults 0 1\nUUID=2 none swap sw\nx y\n/dev/sdb data xfs\n");
        assert_eq!(lines.iter().map(|line| line.number).collect::<Vec<_>>(), [3, 4, 5, 6]);
        assert!(lines[2].broken.is_some() && lines[3].broken.as_deref().unwrap().contains("absolute"));
    }
}
