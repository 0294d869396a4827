//! The only place that prints. Results go to standard output, everything else to standard error.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this module is where printing happens")]

use crate::error::Fault;
use crate::host::terminal;
use crate::model::text::plain;
use comfy_table::{ContentArrangement, Table};
use serde::Serialize;
use std::io::{self, Write};
use std::sync::OnceLock;

/// Prints `berth: what is wrong` and, where somebody can mend it, how.
pub(crate) fn error(fault: &Fault) {
    eprintln!("berth: {}", printable(&fault.message));
    if let Some(help) = &fault.help {
        eprintln!("help: {}", printable(help));
    }
}

/// Why a part of the result could not be written, such as a full disk.
static LOST: OnceLock<String> = OnceLock::new();

/// An error when a part of the result could not be written, even if the command did its work.
pub(crate) fn check_written() -> Result<(), Fault> {
    match LOST.get() {
        Some(error) => Err(Fault::host(format!("the result could not be written: {error}"))),
        None => Ok(()),
    }
}

/// A line of the result. A reader that went away (`| head`) is not an error.
pub(crate) fn line(text: &str) {
    bytes(format!("{text}\n").as_bytes());
}

/// A result that is not text.
pub(crate) fn bytes(content: &[u8]) {
    let mut stdout = io::stdout();
    match stdout.write_all(content).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            LOST.get_or_init(|| error.to_string());
        }
        _ => {}
    }
}

/// Pairs of a command's usual name and its name where this program runs. Set once.
static SPOKEN: OnceLock<Vec<(String, String)>> = OnceLock::new();

/// From now on notes replace the first name of each pair with the second.
pub(crate) fn speak(words: Vec<(String, String)>) {
    SPOKEN.get_or_init(|| words);
}

/// Replaces whole words only: a berth of a user called `list` is `berth list/dev`.
pub(crate) fn in_words_of(text: &str, words: &[(String, String)]) -> String {
    let mut said = text.to_owned();
    for (ours, theirs) in words {
        let parts: Vec<&str> = said.split(ours.as_str()).collect();
        let mut joined = parts.first().map_or(String::new(), |first| (*first).to_owned());
        for part in parts.iter().skip(1) {
            let ends = !part.starts_with(|c: char| c.is_alphanumeric() || c == '/' || c == '-');
            joined.push_str(if ends { theirs } else { ours });
            joined.push_str(part);
        }
        said = joined;
    }
    said
}

/// A line about what is going on.
pub(crate) fn note(text: &str) {
    let text = in_words_of(text, SPOKEN.get().map_or(&[][..], Vec::as_slice));
    let _ = writeln!(io::stderr(), "{text}");
}

/// A question; the answer is typed behind it.
pub(crate) fn ask(text: &str) {
    let mut stderr = io::stderr();
    let _ = write!(stderr, "{text}").and_then(|()| stderr.flush());
}

pub(crate) fn json<T: Serialize>(value: &T) -> anyhow::Result<()> {
    line(&serde_json::to_string_pretty(value)?);
    Ok(())
}

/// One value a line, for answers that go on.
pub(crate) fn json_line<T: Serialize>(value: &T) -> anyhow::Result<()> {
    line(&serde_json::to_string(value)?);
    Ok(())
}

/// Columns without borders: easy to read, easy to cut. Colour only on a terminal, and its width only there.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_header(header.iter().copied());
    if !terminal::takes_codes() {
        table.force_no_tty();
    }
    if let Some(columns) = terminal::columns() {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(columns);
    }
    table
}

pub(crate) fn show_table(table: &Table) {
    for row in table.to_string().lines() {
        line(row.trim_end());
    }
}

/// The text without characters that a terminal would act on or not show: names and messages can come from images,
/// tools and users.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c == '\n' { c } else { plain(c) }).collect()
}

/// As [`printable`], for text that must stay on one line.
pub(crate) fn one_line(text: &str) -> String {
    text.chars().map(plain).collect()
}
