//! The config and profile that an agent uses, as one snapshot. When the files are read again, the snapshot is replaced
//! as a whole. Values that a running agent cannot change are kept, and their keys are reported.

use super::{Config, Profile};
use serde_json::Value;

/// What a use case takes once, at its beginning.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    pub config: Config,
    pub profile: Profile,
}

/// A key and all below it that a running agent keeps, and how.
struct Fixed {
    key: &'static str,
    keep: fn(&mut Settings, &Settings),
}

/// Keys of things that the agent holds open, with which it made live berths, or by which it finds them again.
const FIXED: [Fixed; 14] = [
    Fixed { key: "paths.state", keep: |new, old| new.config.paths.state.clone_from(&old.config.paths.state) },
    Fixed { key: "paths.run", keep: |new, old| new.config.paths.run.clone_from(&old.config.paths.run) },
    Fixed {
        key: "paths.storage",
        keep: |new, old| new.config.paths.storage.clone_from(&old.config.paths.storage),
    },
    Fixed { key: "paths.dev", keep: |new, old| new.config.paths.dev.clone_from(&old.config.paths.dev) },
    Fixed {
        key: "paths.images",
        keep: |new, old| new.config.paths.images.clone_from(&old.config.paths.images),
    },
    Fixed {
        key: "paths.editors",
        keep: |new, old| new.config.paths.editors.clone_from(&old.config.paths.editors),
    },
    Fixed {
        key: "docker.socket",
        keep: |new, old| new.config.docker.socket.clone_from(&old.config.docker.socket),
    },
    Fixed {
        key: "docker.network",
        keep: |new, old| new.config.docker.network.clone_from(&old.config.docker.network),
    },
    Fixed { key: "ssh.address", keep: |new, old| new.config.ssh.address = old.config.ssh.address },
    Fixed { key: "ssh.gateway", keep: |new, old| new.config.ssh.gateway.clone_from(&old.config.ssh.gateway) },
    Fixed {
        key: "ssh.gateway-uid",
        keep: |new, old| new.config.ssh.gateway_uid = old.config.ssh.gateway_uid,
    },
    Fixed { key: "ssh.server", keep: |new, old| new.config.ssh.server.clone_from(&old.config.ssh.server) },
    Fixed { key: "devices", keep: |new, old| new.profile.devices.clone_from(&old.profile.devices) },
    Fixed { key: "simulation", keep: |new, old| new.profile.simulation.clone_from(&old.profile.simulation) },
];

/// Keys whose new value counts for berths made from now on, and for the gateway when it is next opened.
const NEW_SERVERS: [&str; 2] = ["ssh.algorithms", "ssh.limits"];

/// The keys that have another value now, by when it counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changed {
    pub now: Vec<String>,
    /// For new berths now, and for the gateway when the agent starts.
    pub new_servers: Vec<String>,
    pub next_start: Vec<String>,
}

impl Settings {
    /// What was read anew, as a running agent with these can take it.
    pub fn taken_up(&self, mut new: Self) -> (Self, Changed) {
        let mut changed = Changed::default();
        for key in differences(&self.values(), &new.values()) {
            let is_in = |above: &str| {
                key.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            };
            if FIXED.iter().any(|fixed| is_in(fixed.key)) {
                changed.next_start.push(key);
            } else if NEW_SERVERS.into_iter().any(is_in) {
                changed.new_servers.push(key);
            } else {
                changed.now.push(key);
            }
        }
        for fixed in &FIXED {
            (fixed.keep)(&mut new, self);
        }
        (new, changed)
    }

    /// Each key with its value, as the files name them. No key of one file is one of the other, but `profile`, the
    /// name.
    fn values(&self) -> [Value; 2] {
        // They came out of such a text, and can be written as one.
        [
            serde_json::to_value(&self.config).unwrap_or_default(),
            serde_json::to_value(&self.profile).unwrap_or_default(),
        ]
    }
}

fn differences(old: &[Value; 2], new: &[Value; 2]) -> Vec<String> {
    let mut keys = Vec::new();
    for (old, new) in old.iter().zip(new) {
        compare("", old, new, &mut keys);
    }
    keys
}

/// Tables are compared key by key, and all else as a whole.
fn compare(at: &str, old: &Value, new: &Value, keys: &mut Vec<String>) {
    let (Value::Object(before), Value::Object(after)) = (old, new) else {
        if old != new {
            keys.push(at.to_owned());
        }
        return;
    };
    let added = after.keys().filter(|key| !before.contains_key(*key));
    for key in before.keys().chain(added) {
        let path = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
        let value = |table: &serde_json::Map<String, Value>| table.get(key).cloned().unwrap_or_default();
        compare(&path, &value(before), &value(after), keys);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::FakeHost;
    use crate::profile::{load_profile, parse_toml, shipped_profile};
    use std::path::Path;

    fn settings(config: &str, profile: &str) -> Settings {
        let host = FakeHost::default().with_file("/p.toml", profile);
        let mut config: Config = parse_toml(Path::new("/berth.toml"), config).unwrap();
        config.profile = "/p.toml".into();
        let profile = load_profile(&host, &config).unwrap();
        Settings { config, profile }
    }

    fn shipped(config: &str) -> Settings {
        settings(config, shipped_profile("sim").unwrap())
    }

    #[test]
    fn what_has_not_changed_is_not_named() {
        let (taken, changed) = shipped("").taken_up(shipped(""));
        assert_eq!((taken, changed), (shipped(""), Changed::default()));
    }

    #[test]
    fn lists_limits_and_rules_count_at_once() {
        let config = "[docker]\nexempt = [\"cadvisor\"]\nhost-ports = [53, 80]\nbetween-berths = \"open\"\n\
                      [ssh]\nports = \"21000-21010\"\n[tools]\nnpu-smi-max-age = \"3s\"\n";
        let profile = shipped_profile("sim").unwrap().replace("nofile = 16384", "nofile = 20000");
        let (taken, changed) = shipped("").taken_up(settings(config, &profile));
        assert_eq!(taken, settings(config, &profile));
        let now = [
            "docker.between-berths",
            "docker.exempt",
            "docker.host-ports",
            "ssh.ports",
            "tools.npu-smi-max-age",
            "berth.nofile",
        ];
        assert_eq!(changed, Changed { now: now.map(str::to_owned).into(), ..Changed::default() });
    }

    #[test]
    fn servers_that_run_keep_their_limits() {
        let config = "[ssh]\nalgorithms = \"strict\"\n[ssh.limits]\ntries = 3\n";
        let (taken, changed) = shipped("").taken_up(shipped(config));
        assert_eq!(taken.config.ssh.limits.tries, 3);
        assert_eq!(changed.new_servers, ["ssh.algorithms", "ssh.limits.tries"]);
        assert!(changed.now.is_empty() && changed.next_start.is_empty());
    }

    /// Each key that is said to wait for the next start is there, is kept, and is the only one that its text changes.
    #[test]
    fn what_a_running_agent_holds_is_kept_and_named() {
        let other = "[paths]\nstate = \"/s\"\nrun = \"/r\"\nstorage = \"/d\"\ndev = \"/v\"\nimages = \"/i\"\neditors = \"/e\"\n\
                     [docker]\nsocket = \"/x\"\nnetwork = \"n\"\n[ssh]\naddress = \"127.0.0.1\"\ngateway = \"\"\ngateway-uid = 7\n\
                     server = \"/b\"\n";
        let profile = shipped_profile("sim").unwrap();
        let profile = profile.replacen("cards = 8", "cards = 4", 1).replacen("major = ", "major = 1", 1);
        let (taken, changed) = shipped("").taken_up(settings(other, &profile));
        assert_eq!(taken, shipped(""));
        assert!(changed.now.is_empty() && changed.new_servers.is_empty(), "{changed:?}");
        for fixed in &FIXED {
            let named =
                |key: &&String| key.as_str() == fixed.key || key.starts_with(&format!("{}.", fixed.key));
            assert_eq!(changed.next_start.iter().filter(named).count(), 1, "{}: {changed:?}", fixed.key);
        }
        assert_eq!(changed.next_start.len(), FIXED.len());
    }

    #[test]
    fn a_table_that_comes_or_goes_is_named_with_its_keys() {
        let sim = shipped("");
        let mut real = sim.clone();
        real.profile.simulation = None;
        let (taken, changed) = sim.taken_up(real.clone());
        assert_eq!((changed.next_start, &taken), (vec!["simulation".to_owned()], &sim));
        let (taken, changed) = real.taken_up(sim);
        assert_eq!((changed.next_start, &taken), (vec!["simulation".to_owned()], &real));
    }
}
