//! Which CANN is documented to work on which driver.

use super::version::compare;

/// Drivers (HDK) and the newest CANN that is documented to work on them: the vendor's release notes, its quick
/// installation guides, and the image pages of its cloud. Point releases are often compatible, so what is newer than
/// this gets a warning, never a refusal. The most exact row counts: 24.1.rc1 before 24.1.
const NEWEST_CANN: [(&str, &str); 12] = [
    ("23.0", "8.0.rc3"),
    ("24.1.rc1", "8.0.rc1"),
    ("24.1.rc2", "8.0.rc2"),
    ("24.1.rc3", "8.0.rc3"),
    ("24.1", "8.2.rc1"),
    ("25.0", "9.0"),
    ("25.2", "9.0"),
    ("25.3", "9.0"),
    ("25.5", "9.1"),
    ("25.7", "9.0"),
    ("26.0", "9.1"),
    ("26.1", "9.1"),
];

/// `None` when the table does not know the driver.
pub fn newest_cann_for(driver: &str) -> Option<&'static str> {
    let driver = driver.trim().to_ascii_lowercase();
    NEWEST_CANN
        .iter()
        .filter(|(known, _)| driver == *known || driver.starts_with(&format!("{known}.")))
        .max_by_key(|(known, _)| known.len())
        .map(|(_, cann)| *cann)
}

/// Whether this CANN is newer than the table's: a row that says 9.0 takes in all patches of 9.0.
pub fn is_newer_cann(cann: &str, newest: &str) -> bool {
    let parts = newest.split('.').count();
    let cann = cann.split('.').take(parts).collect::<Vec<_>>().join(".");
    compare(&cann, newest).is_gt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_exact_row_counts() {
        assert_eq!(newest_cann_for("24.1.rc1"), Some("8.0.rc1"));
        assert_eq!(newest_cann_for("24.1.RC3.5"), Some("8.0.rc3"));
        assert_eq!(newest_cann_for("24.1.0.3"), Some("8.2.rc1"));
        assert_eq!(newest_cann_for("25.5.1"), Some("9.1"));
        assert_eq!((newest_cann_for("22.0"), newest_cann_for("25.50")), (None, None));
        for known in ["25.3.rc1.2", "25.7.RC1", "26.0.rc1"] {
            assert!(newest_cann_for(known).is_some(), "{known}");
        }
    }

    #[test]
    fn a_row_takes_in_its_patches() {
        assert!(!is_newer_cann("9.0.1", "9.0") && !is_newer_cann("9.0.0-beta.2", "9.0"));
        assert!(is_newer_cann("9.1.0", "9.0") && is_newer_cann("8.2.0", "8.2.rc1"));
        assert!(!is_newer_cann("8.2.rc1", "8.2.rc1") && !is_newer_cann("8.0.rc3", "8.2.rc1"));
    }
}
