//! Docker: the only user of bollard. It decides nothing about berths: it makes, reads back and removes what it is
//! told to.
//!
//! `client` speaks to one engine. `container` is the pure body of a berth's container, `lifecycle` creates, starts
//! and removes it. `labels` mark our own containers. `readback` compares what was asked for with what the kernel
//! gave. `scan` finds other containers that have cards. `events` says when to look again. `said` reads what the
//! engine says of itself. `image`, `archive`, `registry` and `probe` are about base images,
//! `snapshot` about images made of containers.

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
mod remake;
mod said;
pub mod scan;
pub mod snapshot;
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
pub use remake::Remade;
pub use scan::{Foreign, ForeignScan, Known, Stranger};
