//! Whether a berth does nothing, from samples of its work. What was not measured is never idle.
//!
//! The window is a time and no number of samples. It is counted on the time since the machine was started: setting a clock
//! makes nobody idle. One look that saw work begins the window anew.

use crate::model::clock::{BootTime, Moment as _};
use crate::model::idle::{Evidence, Sample};
use std::time::Duration;

/// What counts as no work, and for how long. The profile's `[idle]` has all but the last two.
#[derive(Debug, Clone, PartialEq)]
pub struct IdleRules {
    /// A berth that did nothing for this long is idle.
    pub window: Duration,
    /// AICore load from which on a card works, in percent.
    pub aicore: u64,
    /// CPU from which on a container works, in percent of one core for each card.
    pub cpu: u64,
    /// Change of the cards' memory from which on somebody works, in percent of all of it.
    pub hbm: u64,
    /// Bytes in a minute over SSH, both ways, from which on somebody works.
    pub ssh_bytes: u64,
    /// How often a sample is taken.
    pub every: Duration,
    /// A berth that is watched for less is never idle.
    pub protected: Duration,
}

/// Of the samples that a window should have, so many of a hundred have to be there.
const ENOUGH: u128 = 80;
/// The last sample may be this many times older than the next one is due.
const FRESH: u32 = 3;

/// A berth that does nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quiet {
    pub since: BootTime,
    /// A process holds memory of its cards.
    pub parked: bool,
    pub evidence: Evidence,
}

/// Whether a berth with so many cards, watched since `from`, does nothing. The oldest sample comes first.
pub fn quiet(
    samples: &[Sample],
    from: BootTime,
    now: BootTime,
    cards: usize,
    rules: &IdleRules,
) -> Option<Quiet> {
    let last = samples.last()?;
    let is_fresh = now.since(last.at) <= rules.every * FRESH;
    if !is_fresh || now.since(from) < rules.window.max(rules.protected) {
        return None;
    }
    let run = quiet_run(samples, cards, rules);
    let since = run.first()?.at;
    let in_window = run.iter().filter(|sample| now.since(sample.at) < rules.window).count();
    let expected = expected(rules);
    let is_long = now.since(since) >= rules.window.saturating_sub(rules.every);
    let are_enough = widened(in_window) * 100 >= widened(expected) * ENOUGH;
    (is_long && are_enough).then(|| Quiet {
        since,
        parked: last.held,
        evidence: Evidence { samples: in_window, expected, ..evidence(run) },
    })
}

/// How many samples a window should have.
fn expected(rules: &IdleRules) -> usize {
    let every = rules.every.max(Duration::from_millis(1));
    usize::try_from((rules.window.as_nanos() / every.as_nanos()).max(1)).unwrap_or(usize::MAX)
}

/// The samples after the last one that saw work.
fn quiet_run<'a>(samples: &'a [Sample], cards: usize, rules: &IdleRules) -> &'a [Sample] {
    let (mut least, mut most) = (u64::MAX, u64::MIN);
    let mut is_quiet = |sample: &Sample| {
        (least, most) = (least.min(sample.hbm_mib), most.max(sample.hbm_mib));
        let moved = u128::from(most - least) * 100 > u128::from(sample.hbm_total_mib) * u128::from(rules.hbm);
        !moved && !works(sample, cards, rules)
    };
    let count = samples.iter().rev().take_while(|sample| is_quiet(sample)).count();
    samples.get(samples.len() - count..).unwrap_or_default()
}

fn works(sample: &Sample, cards: usize, rules: &IdleRules) -> bool {
    let percent = u32::try_from(rules.cpu).map_or(f64::INFINITY, f64::from);
    let cards = u32::try_from(cards).map_or(f64::INFINITY, f64::from);
    let busy = sample.cores * 100.0 >= percent * cards;
    sample.aicore >= rules.aicore || busy || sample.typed || sample.bytes >= rules.ssh_bytes
}

fn evidence(run: &[Sample]) -> Evidence {
    let most = |of: fn(&Sample) -> u64| run.iter().map(of).max().unwrap_or_default();
    let least_hbm = run.iter().map(|sample| sample.hbm_mib).min().unwrap_or_default();
    Evidence {
        aicore_percent: most(|sample| sample.aicore),
        hbm_mib: run.last().map_or(0, |sample| sample.hbm_mib),
        hbm_change_mib: most(|sample| sample.hbm_mib) - least_hbm,
        cpu_cores: run.iter().map(|sample| sample.cores).fold(0.0, f64::max),
        ssh_bytes: most(|sample| sample.bytes),
        samples: run.len(),
        expected: run.len(),
    }
}

fn widened(count: usize) -> u128 {
    u128::try_from(count).unwrap_or(u128::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60;

    fn rules() -> IdleRules {
        IdleRules {
            window: Duration::from_hours(2),
            aicore: 5,
            cpu: 5,
            hbm: 1,
            ssh_bytes: 1024,
            every: Duration::from_mins(1),
            protected: Duration::from_mins(30),
        }
    }

    fn at(minute: u64) -> BootTime {
        BootTime(Duration::from_secs(minute * MINUTE))
    }

    fn still(minute: u64) -> Sample {
        Sample {
            at: at(minute),
            aicore: 0,
            hbm_mib: 3000,
            hbm_total_mib: 65_536,
            held: false,
            cores: 0.01,
            bytes: 0,
            typed: false,
        }
    }

    fn hours(minutes: u64) -> Vec<Sample> {
        (1..=minutes).map(still).collect()
    }

    /// At the time of the last sample.
    fn judged(samples: &[Sample]) -> Option<Quiet> {
        quiet(samples, at(0), samples.last().unwrap().at, 1, &rules())
    }

    #[test]
    fn a_whole_window_without_work_is_idle() {
        let found = judged(&hours(120)).unwrap();
        assert_eq!((found.since, found.parked), (at(1), false));
        assert_eq!((found.evidence.samples, found.evidence.expected), (120, 120));
        assert_eq!(judged(&hours(118)), None);
    }

    type Change = fn(&mut Sample);

    #[test]
    fn one_look_that_saw_work_begins_the_window_anew() {
        let changes: [(&str, Change); 5] = [
            ("key", |sample| sample.typed = true),
            ("card", |sample| sample.aicore = 5),
            ("cpu", |sample| sample.cores = 0.05),
            ("ssh", |sample| sample.bytes = 1024),
            ("memory", |sample| sample.hbm_mib += 656),
        ];
        for (what, change) in changes {
            let mut samples = hours(120);
            change(&mut samples[60]);
            assert_eq!(judged(&samples), None, "{what}");
            samples.extend((121..=181).map(still));
            assert_eq!(judged(&samples).unwrap().since, at(62), "{what}");
        }
        let smaller: [Change; 4] = [
            |sample| sample.aicore = 4,
            |sample| sample.cores = 0.049,
            |sample| sample.bytes = 1023,
            |sample| sample.hbm_mib += 655,
        ];
        for change in smaller {
            let mut samples = hours(120);
            change(&mut samples[60]);
            assert!(judged(&samples).is_some());
        }
        // Eight cards may need more of a CPU.
        let mut samples = hours(120);
        samples[60].cores = 0.3;
        assert!(quiet(&samples, at(0), at(120), 8, &rules()).is_some());
    }

    #[test]
    fn memory_that_grows_slowly_is_work() {
        let mut samples = hours(240);
        for (sample, more) in samples.iter_mut().zip(0..) {
            sample.hbm_mib += more * 10;
        }
        assert_eq!(judged(&samples), None);
    }

    #[test]
    fn a_model_that_is_loaded_and_not_used_is_parked() {
        let mut samples = hours(120);
        for sample in &mut samples {
            sample.held = true;
        }
        assert!(judged(&samples).unwrap().parked);
    }

    #[test]
    fn what_was_not_measured_is_never_idle() {
        let judge = |samples: &[Sample], now| quiet(samples, at(0), at(now), 1, &rules());
        assert_eq!(judge(&[], 500), None);
        // One in five may be missing, and not more.
        let some = |of: u64| -> Vec<Sample> {
            hours(240).into_iter().filter(|s| !(s.at.0.as_secs() / MINUTE).is_multiple_of(of)).collect()
        };
        assert!(judged(&some(5)).is_some());
        assert_eq!(judged(&some(4)), None);
        // Nor may the last ones be.
        assert!(judge(&hours(240), 243).is_some());
        assert_eq!(judge(&hours(240), 244), None);
    }

    #[test]
    fn a_berth_that_is_watched_for_a_moment_is_never_idle() {
        let short = IdleRules { window: Duration::from_mins(10), ..rules() };
        let judge = |from| quiet(&hours(60), at(from), at(60), 1, &short);
        assert!(judge(30).is_some());
        assert_eq!(judge(31), None);
    }
}
