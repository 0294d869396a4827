//! The long campaign: a power cut at every line of the journal and at random moments. `scripts/power-cuts` runs it.

use crate::cuts::{
    Ended, boot_again, cut_everywhere, is_whole, run_until, said, server, theirs_is_as_it_was,
};
use crate::qemu::Rig;
use crate::site;
use crate::used;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

#[test]
#[ignore = "takes an hour: scripts/power-cuts"]
fn at_lines_of_a_bare_server() {
    let rig = Rig::find().expect("scripts/power-cuts prepares it");
    let mut machine = server(&rig, site::OFFLINE);
    let cut = cut_everywhere(&mut machine, "", |_| true);
    is_whole(&machine);
    write(
        "bare",
        &format!(
            "A bare server, cut at each of {} lines of the journal, went on after each and converged:\n\n{}",
            cut.len(),
            list(&cut)
        ),
    );
}

#[test]
#[ignore = "takes an hour: scripts/power-cuts"]
fn at_lines_of_a_server_in_use() {
    let rig = Rig::find().expect("scripts/power-cuts prepares it");
    let cut = used::at_every_line(&rig);
    write(
        "used",
        &format!(
            "A server in use, cut at each of {} lines of the steps that the bare one has not, went on after each and \
             converged:\n\n{}",
            cut.len(),
            list(&cut)
        ),
    );
}

#[test]
#[ignore = "takes an hour: scripts/power-cuts"]
fn at_random_moments() {
    let rig = Rig::find().expect("scripts/power-cuts prepares it");
    let number = |name: &str, default| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let seed = number("BERTH_SEED", u64::from(std::process::id()));
    let moments = number("BERTH_MOMENTS", 20);
    eprintln!("BERTH_SEED={seed}");
    let took = undisturbed(&rig);
    let mut random = Random(seed);
    let mut rows = String::new();
    for _ in 0..moments {
        let row = at_a_moment(&rig, took.mul_f64(random.next()));
        eprintln!("{row}");
        writeln!(rows, "{row}").unwrap();
    }
    write(
        "moments",
        &format!(
            "{moments} bare servers, each cut once, at a random moment of the run (seed {seed}; a run without a cut \
             took {} s):\n\n| after | last line of the journal | next run |\n|---|---|---|\n{rows}",
            took.as_secs()
        ),
    );
}

fn list(lines: &[String]) -> String {
    let mut listed = String::new();
    for line in lines {
        writeln!(listed, "- {line}").unwrap();
    }
    listed
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

/// The result, between two markers of docs/reliability.md.
fn write(part: &str, text: &str) {
    let now = jiff::Zoned::now().strftime("%Y-%m-%d").to_string();
    let text = format!("On {now}. {text}");
    eprintln!("{text}");
    if std::env::var_os("BERTH_WRITE_DOCS").is_none() {
        return;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reliability.md");
    // Another part may end at the same time.
    let lock = std::fs::File::open(&path).unwrap();
    lock.lock().unwrap();
    let page = std::fs::read_to_string(&path).unwrap();
    let begin = format!("<!-- power-cuts {part}: begin (written by scripts/power-cuts) -->\n");
    let (before, rest) = page.split_once(&begin).expect("the page has the first marker");
    let (_, after) = rest.split_once("<!-- end -->").expect("the page has the second marker");
    std::fs::write(&path, format!("{before}{begin}{text}<!-- end -->{after}")).unwrap();
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
