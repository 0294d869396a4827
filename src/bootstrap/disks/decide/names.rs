//! Finds the disks that a person named on the command line.

use crate::bootstrap::observed::Observed;
use crate::bootstrap::plan::Part;
use std::fmt;

pub(super) const HELP: &str = "berth facts shows serial numbers; a WWID or a name in /dev/disk/by-id names a disk without one of its own";

/// The option after which a name was typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    Leave,
    Wipe,
}

impl fmt::Display for Naming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Leave => "--leave",
            Self::Wipe => "--wipe",
        })
    }
}

/// Returns the identifying names of the disks that were typed. A name that fits no disk is refused: it may be a typing
/// error. A name that fits several disks protects all of them after `--leave`, and wipes none after `--wipe`.
pub fn resolve(seen: &Observed, option: Naming, typed: &[String], part: &mut Part) -> Vec<String> {
    let mut found = Vec::new();
    for name in typed {
        let meant: Vec<_> = seen.disks.iter().filter(|disk| disk.is_called(name)).collect();
        match meant.as_slice() {
            [disk] => found.push(disk.id.as_ref().map_or_else(|| name.clone(), |id| id.serial.clone())),
            [] => part.refuse(format!("{option} {name}: no disk here has this name"), HELP),
            // Two paths of one disk, for example.
            _ if option == Naming::Leave => found.push(name.clone()),
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
