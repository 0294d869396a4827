//! Which firmware is compatible with which driver: the driver's own files say it, else a table of releases.

use crate::model::driver::DriverFacts;
use crate::model::version::{is_same, is_within};

/// Driver releases, and the firmware that the vendor's release notes name for each. A driver works with more than
/// these: once installed, its files say with which. The most exact row counts: 24.1.rc1 before 24.1.
const KNOWN: [(&str, &[&str]); 7] = [
    ("23.0", &["7.1"]),
    ("24.1.rc1", &["7.1"]),
    ("24.1", &["7.5"]),
    ("25.0", &["7.7"]),
    ("25.2", &["7.7", "7.8"]),
    ("25.3", &["7.8"]),
    ("25.5", &["7.8"]),
];

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fit {
    Yes,
    /// They are not compatible; the firmware that would be.
    No(String),
    /// It is known only once both are installed.
    Unknown,
}

pub(super) fn fit(driver: &str, firmware: &str, installed: &DriverFacts) -> Fit {
    let is_installed = installed.package().is_some_and(|version| is_same(version, driver));
    if is_installed && !installed.firmware_ranges.is_empty() {
        return within(firmware, &installed.firmware_ranges);
    }
    let lower = driver.to_ascii_lowercase();
    let starts = |version: &str, with: &str| version == with || version.starts_with(&format!("{with}."));
    let row = KNOWN.iter().filter(|(known, _)| starts(&lower, known)).max_by_key(|(known, _)| known.len());
    match row {
        None => Fit::Unknown,
        Some((_, with)) if with.iter().any(|with| starts(firmware, with)) => Fit::Yes,
        Some((_, with)) => Fit::No(format!("firmware {}", with.join(".x or ") + ".x")),
    }
}

/// Why the installed driver and firmware do not fit, by the driver's own files; `None`: they fit, or nothing says so.
pub fn installed_misfit(files: &DriverFacts) -> Option<String> {
    let (Some(driver), Some(firmware)) = (files.package(), &files.firmware) else { return None };
    if files.firmware_ranges.is_empty() {
        return None;
    }
    match within(firmware, &files.firmware_ranges) {
        Fit::No(with) => {
            Some(format!("driver {driver} goes with {with}, and firmware {firmware} is installed"))
        }
        Fit::Yes | Fit::Unknown => None,
    }
}

fn within(firmware: &str, ranges: &[(String, String)]) -> Fit {
    if ranges.iter().any(|range| is_within(firmware, range)) {
        return Fit::Yes;
    }
    let shown: Vec<String> = ranges.iter().map(|(low, high)| format!("{low} to {high}")).collect();
    Fit::No(format!("firmware {}", shown.join(" or ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_installed_driver_knows_best() {
        let ranges = vec![("7.0.0".to_owned(), "7.2.99".to_owned())];
        let installed = DriverFacts {
            version: Some("24.1.rc1".into()),
            firmware_ranges: ranges,
            ..DriverFacts::default()
        };
        assert_eq!(fit("24.1.RC1", "7.2.0.1", &installed), Fit::Yes);
        assert_eq!(fit("24.1.rc1", "7.5.0.1", &installed), Fit::No("firmware 7.0.0 to 7.2.99".into()));
        assert_eq!(fit("25.5.1", "7.8.0.6.201", &installed), Fit::Yes, "the table, for another driver");
    }

    #[test]
    fn the_most_exact_row_counts() {
        let none = DriverFacts::default();
        for (driver, firmware, fits) in [
            ("24.1.rc1", "7.1.0.6.220", Fit::Yes),
            ("24.1.rc2", "7.5.0.1.129", Fit::Yes),
            ("24.1.0.3", "7.1.0.6.220", Fit::No("firmware 7.5.x".into())),
            ("25.5.1", "7.5.0.5.220", Fit::No("firmware 7.8.x".into())),
            ("25.2.1", "7.6.0", Fit::No("firmware 7.7.x or 7.8.x".into())),
            ("25.5.1", "7.80.0", Fit::No("firmware 7.8.x".into())),
            ("26.1.0", "7.9.0", Fit::Unknown),
        ] {
            assert_eq!(fit(driver, firmware, &none), fits, "{driver} {firmware}");
        }
    }
}
