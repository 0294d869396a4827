//! The kernel's settings in /proc/sys, written and read back. Not every system has the program sysctl.

use crate::error::Fault;
use std::fs;
use std::path::Path;

pub fn set(path: &Path, value: u64) -> Result<(), Fault> {
    let wrong = |what: &str| Fault::host(format!("{}: {what}", path.display()));
    fs::write(path, value.to_string()).map_err(|error| wrong(&error.to_string()))?;
    let now = fs::read_to_string(path).map_err(|error| wrong(&error.to_string()))?;
    if now.trim().parse() == Ok(value) {
        return Ok(());
    }
    Err(wrong(&format!("the kernel took {value} for {}", now.trim())))
}
