//! Which client can do what: real clients against the server inside, each cell also against OpenSSH's own sshd.
//!
//! The table in `docs/ssh.md` is what was seen here. `BERTH_WRITE_DOCS=1` writes it, else a difference is a failure.
//! `BERTH_MATRIX=dbclient` runs one client, `BERTH_MATRIX=rekeying` one row, and compares nothing.

mod dropbear;
mod files;
mod forwards;
mod libraries;
mod openssh;
mod putty;
mod python;
mod rows;
mod screen;
mod sessions;
mod site;
mod table;
mod transfers;

use rows::{Cell, OF_CHANGED_RUSSH, rows};
use site::{Servers, Site};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

/// The clients that node's packages are needed for.
const OF_NODE: &str = "ssh2 (node)";

/// As many cells are tried at once: most of their time they wait.
const WORKERS: usize = 4;

/// What was seen of one cell.
#[derive(Debug)]
pub struct Seen {
    sshd: Result<(), String>,
    berth: Result<(), String>,
}

#[test]
fn every_cell_is_what_openssh_does() {
    let wanted = std::env::var("BERTH_MATRIX").ok();
    let has_node = libraries::node_modules().is_some();
    if !has_node {
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "node's packages are not here, and in CI they must be"
        );
        eprintln!(
            "SKIPPED: the cells of {OF_NODE}: BERTH_TEST_NODE names no directory with npm's ssh2 in it"
        );
    }
    let has_changes = has_changed_russh();
    let is_left_out =
        |feature: &str| !has_changes && OF_CHANGED_RUSSH.iter().any(|word| feature.contains(word));
    let rows = rows();
    let cells: Vec<(usize, &'static str, Cell)> = rows
        .iter()
        .enumerate()
        .flat_map(|(at, row)| row.cells.iter().map(move |(client, cell)| (at, *client, *cell)))
        .filter(|(at, client, _)| {
            (has_node || *client != OF_NODE)
                && !is_left_out(rows[*at].feature)
                && wanted.as_deref().is_none_or(|word| *client == word || rows[*at].feature.contains(word))
        })
        .collect();
    let servers = Servers::start();
    let queue = Mutex::new(cells);
    let seen: Mutex<BTreeMap<(usize, &'static str), Seen>> = Mutex::default();
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let Some((row, client, cell)) = queue.lock().unwrap().pop() else { break };
                    let (check, noisy, alone) = match cell {
                        Cell::Try(check, noisy) => (check, noisy, false),
                        Cell::Differs(check, _) => (check, false, false),
                        Cell::Alone(check, _) => (check, false, true),
                        Cell::Note(_) => continue,
                    };
                    let feature = rows[row].feature;
                    let started = Instant::now();
                    let sshd = if alone { Ok(()) } else { attempt(&servers.sshd(noisy), check) };
                    let middle = Instant::now();
                    let berth = attempt(&servers.berth(noisy), check);
                    eprintln!(
                        "{client}, {feature}: sshd {} in {:.1?}, berth {} in {:.1?}",
                        if sshd.is_ok() { "yes" } else { "NO" },
                        middle - started,
                        if berth.is_ok() { "yes" } else { "NO" },
                        middle.elapsed()
                    );
                    seen.lock().unwrap().insert((row, client), Seen { sshd, berth });
                }
            });
        }
    });
    let seen = seen.into_inner().unwrap();
    let mut wrong = Vec::new();
    for ((row, client), cell) in &seen {
        let feature = rows[*row].feature;
        let planned = rows[*row].cells.iter().find(|(known, _)| known == client).unwrap().1;
        let differs = matches!(planned, Cell::Differs(..));
        match cell {
            Seen { sshd: Ok(()), berth } if differs => {
                if berth.is_ok() {
                    wrong.push(format!("{client}, {feature}: works by now, say so"));
                }
            }
            Seen { sshd: Err(why), .. } => {
                wrong.push(format!("{client}, {feature}: the test fails with OpenSSH's sshd, too: {why}"));
            }
            Seen { berth: Err(why), .. } => wrong.push(format!("{client}, {feature}: {why}")),
            Seen { .. } => {}
        }
    }
    let compared =
        if wanted.is_none() && has_node && has_changes { table::compare(&rows, &seen) } else { Ok(()) };
    assert!(wrong.is_empty(), "{} of {} cells:\n{}", wrong.len(), seen.len(), wrong.join("\n"));
    compared.unwrap();
}

/// Whether the server was built with the russh that `scripts/lib/patched.sh` makes.
fn has_changed_russh() -> bool {
    let has_changes = option_env!("BERTH_RUSSH") == Some("changed");
    if !has_changes {
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "russh is the registry's, and in CI it is ours"
        );
        eprintln!(
            "SKIPPED: rows that the registry's russh cannot do; scripts/build or scripts/test changes it"
        );
    }
    has_changes
}

fn attempt(site: &Site<'_>, check: fn(&Site<'_>)) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(|| check(site))).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default();
        text.chars().take(1500).collect()
    })
}
