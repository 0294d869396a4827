//! Which scripts make a session's environment: the profile's, and those that the image's entrypoint and the user's
//! `.bashrc` source. So a command over SSH has the environment that `docker run` would give it.
//!
//! It reads those files and picks paths of scripts by name. Nothing is run here, and other lines of those files are
//! ignored.

use crate::model::session::SessionConfig;
use crate::ssh::user::account::Account;
use crate::ssh::user::image;
use std::path::{Path, PathBuf};

/// The vendor calls them so, in CANN, in NNAL and beside; other scripts do more than set an environment.
const BEGINNINGS: [&str; 2] = ["set_env", "setenv"];
const TEXT_LIMIT: u64 = 64 << 10;
const MOST_SCRIPTS: usize = 8;

/// In the order in which they are sourced, each once, and only those that are there.
pub(in crate::ssh) fn scripts(config: &SessionConfig, account: &Account) -> Vec<PathBuf> {
    let is_there = |script: &&PathBuf| script.is_file();
    let mut found: Vec<PathBuf> =
        config.environment_scripts.iter().find(is_there).cloned().into_iter().collect();
    let start_files = account.home.iter().map(|home| home.join(".bashrc"));
    let named = config
        .entrypoint
        .iter()
        .cloned()
        .chain(
            config.entrypoint.iter().map(PathBuf::from).chain(start_files).filter_map(|path| text_of(&path)),
        )
        .flat_map(|text| named_in(&text));
    for script in config.more_scripts.iter().cloned().chain(named) {
        // Of the profile's first list one alone is meant, whatever else names another.
        let is_new = !found.contains(&script) && !config.environment_scripts.contains(&script);
        if is_new && script.is_file() && found.len() < MOST_SCRIPTS {
            found.push(script);
        }
    }
    found
}

/// A script of the image; a program or anything that is no short text says nothing.
fn text_of(path: &Path) -> Option<String> {
    if !path.is_absolute() {
        return None;
    }
    let bytes = image::read_regular(path, TEXT_LIMIT).ok()?;
    String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

/// `source /usr/local/Ascend/nnal/atb/set_env.sh` and `. /…`: absolute paths of environment scripts.
fn named_in(text: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
        let is_end = |c: char| c.is_whitespace() || ";&|(){}\"'".contains(c);
        let mut words = line.split(is_end).filter(|word| !word.is_empty());
        while let Some(word) = words.next() {
            if matches!(word, "source" | ".")
                && let Some(path) = words.next().map(Path::new)
                && is_environment_script(path)
            {
                found.push(path.to_path_buf());
            }
        }
    }
    found
}

fn is_environment_script(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    path.is_absolute()
        && BEGINNINGS.iter().any(|start| name.starts_with(start))
        && path.extension().is_some_and(|end| end == "sh" || end == "bash")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        named_in(text).iter().map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn scripts_that_are_sourced_are_found_and_nothing_else() {
        assert_eq!(
            names(
                "source /usr/local/Ascend/ascend-toolkit/set_env.sh && . '/usr/local/Ascend/nnal/atb/set_env.sh'; exec \"$@\""
            ),
            ["/usr/local/Ascend/ascend-toolkit/set_env.sh", "/usr/local/Ascend/nnal/atb/set_env.sh"]
        );
        assert_eq!(names("if [ -f /a/set_env.sh ]; then . /a/set_env.sh; fi"), ["/a/set_env.sh"]);
        assert_eq!(names("\t source\t/b/setenv.bash --cxx_abi=1"), ["/b/setenv.bash"]);
        for none in [
            "# source /a/set_env.sh",
            "source set_env.sh",
            "source $HOME/set_env.sh",
            "source /etc/profile",
            ". /a/set_env.py",
            "cat /a/set_env.sh",
            "source",
            "",
        ] {
            assert!(names(none).is_empty(), "{none}");
        }
    }

    #[test]
    fn the_profile_s_come_first_and_none_twice() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["set_env.sh", "set_env_old.sh", "set_env_atb.sh", "set_env_image.sh"] {
            std::fs::write(at(name), "").unwrap();
        }
        std::fs::write(
            at(".bashrc"),
            format!(". {}\n. {}\n", at("set_env_old.sh").display(), at("set_env_gone.sh").display()),
        )
        .unwrap();
        std::fs::write(at("entry"), format!("#!/bin/sh\n. {}\n", at("set_env_image.sh").display())).unwrap();
        let config = SessionConfig {
            environment_scripts: vec![at("set_env_none.sh"), at("set_env.sh"), at("set_env_old.sh")],
            more_scripts: vec![at("set_env_atb.sh"), at("set_env_none.sh")],
            entrypoint: vec![
                at("entry").display().to_string(),
                format!(". {}", at("set_env_atb.sh").display()),
            ],
            ..SessionConfig::default()
        };
        let mut account = Account::choose(&config, "", "").unwrap();
        account.home = Some(dir.path().to_path_buf());
        assert_eq!(
            scripts(&config, &account),
            [at("set_env.sh"), at("set_env_atb.sh"), at("set_env_image.sh")]
        );
    }
}
