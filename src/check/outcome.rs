//! What a check found, before its severity makes a verdict of it.

use crate::check::report::{CheckResult, CheckVerdict, Severity};
use crate::model::check_facts::{Look, NotLooked};
use crate::model::text::plain;

/// Evidence is cut at so many characters: the output of tools has no limit.
const MOST_TEXT: usize = 300;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Good(String),
    /// As bad as the check's severity says.
    Bad {
        seen: String,
        remedy: String,
    },
    /// A warning, whatever the severity.
    Doubtful {
        seen: String,
        remedy: String,
    },
    Skipped(String),
}

pub fn good(seen: impl Into<String>) -> Outcome {
    Outcome::Good(seen.into())
}

pub fn bad(seen: impl Into<String>, remedy: impl Into<String>) -> Outcome {
    Outcome::Bad { seen: seen.into(), remedy: remedy.into() }
}

pub fn doubtful(seen: impl Into<String>, remedy: impl Into<String>) -> Outcome {
    Outcome::Doubtful { seen: seen.into(), remedy: remedy.into() }
}

pub fn skipped(reason: impl Into<String>) -> Outcome {
    Outcome::Skipped(reason.into())
}

/// Returns the fact, or `Err` to end the check as `could not look`.
pub fn looked<T>(look: &Look<T>) -> Result<&T, NotLooked> {
    look.as_ref().map_err(Clone::clone)
}

impl Outcome {
    pub(super) fn write_to(self, result: &mut CheckResult) {
        let (verdict, seen, remedy) = match self {
            Self::Good(seen) => (CheckVerdict::Ok, seen, None),
            Self::Bad { seen, remedy } => (bad_verdict(result.severity), seen, Some(remedy)),
            Self::Doubtful { seen, remedy } => (CheckVerdict::Warn, seen, Some(remedy)),
            Self::Skipped(reason) => {
                result.reason = Some(reason);
                return;
            }
        };
        result.verdict = verdict;
        result.seen = Some(shorten(&seen));
        result.remedy = remedy.map(|remedy| shorten(&remedy));
    }
}

fn bad_verdict(severity: Severity) -> CheckVerdict {
    match severity {
        Severity::Required => CheckVerdict::Fail,
        Severity::Advised => CheckVerdict::Warn,
    }
}

/// One printable line of bounded length.
pub(super) fn shorten(text: &str) -> String {
    let mut line: String = text
        .chars()
        .take(MOST_TEXT)
        .map(|c| if c == '\n' || c == '\t' { ' ' } else { c })
        .map(plain)
        .collect();
    if text.chars().nth(MOST_TEXT).is_some() {
        line.push('…');
    }
    line
}

/// `a, b and 5 more`
pub(super) fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    const MOST: usize = 8;
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    let shown = items.iter().take(MOST).map(String::as_str).collect::<Vec<_>>().join(", ");
    match items.len().saturating_sub(MOST) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_one_bounded_line() {
        assert_eq!(shorten("a\nb\u{1b}[31m"), "a b\u{fffd}[31m");
        assert_eq!(shorten(&"é".repeat(5000)).chars().count(), MOST_TEXT + 1);
        assert_eq!(list(0..3), "0, 1, 2");
        assert_eq!(list(0..20), "0, 1, 2, 3, 4, 5, 6, 7 and 12 more");
        assert_eq!(list::<u8>([]), "");
    }
}
