//! The Docker Engine: version, place of its data, limits of its logs, and access to the cloud's metadata.

use super::disks::{describe, space_of};
use super::outcome::{Outcome, bad, doubtful, good, list, looked, skipped};
use super::{Check, Need, On, Scope, Wants};
use crate::check::report::Severity;
use crate::check::seen::DockerState;
use crate::model::Size;
use crate::model::check_facts::{DaemonSettings, NotLooked};
use crate::model::facts::DockerFacts;
use crate::model::version::compare;
use crate::profile::BetweenBerths;
use std::path::Path;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "docker.version",
        title: "Docker Engine",
        severity: Severity::Required,
        on: On::Every,
        needs: &[Need::Docker],
        wants: |wants| Ok(format!("{} or newer", wants.profile.check.docker)),
        judge: engine_version,
    },
    Check {
        id: "docker.data-root",
        title: "Docker's data",
        severity: Severity::Required,
        on: On::Every,
        needs: &[Need::Docker, Need::Space],
        wants: |wants| match wants.profile.check.data {
            Some(_) => Ok("not on the root file system".into()),
            None => Err("the profile names no data volume".into()),
        },
        judge: data_root,
    },
    Check {
        id: "docker.log-rotation",
        title: "Logs of containers",
        severity: Severity::Advised,
        on: On::Every,
        needs: &[Need::Docker, Need::Daemon],
        wants: |_| Ok("log-opts max-size, or a driver that rotates by itself".into()),
        judge: log_rotation,
    },
    Check {
        id: "docker.live-restore",
        title: "Containers outlive a restart of Docker",
        severity: Severity::Advised,
        on: On::Every,
        needs: &[Need::Docker, Need::Daemon],
        wants: |_| Ok("live-restore, by daemon.json or by a flag".into()),
        judge: live_restore,
    },
    Check {
        id: "docker.runtime",
        title: "Runtimes",
        severity: Severity::Required,
        on: On::Every,
        needs: &[Need::Docker, Need::Daemon],
        wants: |_| Ok("runc, a default that is registered, and not the ascend runtime".into()),
        judge: runtime,
    },
    Check {
        id: "docker.networks",
        title: "Networks of containers",
        severity: Severity::Advised,
        on: On::Every,
        needs: &[Need::Daemon],
        wants: |_| Ok("in private address space".into()),
        judge: networks,
    },
    Check {
        id: "docker.metadata-closed",
        title: "The cloud's metadata is closed to containers",
        severity: Severity::Advised,
        on: On::Every,
        needs: &[Need::Docker, Need::Metadata],
        wants: |wants: &Wants| {
            if wants.config.docker.close_metadata {
                Ok("no container reaches 169.254.169.254".into())
            } else {
                Err("the config says docker.close-metadata = false".into())
            }
        },
        judge: metadata,
    },
    Check {
        id: "docker.berths-apart",
        title: "Berths can be kept apart",
        severity: Severity::Required,
        on: On::Every,
        needs: &[Need::Docker, Need::BridgeFilter],
        wants: |wants: &Wants| match wants.config.docker.between_berths {
            BetweenBerths::Closed => {
                Ok("br_netfilter, for iptables to see what containers send to each other".into())
            }
            BetweenBerths::Open => Err("the config says docker.between-berths = \"open\"".into()),
        },
        judge: berths_apart,
    },
];

/// The engine, or the outcome "skipped" where there is none: only docker.version reports a missing engine as bad.
fn engine<'a>(scope: &Scope<'a>) -> Result<Result<&'a DockerFacts, Outcome>, NotLooked> {
    Ok(match looked(&scope.facts.docker)? {
        DockerState::Answers(facts) => Ok(facts),
        DockerState::Unusable { .. } => Err(skipped("there is no engine to ask: see docker.version")),
    })
}

fn engine_version(scope: &Scope) -> Result<Outcome, NotLooked> {
    let docker = match looked(&scope.facts.docker)? {
        DockerState::Answers(facts) => facts,
        DockerState::Unusable { why, remedy } => return Ok(bad(why, remedy)),
    };
    let seen = format!("{} (API {})", docker.version, docker.api_version);
    if compare(&docker.version, &scope.profile.check.docker).is_lt() {
        return Ok(bad(seen, "upgrade Docker with the system's package manager"));
    }
    Ok(good(seen))
}

fn data_root(scope: &Scope) -> Result<Outcome, NotLooked> {
    let docker = match engine(scope)? {
        Ok(docker) => docker,
        Err(skip) => return Ok(skip),
    };
    let Some(root) = &docker.data_root else {
        return Err(String::from("the engine does not say where its data is").into());
    };
    let space = space_of(scope.facts, Path::new(root))?;
    if space.target == "/" {
        let seen = format!("{root} is on the root file system, with {} free", Size(space.available));
        return Ok(bad(seen, "berth bootstrap moves it: images and logs fill the root file system"));
    }
    let seen = format!("{root}, in {}", describe(space));
    // Enough for one more image of a usual size.
    if space.available < 30 << 30 {
        return Ok(doubtful(seen, "docker system df; docker image prune"));
    }
    Ok(good(seen))
}

fn log_rotation(scope: &Scope) -> Result<Outcome, NotLooked> {
    if let Err(skip) = engine(scope)? {
        return Ok(skip);
    }
    let daemon = looked(&scope.facts.daemon)?;
    let path = &daemon.path;
    if let Some(why) = &daemon.broken {
        let remedy = format!("mend it before Docker is started again: python3 -m json.tool {path}");
        return Ok(bad(format!("{path}: {why}"), remedy));
    }
    if let Some(key) = &daemon.twice {
        return Ok(bad(
            format!("{key:?} is in {path} and among dockerd's flags too: Docker does not start any more"),
            format!("take it out of {path}; {FLAGS_ARE_FROM}"),
        ));
    }
    let driver = daemon.log_driver.as_deref().unwrap_or("json-file");
    // json-file keeps all there ever was; the other drivers rotate, or write elsewhere.
    if driver != "json-file" {
        return Ok(good(format!("log-driver {driver}")));
    }
    match &daemon.log_max_size {
        Some(size) => Ok(good(format!("json-file, max-size {size}"))),
        None => Ok(bad(
            "json-file without max-size: the log of one container can fill the disk",
            size_remedy(daemon),
        )),
    }
}

const FLAGS_ARE_FROM: &str = "systemctl cat docker.service shows where dockerd's flags come from";

fn size_remedy(daemon: &DaemonSettings) -> String {
    let has = |key: &str| daemon.flags.iter().any(|flag| flag == key);
    if has("log-opts") {
        return format!("add --log-opt max-size=100m to dockerd's other --log-opt; {FLAGS_ARE_FROM}");
    }
    let key = format!("\"log-opts\": {{\"max-size\": \"100m\", \"max-file\": \"3\"}} in {}", daemon.path);
    let then = "then restart Docker; berths have their own limit";
    if has("log-driver") {
        return format!("{key}; {then}");
    }
    format!("berth bootstrap --apply merges it; by hand: {key}; {then}")
}

fn live_restore(scope: &Scope) -> Result<Outcome, NotLooked> {
    if let Err(skip) = engine(scope)? {
        return Ok(skip);
    }
    let daemon = looked(&scope.facts.daemon)?;
    if daemon.broken.is_some() || daemon.twice.is_some() {
        return Ok(skipped(format!("{} is of no use to Docker: see docker.log-rotation", daemon.path)));
    }
    let is_flag = daemon.flags.iter().any(|flag| flag == "live-restore");
    let key = format!("\"live-restore\": true in {}; then systemctl reload docker", daemon.path);
    let remedy = match daemon.live_restore {
        Some(true) if is_flag => return Ok(good("live-restore is on, by dockerd's flags")),
        Some(true) => return Ok(good("live-restore is on")),
        Some(false) if is_flag => format!("take --live-restore=false out; {FLAGS_ARE_FROM}"),
        // Bootstrap leaves alone what somebody chose.
        Some(false) => key,
        None => format!("berth bootstrap --apply merges it; by hand: {key}"),
    };
    Ok(bad("live-restore is off: every upgrade of Docker ends every berth", remedy))
}

fn runtime(scope: &Scope) -> Result<Outcome, NotLooked> {
    // Said first: an engine that does not start can be asked nothing, and one that runs ends with its next start.
    let daemon = looked(&scope.facts.daemon)?;
    if let Some(name) = &daemon.missing_runtime {
        return Ok(bad(
            format!(
                "default-runtime is {name:?}, and no runtime of that name is registered: Docker does not start again"
            ),
            format!(
                "take default-runtime out of {}, or register {name} under \"runtimes\", before Docker is restarted",
                daemon.path
            ),
        ));
    }
    let docker = match engine(scope)? {
        Ok(docker) => docker,
        Err(skip) => return Ok(skip),
    };
    let default = docker.default_runtime.as_deref().unwrap_or("runc");
    let seen = format!("{}; default {default}", docker.runtimes.join(", "));
    if !docker.runtimes.iter().any(|name| name == "runc") {
        return Ok(bad(seen, "install runc with the system's package manager, then restart Docker"));
    }
    if default.contains("ascend") {
        // It hands cards to every container whose image sets ASCEND_VISIBLE_DEVICES.
        return Ok(doubtful(
            seen,
            "take default-runtime out of /etc/docker/daemon.json; docker run --runtime ascend still works",
        ));
    }
    Ok(good(seen))
}

fn networks(scope: &Scope) -> Result<Outcome, NotLooked> {
    let daemon = looked(&scope.facts.daemon)?;
    if daemon.broken.is_some() {
        return Ok(skipped(format!("{} is of no use to Docker: see docker.log-rotation", daemon.path)));
    }
    if daemon.public_networks.is_empty() {
        return Ok(good("no network of daemon.json or of dockerd's flags is in public address space"));
    }
    Ok(bad(
        format!(
            "{} is public address space: this node reaches none of the hosts that have these addresses",
            list(&daemon.public_networks)
        ),
        format!("choose networks of 10.0.0.0/8 or 172.16.0.0/12 in {}, then restart Docker", daemon.path),
    ))
}

fn metadata(scope: &Scope) -> Result<Outcome, NotLooked> {
    if let Err(skip) = engine(scope)? {
        return Ok(skip);
    }
    if *looked(&scope.facts.metadata_closed)? {
        return Ok(good("iptables rejects it in DOCKER-USER and INPUT"));
    }
    Ok(bad(
        "any container may ask 169.254.169.254 for this node's credentials",
        "iptables -I DOCKER-USER -d 169.254.169.254/32 -j REJECT; iptables -I INPUT ! -i lo -d 169.254.169.254/32 -j REJECT; \
         berth's agent does both when it starts",
    ))
}

fn berths_apart(scope: &Scope) -> Result<Outcome, NotLooked> {
    if let Err(skip) = engine(scope)? {
        return Ok(skip);
    }
    if *looked(&scope.facts.can_filter_bridges)? {
        return Ok(good("br_netfilter is there"));
    }
    Ok(bad(
        "the kernel's module br_netfilter is not there, and no berth is made",
        "install the kernel's modules (modprobe br_netfilter), or set docker.between-berths = \"open\"",
    ))
}
