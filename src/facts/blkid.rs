//! The file system on a device, from blkid.

use crate::host::{Host, Tool, block};
use crate::model::observed::FileSystem;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(30);

/// The file system on the device; `None`: there is none.
pub fn probe(host: &dyn Host, device: &str) -> Result<Option<FileSystem>, String> {
    // 2: nothing was recognised.
    let cmd = Tool::Blkid.cmd().args(["-p", "-o", "export", device]).timeout(TIMEOUT).allow_exits(&[2]);
    let output = host.run(&cmd).map_err(|error| error.to_string())?;
    let fields: BTreeMap<&str, &str> =
        output.stdout.lines().filter_map(|line| line.split_once('=')).collect();
    let field = |key: &str| fields.get(key).map(|value| (*value).to_owned());
    let unreadable = |error| format!("reading {device}: {error}");
    let Some(kind) = field("TYPE").or_else(|| field("PTTYPE")) else {
        // blkid ends in the same way where it could not read.
        block::check_readable(Path::new(device)).map_err(unreadable)?;
        return Ok(None);
    };
    let complete = kind != "xfs" || block::is_xfs_complete(Path::new(device)).map_err(unreadable)?;
    Ok(Some(FileSystem { uuid: field("UUID"), label: field("LABEL"), complete, kind }))
}
