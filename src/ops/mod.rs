//! Use cases. The command line, the socket API and the SSH gateway call them. Use cases decide, and order the
//! effects; their callers only parse and render.

mod apart;
pub mod berths;
pub(crate) mod build;
mod caller;
mod cards;
mod choose;
#[cfg(test)]
mod clock_tests;
mod conditions;
mod directory;
mod editors;
mod files;
pub mod gateway;
pub mod health;
pub mod history;
mod host_keys;
pub mod image_check;
mod image_pin;
pub mod images;
pub mod inside;
pub(crate) mod kernel;
mod keys;
mod lease_time;
mod leases;
mod locks;
mod node;
mod port_watch;
mod ports;
mod progress;
mod pulse;
pub mod queue;
mod ration;
mod reconcile;
mod release;
mod reload;
mod renew;
mod request;
mod room;
pub mod rulings;
mod situation;
mod start;
mod stop;
pub mod supervise;
pub(crate) mod survey;
mod taken;
mod undo;
pub mod users;
mod watch;
mod watch_cards;

pub use caller::Caller;
pub use leases::Count;
pub use node::Node;
pub use progress::{Progress, ProgressSender};
pub use survey::Survey;
pub use taken::Taken;
