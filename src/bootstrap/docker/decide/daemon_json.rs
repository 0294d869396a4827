//! Merges berth's settings into daemon.json. What an admin wrote stays, except the settings that the profile asks for.
//!
//! dockerd does not start when a flag of its unit and a key of the file set the same thing, so flags are read too.

use super::json::Json;
use crate::bootstrap::plan::DaemonSettings;
use crate::model::docker_seen::Flag;
use serde_json::{Value, json};
use std::path::Path;

/// The result of merging.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    pub text: String,
    /// The settings that are new, such as `"live-restore": true`; empty: the file is right.
    pub changes: Vec<String>,
    /// Settings that the admin has set to another value, and that stay.
    pub notes: Vec<String>,
}

/// Why nothing can be merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmergeable {
    pub what: String,
    pub help: String,
}

/// Merges the settings. `path` is the file's, for errors. `has_swarm`: a swarm does not work with live-restore.
pub fn merge(
    path: &str,
    text: Option<&str>,
    flags: &[Flag],
    wants: &DaemonSettings,
    has_swarm: bool,
) -> Result<Merged, Unmergeable> {
    let text = text.unwrap_or("");
    if text.contains(char::REPLACEMENT_CHARACTER) {
        return Err(no_json(path, "it is no UTF-8, and merging would change bytes that are not ours"));
    }
    let json = Json::parse(text).map_err(|why| no_json(path, &why))?;
    if !matches!(json, Json::Object(_)) {
        return Err(no_json(path, "it is no object"));
    }
    check_shapes(path, &json)?;
    let mut merge = Merge { json, flags, changes: Vec::new(), notes: Vec::new() };
    merge.check_doubles(path)?;
    merge.data_root(wants.data_root.as_deref())?;
    merge.logs(wants.log_max_size.as_deref(), wants.log_max_file);
    merge.live_restore(wants.live_restore, has_swarm);
    merge.address_pools(&wants.address_pools);
    merge.runtime(wants.ascend_runtime.as_deref());
    let text = if merge.changes.is_empty() { text.to_owned() } else { merge.json.print_like(text) };
    Ok(Merged { text, changes: merge.changes, notes: merge.notes })
}

fn no_json(path: &str, why: &str) -> Unmergeable {
    Unmergeable {
        what: format!("{path} is not what dockerd can read: {why}"),
        help: "mend that line, or move the file away, and run this again".into(),
    }
}

/// The types that dockerd accepts for the keys that are read here; with another type it does not start.
#[derive(Clone, Copy)]
enum Shape {
    Text,
    Truth,
    List,
    Object,
    /// An object whose values are strings: `"max-file": 3` is wrong.
    Texts,
}

const SHAPES: [(&str, Shape); 12] = [
    ("data-root", Shape::Text),
    ("graph", Shape::Text),
    ("exec-root", Shape::Text),
    ("log-driver", Shape::Text),
    ("storage-driver", Shape::Text),
    ("userns-remap", Shape::Text),
    ("default-runtime", Shape::Text),
    ("live-restore", Shape::Truth),
    ("default-address-pools", Shape::List),
    ("hosts", Shape::List),
    ("runtimes", Shape::Object),
    ("log-opts", Shape::Texts),
];

fn check_shapes(path: &str, json: &Json) -> Result<(), Unmergeable> {
    for (key, shape) in SHAPES {
        // `null` is what is not said.
        let Some(value) = json.field(key).filter(|value| **value != Json::Plain(Value::Null)) else {
            continue;
        };
        let (fits, wanted) = match shape {
            Shape::Text => (value.text().is_some(), "a text"),
            Shape::Truth => (value.truth().is_some(), "true or false"),
            Shape::List => (matches!(value, Json::Array(_)), "a list"),
            Shape::Object => (matches!(value, Json::Object(_)), "an object"),
            Shape::Texts => (value.is_object_of_texts(), "an object of texts (numbers in quotes)"),
        };
        if !fits {
            return Err(no_json(path, &format!("{key:?} must be {wanted}")));
        }
    }
    Ok(())
}

struct Merge<'a> {
    json: Json,
    flags: &'a [Flag],
    changes: Vec<String>,
    notes: Vec<String>,
}

impl Merge<'_> {
    fn flag(&self, key: &str) -> Option<&Flag> {
        self.flags.iter().find(|flag| flag.key == key)
    }

    fn set(&mut self, key: &str, value: Value) {
        self.changes.push(format!("{key:?}: {value}"));
        self.json.set(key, value.into());
    }

    fn check_doubles(&self, path: &str) -> Result<(), Unmergeable> {
        match self.json.keys().find(|key| self.flag(key).is_some()) {
            None => Ok(()),
            Some(key) => Err(Unmergeable {
                what: format!(
                    "{key:?} is in {path} and among dockerd's flags too; dockerd does not start so"
                ),
                help: "remove one of them; systemctl cat docker.service shows where the flag comes from"
                    .into(),
            }),
        }
    }

    fn data_root(&mut self, wanted: Option<&Path>) -> Result<(), Unmergeable> {
        let Some(wanted) = wanted.and_then(Path::to_str) else { return Ok(()) };
        if let Some(flag) = self.flag("data-root") {
            let value = flag.value.as_deref().unwrap_or("");
            if value.trim_end_matches('/') == wanted {
                return Ok(());
            }
            return Err(Unmergeable {
                what: format!("dockerd is started with the flag --data-root {value}, and {wanted} is wanted"),
                help: "take the flag out of Docker's unit or the file that it reads (systemctl cat docker.service), \
                       or name its directory as data-root in [bootstrap.docker]"
                    .into(),
            });
        }
        let now = self.json.field("data-root").or_else(|| self.json.field("graph")).and_then(Json::text);
        if now.is_none_or(|now| now.trim_end_matches('/') != wanted) {
            self.json.remove("graph");
            self.set("data-root", wanted.into());
        }
        Ok(())
    }

    /// Sets the size of logs. A log driver other than Docker's default, or a size that is set already, is the admin's
    /// choice and stays.
    fn logs(&mut self, size: Option<&str>, files: u32) {
        let Some(size) = size else { return };
        if self.flag("log-driver").is_some() || self.flag("log-opts").is_some() {
            self.notes.push("logs of containers are as dockerd's flags say".into());
            return;
        }
        let driver = self.json.field("log-driver");
        match driver.map(|driver| driver.text().unwrap_or("?").to_owned()).as_deref() {
            None | Some("json-file") => {}
            Some(other) => {
                self.notes.push(format!("logs of containers go to {other}, as daemon.json says"));
                return;
            }
        }
        let has_driver = driver.is_some();
        let Some(options) = self.json.object_in("log-opts") else { return };
        let mut missing = Vec::new();
        for (key, value) in [("max-size", size.to_owned()), ("max-file", files.to_string())] {
            if options.field(key).is_none() {
                options.set(key, Json::Plain(value.clone().into()));
                missing.push(format!("{key:?}: {value:?}"));
            }
        }
        if missing.is_empty() {
            return;
        }
        self.changes.push(format!("\"log-opts\": {{{}}}", missing.join(", ")));
        if !has_driver {
            self.set("log-driver", "json-file".into());
        }
    }

    fn live_restore(&mut self, wanted: bool, has_swarm: bool) {
        if !wanted {
            return;
        }
        if let Some(flag) = self.flag("live-restore") {
            if flag.value.as_deref().is_some_and(|value| value != "true") {
                self.notes.push("live-restore is off, as a flag of dockerd's unit says".into());
            }
            return;
        }
        if has_swarm {
            self.notes
                .push("live-restore stays off: this engine is part of a swarm, which cannot have it".into());
            return;
        }
        match self.json.field("live-restore").map(Json::truth) {
            None => self.set("live-restore", true.into()),
            Some(Some(true)) => {}
            Some(_) => self.notes.push("live-restore is off, as daemon.json says".into()),
        }
    }

    fn address_pools(&mut self, pools: &[(String, u8)]) {
        const KEY: &str = "default-address-pools";
        if pools.is_empty() {
            return;
        }
        if self.flag(KEY).is_some() {
            self.notes.push("networks get their addresses as a flag of dockerd's unit says".into());
            return;
        }
        let list: Vec<Value> =
            pools.iter().map(|(base, size)| json!({ "base": base, "size": size })).collect();
        let list = Value::from(list);
        match self.json.field(KEY) {
            None => self.set(KEY, list),
            Some(now) if *now == Json::from(list) => {}
            Some(_) => self.notes.push("networks get their addresses as daemon.json says".into()),
        }
    }

    /// Registers Ascend's runtime, and never makes it the default: the containers of berths use runc.
    fn runtime(&mut self, program: Option<&Path>) {
        if self.json.field("default-runtime").and_then(Json::text).is_some_and(|name| name != "runc") {
            self.notes.push(
                "daemon.json has a default runtime of its own; berths run with runc all the same".into(),
            );
        }
        let Some(program) = program.and_then(Path::to_str) else { return };
        if self.flag("runtimes").is_some() {
            self.notes.push("Ascend's runtime is not registered: dockerd's flags have the runtimes".into());
            return;
        }
        let Some(runtimes) = self.json.object_in("runtimes") else { return };
        if runtimes.field("ascend").is_none() {
            let entry = json!({ "path": program, "runtimeArgs": [] });
            self.changes.push(format!("\"runtimes\": {{\"ascend\": {entry}}}"));
            runtimes.set("ascend", entry.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wants() -> DaemonSettings {
        DaemonSettings {
            data_root: Some("/data/docker".into()),
            log_max_size: Some("100m".into()),
            log_max_file: 3,
            live_restore: true,
            address_pools: vec![("10.201.0.0/16".into(), 24)],
            ascend_runtime: None,
        }
    }

    fn flags(list: &[(&str, &str)]) -> Vec<Flag> {
        list.iter().map(|(key, value)| Flag { key: (*key).into(), value: Some((*value).into()) }).collect()
    }

    fn merged(text: &str, wants: &DaemonSettings) -> Merged {
        merge("/d.json", Some(text), &[], wants, false).unwrap()
    }

    #[test]
    fn a_new_file_says_all_that_is_wanted_and_is_right_the_second_time() {
        let first = merge("/d.json", None, &[], &wants(), false).unwrap();
        let value: Value = serde_json::from_str(&first.text).unwrap();
        assert_eq!(
            value,
            json!({"data-root": "/data/docker", "log-driver": "json-file",
                "log-opts": {"max-size": "100m", "max-file": "3"}, "live-restore": true,
                "default-address-pools": [{"base": "10.201.0.0/16", "size": 24}]})
        );
        let second = merged(&first.text, &wants());
        assert_eq!((second.changes, second.notes, second.text), (vec![], vec![], first.text));
    }

    #[test]
    fn what_an_admin_wrote_stays() {
        let text = "{\n\t\"zz-unknown\": {\"b\": 1, \"a\": [1, 2]},\n\t\"registry-mirrors\": [\"https://m.example\"],\n\t\"graph\": \"/var/lib/docker\"\n}";
        let found = merged(text, &wants());
        let keys: Vec<String> = Json::parse(&found.text).unwrap().keys().map(str::to_owned).collect();
        assert_eq!(
            keys[..3],
            ["zz-unknown", "registry-mirrors", "log-opts"][..2]
                .iter()
                .map(|key| (*key).to_owned())
                .chain(["data-root".to_owned()])
                .collect::<Vec<_>>()
        );
        assert!(found.text.contains("\n\t\"registry-mirrors\"") && !found.text.contains("graph"));
        assert!(found.text.find("\"b\"").unwrap() < found.text.find("\"a\"").unwrap());
    }

    #[test]
    fn an_admins_own_choice_is_respected_and_noted() {
        for (text, note) in [
            (r#"{"log-driver":"journald"}"#, "journald"),
            (r#"{"log-driver":"local"}"#, "local"),
            (r#"{"live-restore":false}"#, "live-restore is off"),
            (r#"{"default-address-pools":[{"base":"10.9.0.0/16","size":24}]}"#, "addresses"),
            (r#"{"default-runtime":"ascend"}"#, "default runtime"),
        ] {
            let found = merged(text, &wants());
            assert!(found.notes.iter().any(|line| line.contains(note)), "{text}: {:?}", found.notes);
        }
        let own = merged(r#"{"log-opts":{"max-size":"1g"}}"#, &wants());
        assert!(own.text.contains("\"1g\"") && own.text.contains("\"max-file\": \"3\""));
        let all = merged(r#"{"log-opts":{"max-size":"1g","max-file":"9"}}"#, &wants());
        assert!(!all.text.contains("log-driver"), "{}", all.text);
    }

    #[test]
    fn what_dockerd_would_not_start_with_is_refused() {
        for (text, why) in [
            (r#"{"log-opts":7}"#, "\"log-opts\" must be an object of texts"),
            (r#"{"log-opts":["max-size=1g"]}"#, "an object of texts"),
            (r#"{"log-opts":{"max-file":3}}"#, "numbers in quotes"),
            (r#"{"runtimes":[]}"#, "\"runtimes\" must be an object"),
            (r#"{"live-restore":"yes"}"#, "\"live-restore\" must be true or false"),
            (r#"{"data-root":["/data"]}"#, "\"data-root\" must be a text"),
            (r#"{"hosts":"fd://"}"#, "\"hosts\" must be a list"),
        ] {
            let refused = merge("/d.json", Some(text), &[], &wants(), false).unwrap_err();
            assert!(refused.what.contains(why), "{text}: {}", refused.what);
        }
        let null = merged(r#"{"log-opts":null,"data-root":null}"#, &wants());
        assert!(
            null.text.contains("\"max-file\": \"3\"") && null.text.contains("/data/docker"),
            "{}",
            null.text
        );
    }

    #[test]
    fn flags_and_keys_never_meet() {
        let live = flags(&[("live-restore", "true"), ("log-opts", "max-size=1m")]);
        let found = merge("/d.json", None, &live, &wants(), false).unwrap();
        assert!(!found.text.contains("live-restore") && !found.text.contains("log-"), "{}", found.text);
        let same = flags(&[("data-root", "/data/docker/")]);
        assert!(!merge("/d.json", None, &same, &wants(), false).unwrap().text.contains("data-root"));
        let other = merge("/d.json", None, &flags(&[("data-root", "/srv")]), &wants(), false).unwrap_err();
        assert!(other.what.contains("--data-root /srv"), "{}", other.what);
        let both =
            merge("/d.json", Some(r#"{"hosts":["tcp://"]}"#), &flags(&[("hosts", "fd://")]), &wants(), false);
        assert!(both.unwrap_err().what.contains("\"hosts\" is in /d.json"));
    }

    #[test]
    fn a_swarm_has_no_live_restore() {
        let found = merge("/d.json", None, &[], &wants(), true).unwrap();
        assert!(!found.text.contains("live-restore") && found.notes[0].contains("swarm"));
    }

    #[test]
    fn the_ascend_runtime_is_registered_and_never_the_default() {
        let wants = DaemonSettings { ascend_runtime: Some("/a/rt".into()), ..DaemonSettings::default() };
        let found = merged(r#"{"runtimes":{"kata":{"path":"/k"}}}"#, &wants);
        let value: Value = serde_json::from_str(&found.text).unwrap();
        assert_eq!(
            value["runtimes"],
            json!({"kata": {"path": "/k"}, "ascend": {"path": "/a/rt", "runtimeArgs": []}})
        );
        assert!(value.get("default-runtime").is_none());
        assert!(merged(&found.text, &wants).changes.is_empty());
        let flagged = merge("/d.json", None, &flags(&[("runtimes", "a=b")]), &wants, false).unwrap();
        assert!(flagged.changes.is_empty() && flagged.notes.len() == 1);
    }

    #[test]
    fn what_is_no_object_is_refused_with_its_line() {
        for (text, why) in [("{\n  \"a\": 1,\n}", "line 3"), ("[]", "no object"), ("\u{feff}{}", "line 1")] {
            let found = merge("/d.json", Some(text), &[], &wants(), false).unwrap_err();
            assert!(found.what.contains(why) && found.what.contains("/d.json"), "{}", found.what);
        }
    }
}
