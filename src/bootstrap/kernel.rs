//! Settings of the kernel, now. The file for the next boot is a step of its own.

use crate::bootstrap::plan::ApplySysctl;
use crate::host::sysctl;
use anyhow::{Context as _, Result};

pub(super) fn apply(step: &ApplySysctl) -> Result<()> {
    for (name, value) in &step.values {
        sysctl::set(name, *value).with_context(|| format!("setting {name} to {value}"))?;
    }
    Ok(())
}
