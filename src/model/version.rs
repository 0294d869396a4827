//! Versions of drivers, firmware, CANN, kernels and Docker: how they compare.

use std::cmp::Ordering;

/// A part of a version; what comes before a release sorts before its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Alpha(u64),
    Beta(u64),
    Candidate(u64),
    /// A number, or 0 and the number of a build: 25.5.0 < 25.5.0.b061 < 25.5.0.b062 < 25.5.0.1.
    Number(u64, u64),
}

impl Part {
    fn parse(text: &str) -> Self {
        let number = |digits: &str| digits.parse().unwrap_or(0);
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if let Some(rest) = text.strip_prefix("rc") {
            Self::Candidate(number(rest))
        } else if let Some(rest) = text.strip_prefix("beta") {
            Self::Beta(number(rest))
        } else if let Some(rest) = text.strip_prefix("alpha") {
            Self::Alpha(number(rest))
        } else if let Some(rest) = text.strip_prefix(['b', 't']).filter(|rest| is_number(rest)) {
            Self::Number(0, number(rest))
        } else {
            // Letters behind a number add nothing that could be compared.
            let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
            Self::Number(number(&digits), 0)
        }
    }
}

/// Compares as the vendor counts: 24.1.rc3 < 24.1.0.3 < 24.1.0.6 < 25.0.rc1.1; 8.5 = 8.5.0.
pub fn compare(left: &str, right: &str) -> Ordering {
    let (left, right) = (parts(left), parts(right));
    let longest = left.len().max(right.len());
    let at = |parts: &[Part], index: usize| parts.get(index).copied().unwrap_or(Part::Number(0, 0));
    (0..longest)
        .map(|index| at(&left, index).cmp(&at(&right, index)))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

fn parts(version: &str) -> Vec<Part> {
    const MOST: usize = 12;
    let lower = version.trim().trim_start_matches(['v', 'V']).to_ascii_lowercase();
    lower.split(['.', '-', '+', '_']).take(MOST).map(Part::parse).collect()
}

/// The very same version; letters may be large or small.
pub fn is_same(left: &str, right: &str) -> bool {
    left.trim().eq_ignore_ascii_case(right.trim())
}

/// Whether it starts like one; an empty or hostile text compares with nothing.
pub fn is_version(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-_+".contains(c);
    let digits = text.trim_start_matches(['v', 'V']);
    text.len() <= 100
        && digits.starts_with(|c: char| c.is_ascii_digit())
        && digits.contains('.')
        && text.chars().all(is_plain)
}

/// `[7.0.0,7.2.99]`: both ends are in it.
pub fn is_within(version: &str, range: &(String, String)) -> bool {
    compare(version, &range.0).is_ge() && compare(version, &range.1).is_le()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_in_the_vendors_order() {
        let rising = [
            "8.0.rc1",
            "8.0.RC3.beta1",
            "8.0.0",
            "8.2.rc1",
            "8.5.1",
            "9.1.0-beta.3",
            "9.1.0",
            "23.0.rc2",
            "23.0.5",
            "23.0.6",
            "24.1.rc1",
            "24.1.RC3.5",
            "24.1.0.3",
            "24.1.0.6",
            "25.0.rc1.1",
            "25.2.1",
            "25.5.0",
            "25.5.0.b061",
            "25.5.0.B062",
            "25.5.0.1",
            "25.10",
            "25.10.T9",
            "25.10.T10",
        ];
        for pair in rising.windows(2) {
            assert!(compare(pair[0], pair[1]).is_lt(), "{pair:?}");
        }
        assert!(
            compare("8.5", "8.5.0").is_eq() && !is_same("8.5", "8.5.0") && is_same("24.1.RC1", "24.1.rc1")
        );
        assert!(compare("v20.10.24+dfsg1", "20.10.24").is_ge());
        assert!(compare("4.19.90-vhulk2211.3.0.h1543.eulerosv2r10.aarch64", "4.19").is_ge());
        assert!(compare("3.10.0", "4.19").is_lt());
    }

    #[test]
    fn ranges_take_in_both_ends() {
        let range = ("7.0.0".to_owned(), "7.2.99".to_owned());
        assert!(
            is_within("7.1.0.6.220", &range) && is_within("7.2.99", &range) && is_within("7.0.0", &range)
        );
        assert!(!is_within("7.5.0.5.220", &range) && !is_within("6.4.12", &range));
    }

    #[test]
    fn what_is_no_version_is_known() {
        assert!(is_version("24.1.rc1") && is_version("25.5.0.b061"));
        for text in ["", "NA", "7", "1.2; reboot", "1.2/../3", &"1.".repeat(99)] {
            assert!(!is_version(text), "{text}");
        }
    }
}
