//! Plain types, no I/O: sizes, names, cards, holders, berths, facts. It imports nothing of ours but errors.

pub mod berth;
pub mod cann_support;
pub mod capability;
pub mod card;
pub mod check_facts;
pub mod clock;
pub mod condition;
pub mod cpulist;
pub mod device_rule;
pub mod disk;
pub mod disk_use;
pub mod docker_seen;
pub mod driver;
pub mod editors;
pub mod facts;
pub mod full;
pub mod holder;
pub mod idle;
pub mod image;
pub mod inside_event;
pub mod inside_traffic;
pub mod lease_file;
pub mod lease_state;
pub mod limits;
pub mod mac;
pub mod name;
pub mod notice;
pub mod observed;
pub mod places;
pub mod ports;
pub mod rate;
pub mod session;
pub mod size;
pub mod text;
mod user_limit;
pub mod version;

pub use berth::{
    Berth, BerthAct, BerthRequest, BerthState, CardWish, LockRequest, ResizeRequest, StartRequest, Stop,
    StopReason,
};
pub use capability::Capability;
pub use card::{CardId, CardVerdict, CardView, Health, Ruling};
pub use condition::{Condition, ConditionCode};
pub use device_rule::DeviceRule;
pub use full::{FullPlace, Kept};
pub use holder::Holder;
pub use lease_state::{LeaseState, Lock};
pub use mac::Mac;
pub use ports::PortRange;
pub use size::Size;
pub use user_limit::{LimitChange, LimitSource, LimitSources, OwnLimit, ProfileLimits, UserLimit};
