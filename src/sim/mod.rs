//! The simulated node: device nodes that no driver answers, and an npu-smi that prints what a real one prints.
//!
//! All else is the same code as on a real node: [`SimNode::apply`] points the config and the profile at it.

mod prepare;
mod state;
mod tables;
mod tool;

pub use prepare::{SimNode, attach, prepare};
pub use state::{SCHEMA, SimCard, SimState};
pub use tool::run_as_tool;
