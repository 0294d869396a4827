//! How a berth that does nothing is shown: since when, and what was measured.

use super::call::relative;
use crate::model::idle::{IdleCode, IdleView};
use jiff::Timestamp;

/// `idle since 2h 10m ago`
pub(super) fn short(idle: &IdleView, now: Timestamp) -> String {
    let word = match idle.code {
        IdleCode::Idle => "idle",
        IdleCode::Parked => "parked",
    };
    format!("{word}, last work {}", relative(idle.since, now))
}

/// With the numbers.
pub(super) fn long(idle: &IdleView, now: Timestamp) -> String {
    let seen = &idle.evidence;
    let holds = match idle.code {
        IdleCode::Idle => "",
        IdleCode::Parked => ", held by a process",
    };
    format!(
        "{}: AICore at most {} %, memory {} MiB (± {}){holds}, CPU at most {:.2} cores, SSH at most {} bytes a minute; {} of {} samples",
        short(idle, now),
        seen.aicore_percent,
        seen.hbm_mib,
        seen.hbm_change_mib,
        seen.cpu_cores,
        seen.ssh_bytes,
        seen.samples,
        seen.expected
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::idle::Evidence;

    #[test]
    fn idleness_is_shown_with_its_evidence() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let evidence = Evidence {
            aicore_percent: 1,
            hbm_mib: 30_000,
            hbm_change_mib: 4,
            cpu_cores: 0.021,
            ssh_bytes: 312,
            samples: 118,
            expected: 120,
        };
        let idle = IdleView { code: IdleCode::Parked, since: at("2026-12-01T09:50:00Z"), evidence };
        assert_eq!(
            long(&idle, at("2026-12-01T12:00:00Z")),
            "parked, last work 2h 10m ago: AICore at most 1 %, memory 30000 MiB (± 4), held by a process, CPU at most 0.02 cores, \
             SSH at most 312 bytes a minute; 118 of 120 samples"
        );
    }
}
