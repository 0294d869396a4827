//! Free room on local file systems, from df. Network file systems are left out: one that hangs would hang us.

use crate::host::{Host, Tool};
use crate::model::check_facts::Space;

const COLUMNS: &str = "--output=source,fstype,size,avail,itotal,iavail,target";

pub fn gather(host: &dyn Host) -> Result<Vec<Space>, String> {
    // 1: a file system that this user may not look into; the others are told.
    let cmd = Tool::Df.cmd().args(["--local", "--block-size=1", COLUMNS]).allow_exits(&[1]);
    let output = host.run(&cmd).map_err(|error| error.to_string())?;
    let found = parse(&output.stdout);
    if found.is_empty() { Err("df printed no file system".into()) } else { Ok(found) }
}

pub fn parse(text: &str) -> Vec<Space> {
    text.lines().skip(1).filter_map(line).collect()
}

fn line(line: &str) -> Option<Space> {
    let mut words = line.split_whitespace();
    // A file system that counts no inodes has a dash.
    let number = |word: Option<&str>| word.map(|word| word.parse().unwrap_or(0));
    Some(Space {
        source: words.next()?.to_owned(),
        fs_type: words.next()?.to_owned(),
        size: words.next()?.parse().ok()?,
        available: words.next()?.parse().ok()?,
        inodes: number(words.next())?,
        inodes_free: number(words.next())?,
        target: words.collect::<Vec<_>>().join(" "),
    })
    .filter(|space| space.target.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_and_others_left_out() {
        let found = parse(
            "Filesystem Type 1B-blocks Avail Inodes IFree Mounted on\n\
             /dev/sda2 ext4 478000000000 400000000000 29000000 28000000 /\n\
             /dev/mapper/vg-data btrfs 100 50 - - /my data\n\
             df: x\nnonsense\n",
        );
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].target.as_str(), found[0].inodes_free), ("/", 28_000_000));
        assert_eq!((found[1].target.as_str(), found[1].inodes), ("/my data", 0));
    }
}
