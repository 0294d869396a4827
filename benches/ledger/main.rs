//! How many claims and releases a second the ledger takes, beside what its disk takes at most: each of its changes waits for
//! the disk once.
//!
//! `cargo bench --bench ledger -- [--dir DIR] [--seconds N]` prints one line of JSON; `benches/run ledger` shows it. Both take turns, in
//! DIR, which decides which disk it is.
#![allow(clippy::print_stdout, reason = "it prints its numbers")]
#![allow(clippy::disallowed_methods, reason = "it has a directory of its own")]

use anyhow::{Context as _, Result, bail};
use berth::ledger::{Ledger, NewBerth, NewEvent};
use berth::model::{BerthState, CardId};
use jiff::Timestamp;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A claim, its verified container, the intent of its release, and its end.
const CHANGES: u32 = 4;
/// What SQLite appends to its log for such a change, roughly: some pages with their heads.
static APPENDED: [u8; 5 * 4120] = [0; 5 * 4120];
const ROUNDS: u32 = 5;

fn main() -> Result<()> {
    let (dir, seconds) = options(std::env::args().skip(1))?;
    let dir = dir.join(format!("ledger-bench-{}", std::process::id()));
    std::fs::create_dir(&dir).with_context(|| dir.display().to_string())?;
    let measured = measure(&dir, Duration::from_secs(seconds) / ROUNDS / 2);
    std::fs::remove_dir_all(&dir)?;
    let (changes, syncs) = measured?;
    let both = changes / f64::from(CHANGES);
    println!(
        "{{\"claims_and_releases\": {both:.1}, \"changes\": {changes:.1}, \"syncs\": {syncs:.1}, \"ratio\": {:.3}}}",
        changes / syncs
    );
    Ok(())
}

/// Changes of the ledger a second, and `fdatasync` calls that the disk takes.
fn measure(dir: &Path, slice: Duration) -> Result<(f64, f64)> {
    let ledger = Ledger::open(&dir.join("ledger.db"), Timestamp::now())?;
    ledger.add_user("bench", None, &[], &event("user.added"))?;
    let mut log = File::create(dir.join("log"))?;
    let (mut changes, mut syncs) = (0.0, 0.0);
    for _ in 0..ROUNDS {
        changes += rate(slice, || come_and_go(&ledger).map(|()| CHANGES))?;
        syncs += rate(slice, || {
            log.write_all(&APPENDED)?;
            log.sync_data()?;
            Ok(1)
        })?;
    }
    Ok((changes / f64::from(ROUNDS), syncs / f64::from(ROUNDS)))
}

fn rate(slice: Duration, mut act: impl FnMut() -> Result<u32>) -> Result<f64> {
    let (begun, mut done) = (Instant::now(), 0);
    while begun.elapsed() < slice {
        done += act()?;
    }
    Ok(f64::from(done) / begun.elapsed().as_secs_f64())
}

fn come_and_go(ledger: &Ledger) -> Result<()> {
    let new = NewBerth {
        owner: "bench".into(),
        name: "dev".into(),
        cards: vec![CardId(0), CardId(1)],
        port: 20_000,
        ssh_user: "ma-user".into(),
        image: "workspace".into(),
        image_id: "sha256:0123456789abcdef".into(),
        memory: None,
        cpus: None,
        lease: Some(28_800),
        unattended: false,
        ticket: None,
        overtaken: Vec::new(),
    };
    let Ok(berth) = ledger.claim(&new, &event("berth.requested")) else { bail!("the claim was refused") };
    ledger.commit_live(berth.id, "ssh-ed25519 AAAA", &event("berth.live"))?;
    ledger.begin_release(berth.id, &event("berth.releasing"))?;
    ledger.end(berth.id, BerthState::Released, "released", &event("berth.released"))?;
    Ok(())
}

fn event(kind: &'static str) -> NewEvent {
    NewEvent {
        at: Timestamp::now(),
        kind,
        actor: "bench".into(),
        owner: Some("bench".into()),
        berth: Some("dev".into()),
        text: "bench/dev has cards 0,1".into(),
    }
}

fn options(mut words: impl Iterator<Item = String>) -> Result<(PathBuf, u64)> {
    let (mut dir, mut seconds) = (PathBuf::from("target"), 10);
    while let Some(word) = words.next() {
        match &*word {
            // cargo says this to every bench.
            "--bench" => {}
            "--dir" => dir = words.next().context("--dir DIR")?.into(),
            "--seconds" => seconds = words.next().context("--seconds N")?.parse()?,
            other => bail!("{other} is none of --dir DIR, --seconds N"),
        }
    }
    Ok((dir, seconds))
}
