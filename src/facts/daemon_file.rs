//! The settings of dockerd that checks need: from the flags of its unit, and from daemon.json. dockerd does not start
//! when both set the same thing.

use super::docker_unit;
use crate::error::{Fault, FaultKind};
use crate::host::{Host, read_text};
use crate::model::check_facts::DaemonSettings;
use crate::model::docker_seen::Flag;
use serde_json::{Map, Value};
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

pub const PATH: &str = "/etc/docker/daemon.json";
const TIMEOUT: Duration = Duration::from_secs(5);
/// The most networks that are read.
const MOST_NETWORKS: usize = 64;
/// What may be said twice, by its name in the file.
const KEYS: [&str; 3] = ["live-restore", "log-driver", "log-opts"];

/// Reads the settings. Without a file, flags and defaults count. Fails without a unit: the flags are then unknown.
pub fn gather(host: &dyn Host) -> Result<DaemonSettings, Fault> {
    let (service, _) = docker_unit::gather_within(host, TIMEOUT).map_err(Fault::host)?;
    let service = service
        .ok_or_else(|| Fault::host("systemd knows no docker.service: nobody knows dockerd's flags"))?;
    let named = service.flags.iter().find(|flag| flag.key == "config-file");
    let path = named.and_then(|flag| flag.value.as_deref()).unwrap_or(PATH);
    let text = match read_text(host, Path::new(path)) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) if error.kind() == ErrorKind::IsADirectory => {
            let mut settings = parse(path, "", &service.flags);
            settings.broken = Some("it is a directory".into());
            return Ok(settings);
        }
        Err(error) => {
            let fault = Fault::host(format!("{path} cannot be read: {error}"));
            return Err(fault.of(FaultKind::of_io(&error)));
        }
    };
    Ok(parse(path, &text, &service.flags))
}

pub fn parse(path: &str, text: &str, flags: &[Flag]) -> DaemonSettings {
    let said = |key: &str| flags.iter().any(|flag| flag.key == key);
    let (file, broken) = match object(text) {
        Ok(file) => (file, None),
        Err(why) => (Map::new(), Some(why)),
    };
    DaemonSettings {
        path: path.to_owned(),
        log_driver: flag(flags, "log-driver").or_else(|| plain(file.get("log-driver"))),
        log_max_size: max_size(flags).or_else(|| plain(file.get("log-opts")?.get("max-size"))),
        live_restore: live_restore(flags).or_else(|| file.get("live-restore")?.as_bool()),
        flags: KEYS.into_iter().filter(|key| said(key)).map(str::to_owned).collect(),
        twice: KEYS.into_iter().find(|key| said(key) && file.contains_key(*key)).map(str::to_owned),
        missing_runtime: missing_runtime(&file, flags),
        public_networks: networks(&file, flags).into_iter().filter(|network| is_public(network)).collect(),
        broken,
    }
}

/// Runtimes that dockerd has without being told, `runc` above all; a name with a dot is a containerd shim's.
fn is_built_in(runtime: &str) -> bool {
    runtime == "runc" || runtime.starts_with("io.containerd.")
}

fn missing_runtime(file: &Map<String, Value>, flags: &[Flag]) -> Option<String> {
    let default = flag(flags, "default-runtime").or_else(|| plain(file.get("default-runtime")))?;
    let in_file =
        file.get("runtimes").and_then(Value::as_object).is_some_and(|all| all.contains_key(&default));
    // `--add-runtime ascend=/usr/local/…`
    let in_flags = flags
        .iter()
        .filter(|flag| flag.key == "add-runtime" || flag.key == "runtimes")
        .filter_map(|flag| flag.value.as_deref()?.split_once('='))
        .any(|(name, _)| name == default);
    (!default.is_empty() && !is_built_in(&default) && !in_file && !in_flags).then_some(default)
}

/// `bip` and the bases of `default-address-pools`, from the file and from flags.
fn networks(file: &Map<String, Value>, flags: &[Flag]) -> Vec<String> {
    let pools = file.get("default-address-pools").and_then(Value::as_array).into_iter().flatten();
    let pools = pools.filter_map(|pool| plain(pool.get("base")));
    let of_flags = |key: &str| {
        let key = key.to_owned();
        flags.iter().filter(move |flag| flag.key == key).filter_map(|flag| flag.value.as_deref())
    };
    // `--default-address-pool base=10.0.0.0/8,size=24`
    let bases = ["default-address-pools", "default-address-pool"]
        .into_iter()
        .flat_map(of_flags)
        .flat_map(|value| value.split(','))
        .filter_map(|part| part.strip_prefix("base="));
    plain(file.get("bip"))
        .into_iter()
        .chain(pools)
        .chain(of_flags("bip").chain(bases).map(short))
        .take(MOST_NETWORKS)
        .collect()
}

/// Whether the network is in public address space: not in RFC 1918, RFC 6598, RFC 2544's benchmarks, link-local, or
/// IPv6's local ranges.
fn is_public(network: &str) -> bool {
    match network.split('/').next().unwrap_or_default().parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => {
            let [first, second, ..] = address.octets();
            let shared = first == 100 && (64..128).contains(&second);
            let benchmarks = first == 198 && (18..20).contains(&second);
            !(address.is_private()
                || shared
                || benchmarks
                || address.is_link_local()
                || address.is_loopback())
        }
        Ok(IpAddr::V6(address)) => !(address.is_unique_local() || address.is_unicast_link_local()),
        Err(_) => false,
    }
}

fn object(text: &str) -> Result<Map<String, Value>, String> {
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err("no JSON object".into()),
        Err(error) => Err(format!("no JSON: {error}")),
    }
}

fn short(text: &str) -> String {
    text.chars().take(60).collect()
}

fn plain(value: Option<&Value>) -> Option<String> {
    value?.as_str().map(short)
}

fn flag(flags: &[Flag], key: &str) -> Option<String> {
    flags.iter().rfind(|flag| flag.key == key)?.value.as_deref().map(short)
}

/// `--log-opt max-size=100m`, among others.
fn max_size(flags: &[Flag]) -> Option<String> {
    let options = flags.iter().filter(|flag| flag.key == "log-opts").filter_map(|flag| flag.value.as_deref());
    options.filter_map(|option| option.strip_prefix("max-size=")).next_back().map(short)
}

/// The flag `--live-restore`: without a value it is on. `None`: there is no such flag.
fn live_restore(flags: &[Flag]) -> Option<bool> {
    let flag = flags.iter().rfind(|flag| flag.key == "live-restore")?;
    Some(!matches!(flag.value.as_deref(), Some("false" | "False" | "FALSE" | "f" | "F" | "0")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::FakeHost;

    const SHOW: &str = "systemctl show docker.service docker.socket --property=Id,LoadState,ActiveState,UnitFileState,ExecStart,Environment,EnvironmentFiles";

    fn host(flags: &str) -> FakeHost {
        let unit = format!(
            "Id=docker.service\nExecStart={{ path=/usr/bin/dockerd ; argv[]=/usr/bin/dockerd {flags} ; ignore_errors=no }}\nLoadState=loaded\n"
        );
        FakeHost::default().with_output(SHOW, 0, &unit, "")
    }

    fn of(flags: &str, file: &str) -> DaemonSettings {
        gather(&host(flags).with_file(PATH, file)).unwrap()
    }

    #[test]
    fn the_file_is_read_or_named_broken() {
        let file = of("", r#"{"log-driver":"json-file","log-opts":{"max-size":"100m"},"live-restore":true}"#);
        assert_eq!((file.log_max_size.as_deref(), file.live_restore), (Some("100m"), Some(true)));
        assert_eq!((file.log_driver.as_deref(), file.flags.len()), (Some("json-file"), 0));
        assert_eq!(of("", "\n").live_restore, None);
        assert!(of("", "{,}").broken.is_some() && of("", "[]").broken.is_some());
        assert_eq!(of("", r#"{"log-opts":7,"live-restore":"yes"}"#).log_max_size, None);
        assert_eq!(gather(&host("")).unwrap().broken, None, "no file is no fault");
    }

    #[test]
    fn flags_say_what_the_file_does_not() {
        let euler =
            of("--live-restore --log-driver=json-file --log-opt max-file=3 --log-opt max-size=50m", "");
        assert_eq!((euler.live_restore, euler.log_max_size.as_deref()), (Some(true), Some("50m")));
        assert_eq!((euler.flags.as_slice(), euler.twice), (KEYS.map(str::to_owned).as_slice(), None));
        assert_eq!(of("--live-restore=false", "{}").live_restore, Some(false));
        assert_eq!(of("--log-driver journald", "{}").log_driver.as_deref(), Some("journald"));
        let twice = of("--live-restore", r#"{"live-restore":true}"#);
        assert_eq!(twice.twice.as_deref(), Some("live-restore"));
    }

    #[test]
    fn a_default_runtime_must_be_registered() {
        let missing = |flags: &str, file: &str| of(flags, file).missing_runtime;
        let named = r#"{"default-runtime":"ascend"}"#;
        assert_eq!(missing("", named).as_deref(), Some("ascend"));
        assert_eq!(missing("--default-runtime=ascend", "{}").as_deref(), Some("ascend"));
        assert_eq!(missing("--add-runtime ascend=/usr/bin/a", named), None);
        assert_eq!(missing("", r#"{"default-runtime":"ascend","runtimes":{"ascend":{"path":"/a"}}}"#), None);
        assert_eq!(
            missing("", r#"{"default-runtime":"ascend","runtimes":{"kata":{}}}"#).as_deref(),
            Some("ascend")
        );
        for built_in in ["runc", "io.containerd.runsc.v1"] {
            assert_eq!(missing("", &format!(r#"{{"default-runtime":"{built_in}"}}"#)), None);
        }
        assert_eq!(missing("", r#"{"default-runtime":7}"#), None);
    }

    #[test]
    fn networks_in_public_address_space_are_named() {
        let public = |flags: &str, file: &str| of(flags, file).public_networks;
        let file = r#"{"bip":"192.168.1.1/24","default-address-pools":[{"base":"174.0.0.0/8","size":24},{"base":"10.1.0.0/16","size":24}]}"#;
        assert_eq!(public("", file), ["174.0.0.0/8"]);
        assert_eq!(
            public("--bip 11.0.0.1/24 --default-address-pool base=172.32.0.0/12,size=24", "{}"),
            ["11.0.0.1/24", "172.32.0.0/12"]
        );
        let private = r#"{"bip":"172.17.0.1/16","default-address-pools":[{"base":"100.64.0.0/10"},{"base":"fd00::/8"},{"base":"x"},7]}"#;
        assert!(public("", private).is_empty());
    }

    #[test]
    fn a_directory_in_the_file_s_place_is_broken() {
        let daemon = gather(&host("").with_file("/etc/docker/daemon.json/x", "")).unwrap();
        assert_eq!(daemon.broken.as_deref(), Some("it is a directory"));
    }

    #[test]
    fn another_file_is_read_where_a_flag_names_one() {
        let host = host("--config-file /srv/d.json")
            .with_file("/srv/d.json", r#"{"live-restore":true}"#)
            .with_file(PATH, "{}");
        let daemon = gather(&host).unwrap();
        assert_eq!((daemon.path.as_str(), daemon.live_restore), ("/srv/d.json", Some(true)));
    }

    #[test]
    fn without_the_flags_nothing_is_known() {
        let file = r#"{"live-restore":true}"#;
        assert!(gather(&FakeHost::default().with_missing(SHOW).with_file(PATH, file)).is_err());
        let none = "Id=docker.service\nLoadState=not-found\n";
        let host = FakeHost::default().with_output(SHOW, 0, none, "").with_file(PATH, file);
        assert!(gather(&host).unwrap_err().message.contains("no docker.service"));
    }
}
