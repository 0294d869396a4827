//! The systemd unit that continues bootstrap after the reboot.

use std::path::Path;

const TEMPLATE: &str = include_str!("../../../../systemd/berth-bootstrap.service");
const COMMAND: &str = "/usr/local/bin/berth bootstrap --apply --yes --after-reboot";
const MARKER: &str = "/var/lib/berth/bootstrap/resume";
const STATE: &str = "RequiresMountsFor=/var/lib/berth\n";

/// Returns the unit's text. `words` is the command line. `Err`: a word that cannot be written into a unit.
pub fn resume_unit(words: &[String], marker: &Path, state: &Path) -> Result<String, String> {
    let command: Vec<String> = words.iter().map(|word| quote(word)).collect::<Result<_, _>>()?;
    let (marker, state) = (quote_path(marker)?, quote_path(state)?);
    Ok(TEMPLATE
        .replace(&format!("ExecStart={COMMAND}\n"), &format!("ExecStart={}\n", command.join(" ")))
        .replace(&format!("ConditionPathExists={MARKER}\n"), &format!("ConditionPathExists={marker}\n"))
        .replace(STATE, &format!("RequiresMountsFor={state}\n")))
}

/// Quotes one word of a command line, in which systemd expands `%` and `$`, and splits at spaces.
fn quote(word: &str) -> Result<String, String> {
    if word.is_empty() || word.chars().any(char::is_control) {
        return Err(format!("{word:?} cannot stand in a systemd unit"));
    }
    let escaped = word.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@".contains(c);
    Ok(if word.chars().all(is_plain) { escaped } else { format!("\"{escaped}\"") })
}

/// Quotes a path that stands alone on its line.
fn quote_path(path: &Path) -> Result<String, String> {
    let text = path.to_str().filter(|text| !text.contains(|c: char| c.is_control() || c.is_whitespace()));
    let text = text.ok_or_else(|| format!("{} cannot stand in a systemd unit", path.display()))?;
    Ok(text.replace('%', "%%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn the_unit_says_what_it_runs_and_when() {
        let called = words(&["/opt/b/berth", "bootstrap", "--apply", "--yes", "--leave", "S 1%"]);
        let unit = resume_unit(&called, Path::new("/srv/s/bootstrap/resume"), Path::new("/srv/s")).unwrap();
        let has = |line: &str| assert!(unit.lines().any(|other| other == line), "{line}\n{unit}");
        has("ExecStart=/opt/b/berth bootstrap --apply --yes --leave \"S 1%%\"");
        has("ConditionPathExists=/srv/s/bootstrap/resume");
        has("RequiresMountsFor=/srv/s");
        assert!(!unit.contains("ExecStart=/usr/local"));
    }

    #[test]
    fn the_defaults_are_those_of_the_file_that_we_ship() {
        let called = words(&COMMAND.split(' ').collect::<Vec<_>>());
        let unit = resume_unit(&called, Path::new(MARKER), Path::new("/var/lib/berth")).unwrap();
        assert_eq!(unit, TEMPLATE);
    }

    #[test]
    fn what_a_unit_cannot_hold_is_refused() {
        let path = Path::new("/a");
        for word in ["", "a\nExecStartPre=/bin/x", "a\u{7}"] {
            assert!(resume_unit(&words(&[word]), path, path).is_err(), "{word:?}");
        }
        assert!(resume_unit(&words(&["a"]), Path::new("/a b"), path).is_err());
        assert_eq!(quote("$HOME\"\\").unwrap(), "\"$$HOME\\\"\\\\\"");
    }
}
