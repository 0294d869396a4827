//! Docker: the only user of bollard. It decides nothing about berths; it makes, reads back and removes what it is told.
//!
//! `client` speaks to one engine; `container` is the pure body of a berth's container, `lifecycle` its life;
//! `labels` are how we know our own; `readback` compares what was asked with what the kernel gave; `scan` finds who
//! else has cards; `events` says when to look again; `said` what it tells of itself; `image`, `archive`, `registry` and `probe` are about base images.

pub mod archive;
mod capabilities;
mod claim;
pub mod client;
pub mod container;
pub mod events;
pub mod image;
mod inventory;
pub mod labels;
mod lifecycle;
mod logs;
mod network;
pub mod probe;
mod reach;
pub mod readback;
pub mod registry;
mod said;
pub mod scan;
mod software;
mod tables;

pub use client::{Api, Engine};
pub use container::{BindMount, ContainerSpec, DeviceNode};
pub use inventory::{Inventory, Named};
pub use labels::{BerthLabels, OwnedContainer};
pub use lifecycle::{ContainerState, address_of};
pub use logs::OutputLine;
pub use network::BridgeNetwork;
pub use probe::{PROBE_LIMIT, Probe};
pub use readback::{Difference, Observed};
pub use scan::{Foreign, ForeignScan, Known, Stranger};
