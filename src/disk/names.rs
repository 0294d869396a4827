//! Names of disks as people type them, and the disks that they mean.

use crate::model::observed::Observed;
use crate::plan::Part;

pub(super) const HELP: &str = "berth facts shows serial numbers; a WWID or a name in /dev/disk/by-id names a disk without one of its own";

/// What was typed after `option`, as the names by which disks are known here. One that means no disk, or several, is
/// refused: it may be a slip.
pub fn resolve(seen: &Observed, option: &str, typed: &[String], part: &mut Part) -> Vec<String> {
    let mut found = Vec::new();
    for name in typed {
        let meant: Vec<_> = seen.disks.iter().filter(|disk| disk.is_called(name)).collect();
        match meant.as_slice() {
            [disk] => found.push(disk.id.as_ref().map_or_else(|| name.clone(), |id| id.serial.clone())),
            [] => part.refuse(format!("{option} {name}: no disk here has this name"), HELP),
            several => {
                let names: Vec<String> = several.iter().map(|disk| disk.describe()).collect();
                part.refuse(
                    format!("{option} {name}: several disks have this name: {}", names.join(", ")),
                    HELP,
                );
            }
        }
    }
    found
}
