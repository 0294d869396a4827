//! What was in Docker before it was stopped: which containers ran, and what existed. The list is kept in a file until
//! all of it is back, so that the next run can go on where a run was interrupted.

use crate::bootstrap::Context;
use crate::engine::{Inventory, Named};
use crate::error::Fault;
use crate::host::read_text;
use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::path::PathBuf;

const SCHEMA: u32 = 1;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::bootstrap) struct RestartList {
    schema: u32,
    /// Containers to start again.
    pub(in crate::bootstrap) running: Vec<Named>,
    /// Containers that must exist again, running or not.
    pub(in crate::bootstrap) containers: Vec<String>,
    pub(in crate::bootstrap) images: Vec<String>,
}

pub(in crate::bootstrap) fn path(context: &Context) -> PathBuf {
    context.directory().join("docker-stopped.json")
}

/// Reads the list. `None`: nothing has to be started again.
pub(in crate::bootstrap) fn read(context: &Context) -> Result<Option<RestartList>, Fault> {
    let path = path(context);
    let wrong = |why: String| {
        Fault::host(format!("{} cannot be understood: {why}", path.display()))
            .help("it lists containers to start again after Docker was stopped; do so, then move it away")
    };
    let text = match read_text(context.host, &path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(error.to_string())),
    };
    let to_restart: RestartList = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    if to_restart.schema > SCHEMA {
        return Err(wrong("a newer berth wrote it".into()));
    }
    Ok(Some(to_restart))
}

/// Adds what is in Docker now to the list, and returns the whole list. It is durable on return.
pub(in crate::bootstrap) fn add(context: &Context, now: Inventory) -> Result<RestartList> {
    let mut to_restart = read(context)?.unwrap_or_default();
    to_restart.schema = SCHEMA;
    // Of the containers of an earlier run, some may be gone since: what is there now is what counts.
    to_restart.running.retain(|named| now.containers.contains(&named.id));
    for named in now.running {
        if !to_restart.running.contains(&named) {
            to_restart.running.push(named);
        }
    }
    (to_restart.containers, to_restart.images) = (now.containers, now.images);
    let path = path(context);
    let text = serde_json::to_string(&to_restart).context("writing what runs in Docker")?;
    context
        .host
        .write_atomic(&path, text.as_bytes(), 0o600)
        .with_context(|| format!("writing {}", path.display()))?;
    Ok(to_restart)
}

/// Removes the list, when everything is back.
pub(in crate::bootstrap) fn settle(context: &Context) -> Result<()> {
    let path = path(context);
    context.host.remove(&path).with_context(|| format!("removing {}", path.display()))
}
