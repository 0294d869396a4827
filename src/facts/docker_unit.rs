//! How systemd starts dockerd: its state, and its flags with variables replaced as systemd does.

use crate::host::{Host, Tool, find_text};
use crate::model::docker_seen::{Flag, Service};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

const PROPERTIES: &str =
    "--property=Id,LoadState,ActiveState,UnitFileState,ExecStart,Environment,EnvironmentFiles";
const TIMEOUT: Duration = Duration::from_secs(30);

/// docker.service, and whether there is a docker.socket.
pub(super) fn gather(host: &dyn Host) -> Result<(Option<Service>, bool), String> {
    gather_within(host, TIMEOUT)
}

pub(super) fn gather_within(host: &dyn Host, timeout: Duration) -> Result<(Option<Service>, bool), String> {
    let cmd = Tool::Systemctl.cmd().args(["show", "docker.service", "docker.socket", PROPERTIES]);
    let output = host.run(&cmd.timeout(timeout)).map_err(|error| error.to_string())?;
    let mut service = None;
    let mut has_socket = false;
    for block in output.stdout.split("\n\n") {
        let unit = Unit::parse(block);
        match unit.one("Id") {
            "docker.service" if unit.is_loaded() => service = Some(unit.service(host)?),
            "docker.socket" => has_socket = unit.is_loaded(),
            _ => {}
        }
    }
    Ok((service, has_socket))
}

/// Properties; some have several lines.
pub(super) struct Unit<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Unit<'a> {
    pub(super) fn parse(block: &'a str) -> Self {
        Self(block.lines().filter_map(|line| line.split_once('=')).collect())
    }

    fn all(&self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(name, _)| *name == key).map(|(_, value)| *value)
    }

    pub(super) fn one(&self, key: &'a str) -> &'a str {
        self.all(key).next().unwrap_or("")
    }

    fn is_loaded(&self) -> bool {
        self.one("LoadState") == "loaded"
    }

    fn service(&self, host: &dyn Host) -> Result<Service, String> {
        let mut variables = BTreeMap::new();
        for assignments in self.all("Environment") {
            variables.extend(words(assignments).iter().filter_map(|word| assignment(word)));
        }
        for file in self.all("EnvironmentFiles") {
            variables.extend(environment_file(host, file)?);
        }
        let argv = self.all("ExecStart").find_map(argv_of).unwrap_or_default();
        Ok(Service {
            is_active: self.one("ActiveState") == "active",
            is_enabled: self.one("UnitFileState") == "enabled",
            flags: flags(&expand(argv, &variables)),
        })
    }
}

/// `{ path=/usr/bin/dockerd ; argv[]=/usr/bin/dockerd -H fd:// $OPTIONS ; ignore_errors=no ; … }`
fn argv_of(property: &str) -> Option<&str> {
    let (_, rest) = property.split_once("argv[]=")?;
    Some(rest.split(" ; ").next().unwrap_or(rest))
}

/// `/etc/sysconfig/docker (ignore_errors=yes)`. One that is not there says nothing, as to systemd.
fn environment_file(host: &dyn Host, property: &str) -> Result<Vec<(String, String)>, String> {
    let path = property.split(" (ignore_errors=").next().unwrap_or(property).trim();
    let text = find_text(host, Path::new(path))?.unwrap_or_default();
    let text = text.replace("\\\n", " ");
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';']));
    Ok(lines.filter_map(assignment).collect())
}

fn assignment(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once('=')?;
    let value = value.trim();
    let quoted = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
    let value = quoted('"').or_else(|| quoted('\'')).unwrap_or(value);
    Some((name.trim().to_owned(), value.to_owned()))
}

fn words(text: &str) -> Vec<String> {
    // What no shell could read is at least split at spaces.
    shlex::split(text).unwrap_or_else(|| text.split_whitespace().map(str::to_owned).collect())
}

/// A word `$NAME` becomes the words of its value, `${NAME}` its value as it is.
fn expand(argv: &str, variables: &BTreeMap<String, String>) -> Vec<String> {
    let mut found = Vec::new();
    for word in words(argv) {
        if let Some(name) = word.strip_prefix('$').filter(|name| !name.starts_with(['{', '$'])) {
            found.extend(variables.get(name).map(|value| words(value)).unwrap_or_default());
            continue;
        }
        let replaced =
            variables.iter().fold(word, |word, (name, value)| word.replace(&format!("${{{name}}}"), value));
        found.push(replaced);
    }
    found
}

/// The options behind the program's name.
fn flags(argv: &[String]) -> Vec<Flag> {
    let mut found = Vec::new();
    let mut words = argv.iter().skip(1).peekable();
    while let Some(word) = words.next() {
        if !word.starts_with('-') {
            continue;
        }
        let (name, mut value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (word.as_str(), None),
        };
        if value.is_none() && words.peek().is_some_and(|next| !next.starts_with('-')) {
            value = words.next().cloned();
        }
        found.push(Flag { key: key_of(name), value });
    }
    found
}

/// Options that may be repeated are lists with a name of their own in daemon.json.
fn key_of(flag: &str) -> String {
    let plain = match flag.trim_start_matches('-') {
        "g" | "graph" => "data-root",
        "H" | "host" => "hosts",
        "D" => "debug",
        "l" => "log-level",
        "s" => "storage-driver",
        "G" => "group",
        "b" => "bridge",
        "p" => "pidfile",
        "add-runtime" => "runtimes",
        "default-address-pool" => "default-address-pools",
        "log-opt" => "log-opts",
        "label" => "labels",
        "storage-opt" => "storage-opts",
        "exec-opt" => "exec-opts",
        "registry-mirror" => "registry-mirrors",
        "insecure-registry" => "insecure-registries",
        other => other,
    };
    plain.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::FakeHost;

    const SHOW: &str = "systemctl show docker.service docker.socket --property=Id,LoadState,ActiveState,UnitFileState,ExecStart,Environment,EnvironmentFiles";

    fn of(show: &str, files: &[(&str, &str)]) -> (Option<Service>, bool) {
        let host = FakeHost::default().with_output(SHOW, 0, show, "");
        gather(&files.iter().fold(host, |host, (path, text)| host.with_file(path, text))).unwrap()
    }

    fn texts(service: &Service) -> Vec<String> {
        let text = |flag: &Flag| format!("{}={}", flag.key, flag.value.as_deref().unwrap_or("-"));
        service.flags.iter().map(text).collect()
    }

    #[test]
    fn debian_has_a_socket_and_options_in_etc_default() {
        let show = "Id=docker.service\nExecStart={ path=/usr/sbin/dockerd ; argv[]=/usr/sbin/dockerd -H fd:// \
            --containerd=/run/containerd/containerd.sock $DOCKER_OPTS ; ignore_errors=no ; pid=0 }\nLoadState=loaded\n\
            ActiveState=active\nUnitFileState=enabled\nEnvironmentFiles=/etc/default/docker (ignore_errors=yes)\n\n\
            Id=docker.socket\nLoadState=loaded\nActiveState=active\nUnitFileState=enabled\n";
        let (service, has_socket) = of(show, &[]);
        let service = service.unwrap();
        assert!(service.is_active && service.is_enabled && has_socket);
        assert_eq!(texts(&service), ["hosts=fd://", "containerd=/run/containerd/containerd.sock"]);
        let options =
            [("/etc/default/docker", "# DOCKER_OPTS=\"-D\"\nDOCKER_OPTS=\"-g /srv/docker --dns 9.9.9.9\"\n")];
        let service = of(show, &options).0.unwrap();
        assert_eq!(texts(&service)[2..], ["data-root=/srv/docker", "dns=9.9.9.9"]);
    }

    #[test]
    fn euleros_has_options_in_etc_sysconfig() {
        let show = "Id=docker.service\nExecStart={ path=/usr/bin/dockerd ; argv[]=/usr/bin/dockerd $OPTIONS \
            $DOCKER_STORAGE_OPTIONS ; ignore_errors=no }\nLoadState=loaded\nActiveState=inactive\nUnitFileState=disabled\n\
            Environment=DOCKER_STORAGE_OPTIONS=--storage-driver=overlay2\n\
            EnvironmentFiles=/etc/sysconfig/docker (ignore_errors=yes)\n\nId=docker.socket\nLoadState=not-found\n";
        let (service, has_socket) = of(show, &[("/etc/sysconfig/docker", "OPTIONS='--live-restore'\n")]);
        let service = service.unwrap();
        assert!(!service.is_active && !service.is_enabled && !has_socket);
        assert_eq!(texts(&service), ["live-restore=-", "storage-driver=overlay2"]);
    }

    #[test]
    fn no_unit_is_none() {
        let show = "Id=docker.service\nLoadState=not-found\nActiveState=inactive\n\nId=docker.socket\nLoadState=not-found\n";
        assert_eq!(of(show, &[]), (None, false));
    }
}
