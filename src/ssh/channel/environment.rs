//! The environment of a session. Pure: maps in, a map out.

use crate::ssh::user::account::Account;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

pub(in crate::ssh) type Environment = BTreeMap<OsString, OsString>;

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What a script's own shell leaves behind and no session wants.
const SHELL_LEFTOVERS: [&str; 4] = ["_", "PWD", "OLDPWD", "SHLVL"];
/// Of one variable of a client; the kernel gives a program no more than 128 KiB in one.
const VALUE_LIMIT: usize = 32 << 10;
/// Variables of a client, and bytes of all of their values. The kernel has a limit of both with the arguments.
const CLIENT_LIMIT: usize = 64;
const CLIENT_BYTES: usize = 256 << 10;
const NAME_LIMIT: usize = 64;

/// Why a variable of a client is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ssh) enum NotTaken {
    Name,
    Value,
    TooMany,
}

impl fmt::Display for NotTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => f.write_str("clients may set LANG, LC_*, TZ and the like only"),
            Self::Value => write!(f, "its value is longer than {} KiB, or has a NUL", VALUE_LIMIT >> 10),
            Self::TooMany => write!(
                f,
                "a session takes {CLIENT_LIMIT} variables, of {} KiB together, before its program starts",
                CLIENT_BYTES >> 10
            ),
        }
    }
}

/// Whether a client may set this variable beside those that it has set already: languages, terminals and their like,
/// nothing that steers a loader. Of `LC_*` any: people carry values of their own in them.
pub(in crate::ssh) fn client_may_set(name: &str, value: &str, already: &Environment) -> Result<(), NotTaken> {
    const NAMES: [&str; 8] =
        ["LANG", "LANGUAGE", "TERM", "COLORTERM", "TERM_PROGRAM", "TERM_PROGRAM_VERSION", "NO_COLOR", "TZ"];
    let is_locale = name.len() <= NAME_LIMIT
        && name.strip_prefix("LC_").is_some_and(|rest| {
            !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        });
    let bytes: usize = already.values().map(|value| value.len()).sum();
    if !is_locale && !NAMES.contains(&name) {
        Err(NotTaken::Name)
    } else if value.len() > VALUE_LIMIT || value.contains('\0') {
        Err(NotTaken::Value)
    } else if already.len() >= CLIENT_LIMIT || bytes + value.len() > CLIENT_BYTES {
        Err(NotTaken::TooMany)
    } else {
        Ok(())
    }
}

/// The environment that a script, or a session without one, starts from.
pub(in crate::ssh) fn base(
    container: &Environment,
    configured: &BTreeMap<String, String>,
    account: &Account,
    home: &Path,
    shell: &Path,
) -> Environment {
    let mut environment = container.clone();
    environment.retain(|name, _| !SHELL_LEFTOVERS.iter().any(|leftover| name == leftover));
    environment.extend(configured.iter().map(|(name, value)| (name.into(), value.into())));
    for (name, value) in [
        ("HOME", home.as_os_str()),
        ("USER", account.name.as_ref()),
        ("LOGNAME", account.name.as_ref()),
        ("SHELL", shell.as_os_str()),
    ] {
        environment.insert(name.into(), value.into());
    }
    environment.entry("PATH".into()).or_insert_with(|| DEFAULT_PATH.into());
    environment
}

/// Puts a directory at the end of `PATH`, where it hides no program of the image.
pub(in crate::ssh) fn append_to_path(environment: &mut Environment, dir: &Path) {
    let path = environment.entry("PATH".into()).or_default();
    if !path.is_empty() {
        path.push(":");
    }
    path.push(dir);
}

/// Reads NUL separated `NAME=value`, as a script's environment comes back.
pub(in crate::ssh) fn read_block(block: &[u8]) -> Environment {
    block
        .split(|byte| *byte == 0)
        .filter_map(|entry| {
            let at = entry.iter().position(|byte| *byte == b'=').filter(|at| *at > 0)?;
            let (name, value) = entry.split_at(at);
            let name = OsStr::from_bytes(name);
            let keep = !SHELL_LEFTOVERS.iter().any(|leftover| name == *leftover);
            keep.then(|| (name.to_owned(), OsStr::from_bytes(value.get(1..).unwrap_or_default()).to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::session::SessionConfig;

    #[test]
    fn clients_set_languages_and_terminals_only() {
        let none = Environment::new();
        for name in ["LANG", "LC_ALL", "LC_CTYPE", "LC_V1", "LC_my_theme", "COLORTERM", "TZ"] {
            assert_eq!(client_may_set(name, "C", &none), Ok(()), "{name}");
        }
        let long = format!("LC_{}", "X".repeat(NAME_LIMIT));
        for name in
            ["LD_PRELOAD", "PATH", "BASH_ENV", "LC_", "LC_x=y", "LC_é", "LC_A B", "lang", "ENV", "", &long]
        {
            assert_eq!(client_may_set(name, "x", &none), Err(NotTaken::Name), "{name}");
        }
        let most = "x".repeat(VALUE_LIMIT);
        assert_eq!(client_may_set("LC_V1", &most, &none), Ok(()));
        assert_eq!(client_may_set("LC_V1", &format!("{most}x"), &none), Err(NotTaken::Value));
        assert_eq!(client_may_set("LANG", "x\0y", &none), Err(NotTaken::Value));
        let set = |count: usize, value: &str| -> Environment {
            (0..count).map(|at| (format!("LC_{at}").into(), value.into())).collect()
        };
        assert_eq!(client_may_set("LANG", "C", &set(CLIENT_LIMIT, "")), Err(NotTaken::TooMany));
        assert_eq!(client_may_set("LANG", "C", &set(CLIENT_LIMIT - 1, "")), Ok(()));
        let full = set(CLIENT_BYTES / VALUE_LIMIT, &most);
        assert_eq!(client_may_set("LANG", "C", &full), Err(NotTaken::TooMany));
    }

    #[test]
    fn the_containers_environment_stays_and_the_user_is_named() {
        let container: Environment = [("ASCEND_HOME", "/a"), ("HOME", "/root"), ("PWD", "/x")]
            .map(|(n, v)| (n.into(), v.into()))
            .into();
        let configured = [("CARDS".to_owned(), "0,1".to_owned())].into();
        let account = Account::choose(&SessionConfig::default(), "", "").unwrap();
        let environment =
            base(&container, &configured, &account, Path::new("/home/me"), Path::new("/bin/bash"));
        let value =
            |name: &str| environment.get(OsStr::new(name)).map(|value| value.to_string_lossy().into_owned());
        assert_eq!(value("ASCEND_HOME").as_deref(), Some("/a"));
        assert_eq!(value("CARDS").as_deref(), Some("0,1"));
        assert_eq!(value("HOME").as_deref(), Some("/home/me"));
        assert_eq!(value("USER").as_deref(), Some("root"));
        assert_eq!(value("PATH").as_deref(), Some(DEFAULT_PATH));
        assert_eq!(value("PWD"), None);
    }

    #[test]
    fn programs_for_images_that_lack_them_come_last() {
        let mut environment: Environment = [("PATH".into(), "/a:/b".into())].into();
        append_to_path(&mut environment, Path::new("/c"));
        assert_eq!(environment.get(OsStr::new("PATH")).unwrap(), "/a:/b:/c");
    }

    #[test]
    fn a_block_reads_back_and_nonsense_is_skipped() {
        let environment = read_block(b"A=1\0B=two=2\0multi=a\nb\0=x\0nothing\0SHLVL=2\0E=\0");
        let names: Vec<_> = environment.keys().map(|name| name.to_string_lossy().into_owned()).collect();
        assert_eq!(names, ["A", "B", "E", "multi"]);
        assert_eq!(environment.get(OsStr::new("B")).unwrap(), "two=2");
    }
}
