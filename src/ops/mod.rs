//! Use cases, called by every face (command line, socket API, SSH gateway). They decide and order the effects;
//! a face parses and renders, nothing else.

pub mod berths;
pub mod bootstrap;
mod build;
mod caller;
mod cards;
pub mod check;
mod check_docker;
mod choose;
mod directory;
mod editors;
mod files;
pub mod gateway;
mod history;
pub mod image_check;
mod image_pin;
pub mod images;
mod inside;
mod keys;
mod node;
mod progress;
mod ration;
mod reconcile;
mod release;
mod reload;
mod renew;
mod request;
mod survey;
mod undo;
pub mod users;
mod watch;

pub use caller::Caller;
pub use node::Node;
pub use progress::{Progress, ProgressSender};
pub use survey::Survey;
