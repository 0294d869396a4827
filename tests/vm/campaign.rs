//! The long campaign: a power cut at every line of the journal and at random moments. `scripts/power-cuts` runs it.

use crate::cuts::{
    Ended, boot_again, cut_everywhere, is_whole, run_until, said, server, theirs_is_as_it_was,
};
use crate::qemu::Rig;
use crate::site;
use crate::used;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

const BEGIN: &str = "<!-- power-cuts:begin (written by scripts/power-cuts) -->\n";
const END: &str = "<!-- power-cuts:end -->";

#[test]
#[ignore = "takes an hour or more: scripts/power-cuts"]
fn campaign() {
    let rig = Rig::find().expect("scripts/power-cuts prepares it");
    let number = |name: &str, default| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let seed = number("BERTH_SEED", u64::from(std::process::id()));
    let moments = number("BERTH_MOMENTS", 20);
    eprintln!("BERTH_SEED={seed}");

    let mut random = Random(seed);
    let shares: Vec<f64> = (0..moments).map(|_| random.next()).collect();
    let took = OnceLock::new();
    let next = AtomicUsize::new(0);
    let rows = Mutex::new(BTreeMap::new());
    let cut_at_moments = || {
        while let Some(share) = shares.get(next.fetch_add(1, Ordering::Relaxed)) {
            let took: &Duration = took.get().expect("it was measured before");
            let after = took.mul_f64(*share);
            let row = at_a_moment(&rig, after);
            eprintln!("{row}");
            rows.lock().unwrap().insert(after, row);
        }
    };

    // Side by side: a server that waits for its disk leaves the processor to the other one.
    let boundaries = std::thread::scope(|scope| {
        let boundaries = scope.spawn(|| {
            let boundaries = at_every_line(&rig);
            cut_at_moments();
            boundaries
        });
        took.set(undisturbed(&rig)).expect("nobody else sets it");
        let of_used = used::at_every_line(&rig);
        cut_at_moments();
        (boundaries.join().expect("its panic was shown"), of_used)
    });
    let rows: Vec<String> = rows.into_inner().unwrap().into_values().collect();
    write(&report(seed, took.into_inner().expect("it was set"), [&boundaries.0, &boundaries.1], &rows));
}

fn report(seed: u64, took: Duration, boundaries: [&[String]; 2], rows: &[String]) -> String {
    let now = jiff::Zoned::now().strftime("%Y-%m-%d").to_string();
    let text = format!(
        "Last run: {now}, seed {seed}; a run without a cut took {} s beside another server.\n\n\
         A bare server, cut at each of {} lines of the journal, went on after each and converged:\n\n{}\n\
         A server in use, with homes to move, a disk to wipe, Docker with images and containers, and later a disk \
         more, likewise at {} lines of the steps that the first has not:\n\n{}\n\
         {} machines cut once, at a random moment of the run:\n\n\
         | after | last line of the journal | next run |\n|---|---|---|\n{}\n",
        took.as_secs(),
        boundaries[0].len(),
        list(boundaries[0]),
        boundaries[1].len(),
        list(boundaries[1]),
        rows.len(),
        rows.join("\n")
    );
    eprintln!("{text}");
    text
}

/// How long a run without cuts takes.
fn undisturbed(rig: &Rig) -> Duration {
    let mut machine = server(rig, site::OFFLINE);
    let start = Instant::now();
    let ended = run_until(&mut machine, "", None, |_| false);
    assert!(matches!(ended, Ended::Exit(code) if site::is_done(code)), "{ended:?}: {}", said(&machine));
    let took = start.elapsed();
    is_whole(&machine);
    took
}

/// Where a machine was cut that is whole in the end.
fn at_every_line(rig: &Rig) -> Vec<String> {
    let mut machine = server(rig, site::OFFLINE);
    let cut = cut_everywhere(&mut machine, "", |_| true);
    is_whole(&machine);
    cut
}

fn list(lines: &[String]) -> String {
    let mut listed = String::new();
    for line in lines {
        writeln!(listed, "- {line}").unwrap();
    }
    listed
}

fn at_a_moment(rig: &Rig, after: Duration) -> String {
    let mut machine = server(rig, site::OFFLINE);
    let (last, next) = match run_until(&mut machine, "", Some(after), |_| false) {
        Ended::Exit(code) => ("it had ended".to_owned(), code),
        Ended::Cut(last) => {
            boot_again(&mut machine);
            match run_until(&mut machine, "", None, |_| false) {
                Ended::Exit(code) => (last, code),
                Ended::Cut(_) => unreachable!("nobody asked for it"),
            }
        }
    };
    let outcome = match next {
        code if site::is_done(code) => {
            is_whole(&machine);
            "converged".to_owned()
        }
        // A refusal is clean when it changes nothing, and says why.
        3 => {
            let state = site::state_of_disks(&machine);
            let said = site::refused(&machine, "--apply --yes");
            assert_eq!(site::state_of_disks(&machine), state, "{said}");
            theirs_is_as_it_was(&machine);
            format!("refused: {}", said.lines().next().unwrap_or_default())
        }
        code => panic!("cut after {} s, after {last}: exit {code}:\n{}", after.as_secs(), said(&machine)),
    };
    format!("| {} s | {last} | {outcome} |", after.as_secs())
}

/// Between two markers of docs/reliability.md.
fn write(text: &str) {
    if std::env::var_os("BERTH_WRITE_DOCS").is_none() {
        return;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reliability.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("the page has the first marker");
    let (_, after) = rest.split_once(END).expect("the page has the second marker");
    std::fs::write(&path, format!("{before}{BEGIN}{text}{END}{after}")).unwrap();
}

/// splitmix64: the same seed, the same moments.
struct Random(u64);

impl Random {
    /// From 0 to 1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let short = u32::try_from((z ^ (z >> 31)) >> 32).unwrap();
        f64::from(short) / f64::from(u32::MAX)
    }
}
