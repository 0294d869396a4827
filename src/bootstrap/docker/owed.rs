//! What was in Docker before it was stopped, written down until all of it is back: which containers ran, and what has
//! to be seen again. A run that ends in between leaves it to the next.

use crate::bootstrap::Ground;
use crate::engine::{Inventory, Named};
use crate::error::Fault;
use crate::host::read_text;
use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::path::PathBuf;

const SCHEMA: u32 = 1;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::bootstrap) struct Owed {
    schema: u32,
    /// To be started again.
    pub(in crate::bootstrap) running: Vec<Named>,
    /// To be there again.
    pub(in crate::bootstrap) containers: Vec<String>,
    pub(in crate::bootstrap) images: Vec<String>,
}

pub(in crate::bootstrap) fn path(ground: &Ground) -> PathBuf {
    ground.directory().join("docker-stopped.json")
}

/// `None`: nothing is owed.
pub(in crate::bootstrap) fn read(ground: &Ground) -> Result<Option<Owed>, Fault> {
    let path = path(ground);
    let wrong = |why: String| {
        Fault::host(format!("{} cannot be understood: {why}", path.display()))
            .help("it lists containers to start again after Docker was stopped; do so, then move it away")
    };
    let text = match read_text(ground.host, &path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(error.to_string())),
    };
    let owed: Owed = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    if owed.schema > SCHEMA {
        return Err(wrong("a newer berth wrote it".into()));
    }
    Ok(Some(owed))
}

/// Adds what is there now to what is owed already; durable on return.
pub(in crate::bootstrap) fn add(ground: &Ground, now: Inventory) -> Result<Owed> {
    let mut owed = read(ground)?.unwrap_or_default();
    owed.schema = SCHEMA;
    // Of the containers of an earlier run, some may be gone since: what is there now is what counts.
    owed.running.retain(|named| now.containers.contains(&named.id));
    for named in now.running {
        if !owed.running.contains(&named) {
            owed.running.push(named);
        }
    }
    (owed.containers, owed.images) = (now.containers, now.images);
    let path = path(ground);
    let text = serde_json::to_string(&owed).context("writing what runs in Docker")?;
    ground
        .host
        .write_atomic(&path, text.as_bytes(), 0o600)
        .with_context(|| format!("writing {}", path.display()))?;
    Ok(owed)
}

/// All of it is back.
pub(in crate::bootstrap) fn settle(ground: &Ground) -> Result<()> {
    let path = path(ground);
    ground.host.remove(&path).with_context(|| format!("removing {}", path.display()))
}
