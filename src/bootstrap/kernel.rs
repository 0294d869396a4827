//! Sets kernel settings in the running kernel. Another step writes the file for the next boot.

use crate::bootstrap::plan::ApplySysctl;
use crate::host::sysctl;
use anyhow::{Context as _, Result};

pub(super) fn apply(step: &ApplySysctl) -> Result<()> {
    for (name, value) in &step.values {
        sysctl::set(name, *value).with_context(|| format!("setting {name} to {value}"))?;
    }
    Ok(())
}
