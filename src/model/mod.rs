//! Plain types, no I/O: sizes, names, cards, holders, berths, facts. It imports nothing of ours but errors.

pub mod berth;
pub mod card;
pub mod check;
pub mod check_facts;
pub mod cpulist;
pub mod disk;
pub mod docker_seen;
pub mod driver;
pub mod editors;
pub mod facts;
pub mod holder;
pub mod image;
pub mod inside_event;
pub mod limits;
pub mod name;
pub mod observed;
pub mod places;
pub mod ports;
pub mod rate;
#[cfg(test)]
pub(crate) mod samples;
pub mod session;
pub mod size;
pub mod version;

pub use berth::{Berth, BerthRequest, BerthState, CardWish};
pub use card::{CardId, CardView, Health};
pub use holder::Holder;
pub use ports::PortRange;
pub use size::Size;
