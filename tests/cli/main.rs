//! The program on a directory that is a machine, and the project's own files: sources, documents, units. Needs no engine;
//! root only for device nodes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a test starts programs, looks at the machine, ends where something is wrong, and says what it leaves out"
)]

mod captures;
mod check;
mod command_line;
mod compat;
mod disk_look;
mod docs;
mod facts;
mod layering;
mod npu;
mod parsers;
mod russh;
mod sim;
mod units;
