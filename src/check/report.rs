//! What `berth check` says: the shape of `berth check --json`, schema 1 (docs/checks.md).

use serde::{Deserialize, Serialize};
use std::fmt;

pub const SCHEMA: u32 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckVerdict {
    Ok,
    Warn,
    Fail,
    /// The facts are missing. This is not a good result.
    CouldNotLook,
    /// It does not apply here, or the profile does not want it.
    Skipped,
}

impl fmt::Display for CheckVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::CouldNotLook => "could-not-look",
            Self::Skipped => "skipped",
        })
    }
}

/// What the worst finding of a check means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The node cannot be used as the profile wants it: `fail`.
    Required,
    /// The node works, but this should be mended before it causes trouble: `warn`.
    Advised,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckResult {
    /// Never changes: scripts select by it.
    pub id: String,
    pub title: String,
    pub severity: Severity,
    pub verdict: CheckVerdict,
    /// The evidence; `null` where nothing was seen.
    pub seen: Option<String>,
    /// What the profile wants; `null` where it wants nothing.
    pub wanted: Option<String>,
    /// What to do, a command where there is one.
    pub remedy: Option<String>,
    /// Why it could not be looked at, or was skipped.
    pub reason: Option<String>,
}

impl CheckResult {
    /// Whether the check makes the report fail. `could not look` counts as bad as the check's severity allows.
    pub fn stops(&self) -> bool {
        match self.verdict {
            CheckVerdict::Fail => true,
            CheckVerdict::CouldNotLook => self.severity == Severity::Required,
            CheckVerdict::Ok | CheckVerdict::Warn | CheckVerdict::Skipped => false,
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    pub ok: usize,
    pub warn: usize,
    pub fail: usize,
    pub could_not_look: usize,
    pub skipped: usize,
    /// False: the exit code is 4.
    pub passed: bool,
}

/// How long one probe took, for whoever wants to know why a check is slow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeTime {
    pub probe: String,
    pub ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckReport {
    pub schema: u32,
    pub profile: String,
    pub host: Option<String>,
    pub checks: Vec<CheckResult>,
    pub summary: Summary,
    /// The whole, and each probe.
    pub total_ms: u64,
    pub probes: Vec<ProbeTime>,
}

impl Summary {
    pub fn of(checks: &[CheckResult]) -> Self {
        let count = |verdict| checks.iter().filter(|check| check.verdict == verdict).count();
        Self {
            ok: count(CheckVerdict::Ok),
            warn: count(CheckVerdict::Warn),
            fail: count(CheckVerdict::Fail),
            could_not_look: count(CheckVerdict::CouldNotLook),
            skipped: count(CheckVerdict::Skipped),
            passed: !checks.iter().any(CheckResult::stops),
        }
    }
}
