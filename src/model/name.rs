//! Names of users, berths and images as people may choose them. They become paths, labels and host names.

/// Why a name cannot be used; the text says what to do.
pub type NameError = String;

/// Lower-case letters, digits and inner hyphens, at most 32 characters, starting with a letter.
pub fn check_name(what: &str, name: &str) -> Result<(), NameError> {
    let rule = "use 1 to 32 of a-z, 0-9 and -, starting with a letter and not ending in -";
    let shown: String = name.chars().take(40).collect();
    let shape = name.len() <= 32
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-')
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if shape { Ok(()) } else { Err(format!("{what} {shown:?} cannot be used; {rule}")) }
}

/// The name of a user, as accounts of a host are called: as [`check_name`], with inner underscores and single dots.
///
/// No capitals: ssh and some file systems take `Bob` and `bob` for one.
pub fn check_user_name(name: &str) -> Result<(), NameError> {
    let shown: String = name.chars().take(40).collect();
    let shape = name.len() <= 32
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.ends_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && !name.contains("..")
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b));
    if shape {
        return Ok(());
    }
    Err(format!(
        "user name {shown:?} cannot be used; use 1 to 32 of a-z, 0-9, -, _ and single dots, starting with a letter and \
         ending with a letter or digit"
    ))
}

/// A name out of the catalogue: as [`check_name`], with dots and underscores for versions.
pub fn check_image_name(name: &str) -> Result<(), NameError> {
    let shown: String = name.chars().take(80).collect();
    let shape = !name.is_empty()
        && name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && !name.contains("..")
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b));
    if shape {
        Ok(())
    } else {
        Err(format!("image name {shown:?} cannot be used; use 1 to 64 of a-z, 0-9, -, _ and single dots"))
    }
}

/// The name of an account in an image, which anybody may have made: it becomes a word for the ssh client.
///
/// A bare number is one too: an image's `USER` need not have a name.
pub fn check_account_name(name: &str) -> Result<(), NameError> {
    let shown: String = name.chars().take(40).collect();
    let is_number = (1..=10).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_digit());
    let shape = name.len() <= 32
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    if shape || is_number {
        Ok(())
    } else {
        Err(format!(
            "account name {shown:?} cannot be used; use 1 to 32 of a-z, A-Z, 0-9, _, . and -, starting with a letter or _"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_be_paths_or_options_are_refused() {
        for name in ["", "../x", "a b", "-a", "a-", "A", "0a", "a/b", "a.b", "ä", &"a".repeat(33), "a\n"] {
            assert!(check_name("berth name", name).is_err(), "{name:?}");
        }
        for name in ["a", "train-2", &"a".repeat(32)] {
            assert!(check_name("berth name", name).is_ok(), "{name:?}");
        }
    }

    #[test]
    fn users_may_be_called_as_their_accounts() {
        for name in ["a", "zhang_san", "zhang.san", "li-4", &"a".repeat(32)] {
            assert!(check_user_name(name).is_ok(), "{name:?}");
        }
        for name in [
            "", "Bob", "a..b", "../x", ".a", "a.", "a_", "_a", "1a", "a b", "a/b", "a@b", "a:b", "a$", "ä",
            "-a",
        ] {
            assert!(check_user_name(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn account_names_that_could_be_options_or_control_a_terminal_are_refused() {
        let long = "a".repeat(33);
        for name in
            ["", "-oProxyCommand=x", "a b", "a@b", "a/b", ".a", "1a", "\u{1b}[2J", "a\n", "ä", "a$", &long]
        {
            assert!(check_account_name(name).is_err(), "{name:?}");
        }
        for name in ["root", "ma-user", "_apt", "A.b-C_9", "4242", &"a".repeat(32)] {
            assert!(check_account_name(name).is_ok(), "{name:?}");
        }
    }

    #[test]
    fn image_names_may_carry_versions() {
        assert!(check_image_name("pytorch-2.5_cann8").is_ok());
        for name in ["", "../x", "a..b", ".a", "a:b", "a/b"] {
            assert!(check_image_name(name).is_err(), "{name:?}");
        }
    }
}
