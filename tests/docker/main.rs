//! A real Docker Engine, real device nodes, a real agent. Needs root.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a test starts programs, looks at the machine, ends where something is wrong, and says what it leaves out"
)]

mod berths;
mod engine;
mod gateway;
mod machine;
mod own_engine;
mod quickstart;
mod registry;
mod rig;
mod rigs;
