//! Small files of the system.

use super::Context;
use crate::bootstrap::plan::{FilePurpose, WriteFile};
use crate::host::{dirs, files, tree};
use anyhow::{Context as _, Result};
use std::path::Path;

pub(super) fn write(context: &Context, file: &WriteFile) -> Result<()> {
    if let Some(above) = file.path.parent() {
        dirs::make_dir(above, 0o755)?;
    }
    context
        .host
        .write_atomic(&file.path, file.content.as_bytes(), file.mode)
        .with_context(|| format!("writing {}", file.path.display()))
}

/// Writes a file that does not belong to berth. Its owner and mode stay, and a link to it stays a link.
pub(super) fn replace(context: &Context, path: &Path, content: &str) -> Result<()> {
    const USUAL: u32 = 0o644;
    let doing = || format!("writing {}", path.display());
    let real = tree::real_path(path);
    let rights = files::rights(&real).with_context(doing)?;
    let mode = rights.map_or(USUAL, |(mode, _, _)| mode);
    let file =
        WriteFile { path: real.clone(), content: content.into(), mode, purpose: FilePurpose::Replaced };
    write(context, &file)?;
    match rights {
        Some((_, uid, gid)) => std::os::unix::fs::chown(&real, Some(uid), Some(gid)).with_context(doing),
        None => Ok(()),
    }
}
