//! Small files of the system.

use super::Ground;
use crate::host::dirs;
use crate::plan::WriteFile;
use anyhow::{Context as _, Result};

pub(super) fn write(ground: &Ground, file: &WriteFile) -> Result<()> {
    if let Some(above) = file.path.parent() {
        dirs::make_dir(above, 0o755)?;
    }
    ground
        .host
        .write_atomic(&file.path, file.content.as_bytes(), file.mode)
        .with_context(|| format!("writing {}", file.path.display()))
}
