//! `sim.json`: what the simulated npu-smi reads on each run. Written whole, read by host and containers.

use crate::error::Fault;
use crate::host::{Host, read_text};
use crate::model::CardId;
use crate::profile::{Faults, Simulation};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;

pub const SCHEMA: u32 = 1;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SimState {
    pub schema: u32,
    /// As in the profile, with the faults that the profile asks for.
    pub simulation: Simulation,
    /// The faults that count now.
    pub faults: Faults,
    pub cards: Vec<SimCard>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SimCard {
    pub id: CardId,
    pub bus_id: String,
    /// CPUs near the card; real ones of the host, so that they work as a cpuset.
    pub cpus: String,
}

impl SimState {
    /// `None` when there is no file. One that cannot be understood is an error, not an absent one.
    pub fn read(host: &dyn Host, path: &Path) -> Result<Option<Self>, Fault> {
        #[derive(Deserialize)]
        struct Schema {
            schema: u32,
        }
        let wrong = |what: String| {
            Fault::host(format!("{} {what}", path.display())).help("remove it and start the agent again")
        };
        let text = match read_text(host, path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(wrong(format!("cannot be read: {error}"))),
        };
        let unreadable = |error: serde_json::Error| wrong(format!("is not understood: {error}"));
        let Schema { schema } = serde_json::from_str(&text).map_err(unreadable)?;
        if schema != SCHEMA {
            return Err(wrong(format!("has schema {schema}; this program knows {SCHEMA}")));
        }
        serde_json::from_str(&text).map(Some).map_err(unreadable)
    }

    /// Users in containers read it, so it is open to all.
    pub fn write(&self, host: &dyn Host, path: &Path) -> Result<(), Fault> {
        let wrong = |what: &dyn std::fmt::Display| {
            Fault::host(format!("{} cannot be written: {what}", path.display()))
        };
        let text = serde_json::to_vec_pretty(self).map_err(|error| wrong(&error))?;
        host.write_atomic(path, &text, 0o644).map_err(|error| wrong(&error))
    }
}
