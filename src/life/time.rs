//! Arithmetic of times that cannot fail: what lies beyond the calendar is never.

use jiff::Timestamp;
use std::time::Duration;

/// Later than everything. What is never free is free then.
pub(super) const NEVER: Timestamp = Timestamp::MAX;

pub(super) fn after(time: Timestamp, span: Duration) -> Timestamp {
    time.checked_add(span).unwrap_or(NEVER)
}

/// Zero where `to` is not later.
pub fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}
