//! What is mounted in pid 1's namespace, and what is swapped to.

use super::fstab::unescape;
use crate::host::{Host, read_text};
use std::path::Path;

/// One line of mountinfo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountLine {
    /// `259:1`; btrfs and overlays have numbers of no device.
    pub device: String,
    pub target: String,
    pub options: Vec<String>,
    pub kind: String,
    pub source: String,
}

/// What the machine has mounted, whatever our own namespace shows.
pub fn gather(host: &dyn Host) -> Result<Vec<MountLine>, String> {
    gather_from(host, Path::new("/proc/1/mountinfo"))
}

/// What this process sees; anybody may ask.
pub fn gather_own(host: &dyn Host) -> Result<Vec<MountLine>, String> {
    gather_from(host, Path::new("/proc/self/mountinfo"))
}

fn gather_from(host: &dyn Host, path: &Path) -> Result<Vec<MountLine>, String> {
    let text =
        read_text(host, path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    parse(&text)
}

pub fn parse(text: &str) -> Result<Vec<MountLine>, String> {
    text.lines()
        .map(|line| {
            parse_line(line).ok_or_else(|| {
                format!("mountinfo has a line `{}`", line.chars().take(200).collect::<String>())
            })
        })
        .collect()
}

/// `36 35 98:0 /root /target rw,noatime master:1 - ext3 /dev/root rw,errors=continue`, as proc(5) describes it.
fn parse_line(line: &str) -> Option<MountLine> {
    let (before, after) = line.split_once(" - ")?;
    let mut before = before.split(' ').skip(2);
    let device = before.next()?.to_owned();
    let target = unescape(before.nth(1)?);
    let options = before.next()?;
    let mut after = after.split(' ');
    let (kind, source) = (after.next()?.to_owned(), unescape(after.next()?));
    let options = options.split(',').chain(after.next().unwrap_or("").split(','));
    let options = options.filter(|option| !option.is_empty()).map(str::to_owned).collect();
    Some(MountLine { device, target, options, kind, source })
}

/// Devices and files that are swapped to.
pub fn gather_swaps(host: &dyn Host) -> Result<Vec<String>, String> {
    let text = read_text(host, Path::new("/proc/swaps"))
        .map_err(|error| format!("/proc/swaps cannot be read: {error}"))?;
    Ok(text.lines().skip(1).filter_map(|line| line.split_whitespace().next()).map(unescape).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_mountinfo_is_read() {
        let found = parse(
            "25 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
             40 25 0:31 / /my\\040data rw,noatime - btrfs /dev/nvme0n1 rw,space_cache\n",
        )
        .unwrap();
        assert_eq!((found[0].device.as_str(), found[0].target.as_str()), ("254:0", "/"));
        assert_eq!((found[1].target.as_str(), found[1].source.as_str()), ("/my data", "/dev/nvme0n1"));
        assert_eq!(found[1].options, ["rw", "noatime", "rw", "space_cache"]);
        assert!(parse("nonsense\n").is_err());
    }
}
