//! The only place that prints. Results go to standard output, everything else to standard error.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this module is where printing happens")]

use crate::error::Fault;
use serde::Serialize;
use std::io::{self, Write};

/// `berth: what is wrong`, and how to mend it where somebody can.
pub(crate) fn error(fault: &Fault) {
    eprintln!("berth: {}", printable(&fault.message));
    if let Some(help) = &fault.help {
        eprintln!("help: {}", printable(help));
    }
}

/// A line of the result. A reader that went away (`| head`) is not an error.
pub(crate) fn line(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// A line about what is going on.
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

pub(crate) fn json<T: Serialize>(value: &T) -> anyhow::Result<()> {
    line(&serde_json::to_string_pretty(value)?);
    Ok(())
}

/// Names and messages can come from images, tools and users: control characters never reach a terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}
