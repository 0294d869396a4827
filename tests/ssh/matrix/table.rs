//! The matrix as a table in `docs/ssh.md`, between two markers.

use super::Seen;
use super::rows::{CLIENTS, Cell, Row};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

const BEGIN: &str = "<!-- matrix:begin (written by tests/ssh/matrix: BERTH_WRITE_DOCS=1) -->\n";
const END: &str = "<!-- matrix:end -->";

/// Writes the table, or holds it against the one that is there.
pub fn compare(rows: &[Row], seen: &BTreeMap<(usize, &'static str), Seen>) -> Result<(), String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/ssh.md");
    let page = std::fs::read_to_string(&path).map_err(|error| format!("reading docs/ssh.md: {error}"))?;
    let (before, rest) = page.split_once(BEGIN).ok_or("docs/ssh.md has no matrix:begin")?;
    let (shown, after) = rest.split_once(END).ok_or("docs/ssh.md has no matrix:end")?;
    let table = render(rows, seen);
    if std::env::var_os("BERTH_WRITE_DOCS").is_some() {
        let page = format!("{before}{BEGIN}{table}{END}{after}");
        return std::fs::write(&path, page).map_err(|error| format!("writing docs/ssh.md: {error}"));
    }
    if shown == table {
        return Ok(());
    }
    Err(format!("docs/ssh.md does not show what was seen; run with BERTH_WRITE_DOCS=1. Seen:\n{table}"))
}

fn render(rows: &[Row], seen: &BTreeMap<(usize, &'static str), Seen>) -> String {
    let mut notes: Vec<&str> = Vec::new();
    let mut table = format!("| | {} |\n|---|{}\n", CLIENTS.join(" | "), "---|".repeat(CLIENTS.len()));
    for (at, row) in rows.iter().enumerate() {
        let cells = CLIENTS.map(|client| {
            let cell = row.cells.iter().find(|(known, _)| *known == client).map(|(_, cell)| *cell);
            match cell {
                None => "–".to_owned(),
                Some(Cell::Note(note)) => format!("– {}", number(&mut notes, note)),
                Some(Cell::Alone(_, note) | Cell::Differs(_, note)) => {
                    format!("{} {}", verdict(seen.get(&(at, client))), number(&mut notes, note))
                }
                Some(Cell::Try(..)) => verdict(seen.get(&(at, client))).to_owned(),
            }
        });
        let _ = writeln!(table, "| {} | {} |", row.feature, cells.join(" | "));
    }
    let tried = seen.len();
    let _ = writeln!(
        table,
        "\n– : the client has no such thing, or it was not tried. {tried} cells were tried, with OpenSSH's sshd as a control."
    );
    for (number, note) in notes.iter().enumerate() {
        let _ = writeln!(table, "{}) {note}.", number + 1);
    }
    table
}

fn verdict(seen: Option<&Seen>) -> &'static str {
    if seen.is_some_and(|seen| seen.berth.is_ok() && seen.sshd.is_ok()) { "yes" } else { "**no**" }
}

fn number(notes: &mut Vec<&'static str>, note: &'static str) -> String {
    let at = notes.iter().position(|known| *known == note).unwrap_or_else(|| {
        notes.push(note);
        notes.len() - 1
    });
    format!("{})", at + 1)
}
