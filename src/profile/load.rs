//! Reading TOML files. An error names the file, the line and column, and the nearest valid key.

use super::shipped::{shipped_names, shipped_profile};
use super::{Config, Profile};
use crate::error::Fault;
use crate::host::{Host, read_text};
use anyhow::Result;
use serde::de::DeserializeOwned;
use std::io;
use std::path::{Path, PathBuf};

pub const DEFAULT_CONFIG: &str = "/etc/berth/berth.toml";

/// Reads the config. A file that the caller named must exist. Without the default file, every key has its default.
pub fn load_config(host: &dyn Host, named: Option<&Path>) -> Result<Config> {
    let path = named.unwrap_or(Path::new(DEFAULT_CONFIG));
    // Fails only without a current directory, where a relative path leads nowhere anyway.
    let path = &std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let text = match read_text(host, path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound && named.is_none() => String::new(),
        Err(error) => return Err(unreadable("config", path, &error).into()),
    };
    let mut config: Config = parse_toml(path, &text)?;
    if let Some(problem) = config.ssh.limits.problem() {
        return Err(Fault::usage(format!("{}: [ssh.limits] {problem}", path.display())).into());
    }
    if let Some(problem) = config.notify.problem() {
        return Err(Fault::usage(format!("{}: [notify] {problem}", path.display()))
            .help("command = \"/usr/local/bin/berth-notify\", a program that root alone can change")
            .into());
    }
    // Relative paths in a config are relative to it, so that a directory with its config can be moved.
    let base = path.parent().unwrap_or(Path::new("/")).to_path_buf();
    let paths = &mut config.paths;
    for entry in [
        &mut paths.state,
        &mut paths.run,
        &mut paths.storage,
        &mut paths.profiles,
        &mut paths.dev,
        &mut paths.images,
        &mut paths.editors,
        &mut config.tools.npu_smi,
        &mut config.tools.hccn_tool,
        &mut config.docker.socket,
    ] {
        if entry.is_relative() {
            *entry = base.join(&*entry);
        }
    }
    let server = &mut config.ssh.server;
    if server.is_relative() && !server.as_os_str().is_empty() {
        *server = base.join(&*server);
    }
    if is_file(&config.profile) && Path::new(&config.profile).is_relative() {
        config.profile = base.join(&config.profile).display().to_string();
    }
    Ok(config)
}

/// Whether `profile` is a path and not a bare name.
pub fn is_file(named: &str) -> bool {
    named.contains('/') || Path::new(named).extension().is_some_and(|ext| ext == "toml")
}

/// A bare name is looked up in `paths.profiles`; anything with a slash or `.toml` is a path.
pub fn load_profile(host: &dyn Host, config: &Config) -> Result<Profile> {
    let named = &config.profile;
    let path = if is_file(named) {
        PathBuf::from(named)
    } else {
        config.paths.profiles.join(format!("{named}.toml"))
    };
    let text = match (read_text(host, &path), shipped_profile(named)) {
        (Ok(text), _) => text,
        // Not installed: the program carries it.
        (Err(error), Some(text)) if error.kind() == io::ErrorKind::NotFound => text.into(),
        (Err(error), _) if error.kind() == io::ErrorKind::NotFound && !is_file(named) => {
            return Err(unknown_profile(host, config).into());
        }
        (Err(error), _) => {
            return Err(unreadable("profile", &path, &error)
                .help("set `profile` in the config to a name in `paths.profiles` or to a file's path")
                .into());
        }
    };
    let profile: Profile = parse_toml(&path, &text)?;
    validate(&path, &text, &profile)?;
    Ok(profile)
}

/// The error for a profile name that does not exist. It lists the names that do.
fn unknown_profile(host: &dyn Host, config: &Config) -> Fault {
    let dir = &config.paths.profiles;
    let files = host.list(dir).unwrap_or_default();
    let names = files.iter().filter(|path| path.extension().is_some_and(|ext| ext == "toml"));
    let names = names.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()));
    let mut known: Vec<String> = shipped_names().map(str::to_owned).chain(names).collect();
    known.sort();
    known.dedup();
    known.truncate(20);
    let shown: String = config.profile.chars().take(60).collect();
    Fault::usage(format!("there is no profile {shown:?} in {}", dir.display()))
        .help(format!("there are: {}; or name a file's path", known.join(", ")))
}

fn unreadable(what: &str, path: &Path, error: &io::Error) -> Fault {
    Fault::host(format!("{what} {} cannot be read: {error}", path.display()))
}

/// `what is wrong` at `file:line:column`, with the nearest key that would be valid.
pub fn parse_toml<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T> {
    toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start.min(text.len()));
        let before = text.get(..start).unwrap_or("");
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
        let message = error.message().lines().next().unwrap_or("not valid TOML").to_owned();
        let fault = Fault::usage(format!("{}:{line}:{column}: {message}", path.display()));
        match nearest_key(&message) {
            Some(key) => fault.help(format!("did you mean `{key}`?")).into(),
            None => anyhow::Error::from(fault),
        }
    })
}

/// serde says: unknown field `prots`, expected one of `ports`, `gateway`.
fn nearest_key(message: &str) -> Option<String> {
    if !message.starts_with("unknown field") && !message.starts_with("unknown variant") {
        return None;
    }
    let mut names = message.split('`').skip(1).step_by(2);
    let wrong = names.next()?;
    names
        .map(|key| (strsim::damerau_levenshtein(wrong, key), key))
        .filter(|(distance, key)| *distance <= key.len().max(wrong.len()) / 2)
        .min()
        .map(|(_, key)| key.to_owned())
}

/// Where the table's header is, as `line:column:`; empty where it is written in some other way.
fn place_of(text: &str, table: &str) -> String {
    let bare = |line: &str| line.replace(['"', '\'', ' ', '\t'], "");
    let header = bare(&format!("[{table}]"));
    let line = text.lines().position(|line| bare(line.split('#').next().unwrap_or("")) == header);
    line.map(|line| format!("{}:1:", line + 1)).unwrap_or_default()
}

fn validate(path: &Path, text: &str, profile: &Profile) -> Result<()> {
    let wrong = |what: String| Err(Fault::usage(format!("{}: {what}", path.display())).into());
    let rules = &profile.berth;
    if profile.devices.cards == 0 || profile.devices.cards > 16 {
        return wrong(format!("devices.cards is {}; write 1 to 16", profile.devices.cards));
    }
    if !rules.storage_mount.is_absolute() || rules.storage_mount.components().count() < 3 {
        return wrong(format!(
            "berth.storage-mount is {}; name a directory at least two levels deep",
            rules.storage_mount.display()
        ));
    }
    if rules.users.iter().any(|user| rules.storage_mount == Path::new("/home").join(user)) {
        return wrong(
            "berth.storage-mount is an image user's home, which it would hide; mount below it".into(),
        );
    }
    if let Some(problem) = profile.lease.problem() {
        return wrong(format!("[lease] {problem}"));
    }
    if let Some((table, problem)) = profile.limits.problem() {
        let place = place_of(text, &table);
        return Err(Fault::usage(format!("{}:{place} [{table}] {problem}", path.display())).into());
    }
    if let Some(problem) = profile.bootstrap.problem() {
        return wrong(problem);
    }
    if let Some(problem) = profile.bootstrap.driver.problem() {
        return wrong(format!("[bootstrap.driver] {problem}"));
    }
    if let Some(problem) = profile.bootstrap.hccn.problem() {
        return wrong(format!("[bootstrap.hccn] {problem}"));
    }
    if !(1024..=1 << 20).contains(&rules.nofile) {
        return wrong(format!("berth.nofile is {}; write 1024 to 1048576", rules.nofile));
    }
    if rules.max_memory.is_some_and(|most| most < rules.memory_per_card) {
        return wrong("berth.max-memory is less than berth.memory-per-card".into());
    }
    if rules.default_lease > rules.max_lease {
        return wrong("berth.default-lease is longer than berth.max-lease".into());
    }
    if !(rules.cpus_per_card >= 0.0 && rules.cpus_per_card.is_finite()) {
        return wrong("berth.cpus-per-card is not a number of CPUs; 0 sets no limit".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{ErrorClass, flatten};
    use crate::host::FakeHost;

    fn config(text: &str) -> Result<Config> {
        let host = FakeHost::default().with_file("/x/berth.toml", text);
        load_config(&host, Some(Path::new("/x/berth.toml")))
    }

    #[test]
    fn an_empty_config_has_every_default() {
        assert_eq!(config("").unwrap(), Config::default());
        assert_eq!(load_config(&FakeHost::default(), None).unwrap(), Config::default());
    }

    #[test]
    fn a_config_that_was_named_must_exist() {
        let error = load_config(&FakeHost::default(), Some(Path::new("/no.toml"))).unwrap_err();
        assert_eq!(flatten(&error).class, ErrorClass::Host);
    }

    #[test]
    fn a_typo_shows_line_column_and_the_nearest_key() {
        let fault = flatten(&config("[ssh]\n\nprots = \"1-2\"\n").unwrap_err());
        assert!(fault.message.starts_with("/x/berth.toml:3:1: unknown field `prots`"), "{}", fault.message);
        assert_eq!(fault.help.as_deref(), Some("did you mean `ports`?"));
        assert_eq!(fault.class, ErrorClass::Usage);
    }

    #[test]
    fn limits_that_lock_everybody_out_are_refused() {
        let limits = config("[ssh.limits]\ntries = 3\nidle-time = \"8h\"\n").unwrap().ssh.limits;
        assert_eq!((limits.tries, limits.idle_time.as_secs()), (3, 8 * 3600));
        let fault = flatten(&config("[ssh.limits]\ntries = 0\n").unwrap_err());
        assert!(fault.message.contains("[ssh.limits] tries"), "{}", fault.message);
    }

    #[test]
    fn a_hook_program_is_named_by_its_whole_path() {
        assert_eq!(config("[notify]\n").unwrap().notify.command, Path::new(""));
        let good = config("[notify]\ncommand = \"/usr/local/bin/told\"\n").unwrap();
        assert_eq!(good.notify.command, Path::new("/usr/local/bin/told"));
        let fault = flatten(&config("[notify]\ncommand = \"told\"\n").unwrap_err());
        assert_eq!(fault.message, "/x/berth.toml: [notify] command is \"told\", which is no absolute path");
        assert_eq!(fault.class, ErrorClass::Usage);
    }

    #[test]
    fn events_are_kept_for_ever_or_for_a_time_with_sense() {
        assert_eq!(config("[events]\n").unwrap().events.keep(), None);
        let days = |days: u64| Some(std::time::Duration::from_secs(days * 24 * 3600));
        assert_eq!(config("[events]\nkeep = \"90days\"\n").unwrap().events.keep(), days(90));
        for (wrong, said) in [
            ("keep = \"1h\"", "/x/berth.toml:2:8: events are kept for 1day at least"),
            ("keep = \"long\"", "/x/berth.toml:2:8: `long` is not a duration"),
            ("keeps = \"90days\"", "/x/berth.toml:2:1: unknown field `keeps`"),
        ] {
            let fault = flatten(&config(&format!("[events]\n{wrong}\n")).unwrap_err());
            assert!(fault.message.starts_with(said), "{}", fault.message);
        }
    }

    #[test]
    fn values_and_syntax_show_their_place() {
        let fault = flatten(&config("[ssh]\nports = \"60000-60010\"\n").unwrap_err());
        assert!(fault.message.contains("/x/berth.toml:2:9: "), "{}", fault.message);
        assert!(fault.message.contains("HCCL"), "{}", fault.message);
        let fault = flatten(&config("[tools]\nnpu-smi-timeout = \"soon\"\n").unwrap_err());
        assert!(fault.message.contains(":2:19: `soon` is not a duration"), "{}", fault.message);
        let fault = flatten(&config("[ssh\n").unwrap_err());
        assert!(fault.message.starts_with("/x/berth.toml:1:"), "{}", fault.message);
    }

    #[test]
    fn relative_paths_are_relative_to_the_config() {
        let config = config("[paths]\nstate = \"s\"\n").unwrap();
        assert_eq!(config.paths.state, Path::new("/x/s"));
    }

    #[test]
    fn a_config_may_be_named_relative_to_where_one_is() {
        let here = std::env::current_dir().unwrap();
        let text = "profile = \"p/mine\"\n[paths]\nstate = \"s\"\n[ssh]\nserver = \"bin/berth\"\n";
        for named in ["berth.toml", "./berth.toml"] {
            let host = FakeHost::default().with_file(here.join("berth.toml").to_str().unwrap(), text);
            let config = load_config(&host, Some(Path::new(named))).unwrap();
            assert_eq!(config.paths.state, here.join("s"));
            assert_eq!(config.ssh.server, here.join("bin/berth"));
            assert_eq!(Path::new(&config.profile), here.join("p/mine"));
        }
    }

    #[test]
    fn a_berth_has_some_open_files_and_not_every_one() {
        let shipped = super::super::shipped_profile("sim").unwrap();
        for (wrong, said) in
            [("5", "berth.nofile is 5; write 1024 to 1048576"), ("99999999", "berth.nofile is 99999999")]
        {
            let text = shipped.replace("nofile = 16384", &format!("nofile = {wrong}"));
            let host = FakeHost::default().with_file("/p.toml", &text);
            let config = Config { profile: "/p.toml".into(), ..Config::default() };
            let fault = flatten(&load_profile(&host, &config).unwrap_err());
            assert!(fault.message.contains(said), "{}", fault.message);
        }
        let old = shipped.replace("nofile = 16384", "");
        let host = FakeHost::default().with_file("/p.toml", &old);
        let config = Config { profile: "/p.toml".into(), ..Config::default() };
        assert_eq!(load_profile(&host, &config).unwrap().berth.nofile, 65_536);
    }

    #[test]
    fn the_profiles_that_we_ship_load() {
        for name in ["snt9b", "sim"] {
            let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles");
            let mut config = Config { profile: name.into(), ..Config::default() };
            config.paths.profiles = dir;
            let profile = load_profile(&crate::host::RealHost::default(), &config).unwrap();
            assert_eq!(profile.name, name);
            assert_eq!(profile.devices.cards, 8);
            assert_eq!(profile.simulation.is_some(), name == "sim");
        }
    }
}
