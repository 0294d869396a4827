//! The body of Docker's request to create a berth's container. Pure: no clock, no host, no engine.
//!
//! It must never hand out more than the spec names: no privilege, no other runtime, exact device permissions.

use super::capabilities;
use super::client::{Api, OWN_CGROUP_NAMESPACE};
use crate::model::{Capability, Size};
use bollard::models::{
    ContainerCreateBody, DeviceMapping, HealthConfig, HostConfig, HostConfigCgroupnsModeEnum,
    HostConfigLogConfig, Mount, MountType, PortBinding, ResourcesUlimits, RestartPolicy,
    RestartPolicyNameEnum,
};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Where the SSH server of a berth listens inside.
pub const SSH_PORT: &str = "22/tcp";
/// Always named, because a node may have `default-runtime = ascend`, which hands out cards by an environment
/// variable.
pub const RUNTIME: &str = "runc";
/// Read and write, but not `m`: processes in the container cannot make another node of a card.
pub const DEVICE_PERMISSIONS: &str = "rw";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceNode {
    pub host: PathBuf,
    pub container: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindMount {
    pub source: PathBuf,
    pub target: PathBuf,
    pub read_only: bool,
}

/// All that a berth's container is given.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerSpec {
    pub name: String,
    /// `sha256:…`, never a tag: a tag can be given to another image.
    pub image_id: String,
    pub hostname: String,
    pub labels: BTreeMap<String, String>,
    pub env: Vec<(String, String)>,
    pub devices: Vec<DeviceNode>,
    pub mounts: Vec<BindMount>,
    /// The host's address and port that lead to the SSH server inside.
    pub listen: SocketAddr,
    pub memory: Option<Size>,
    pub cpus: Option<f64>,
    /// e.g. `0-23,48-71`
    pub cpuset: Option<String>,
    pub shm_size: Size,
    pub pids_limit: i64,
    /// Open files of each process.
    pub nofile: u64,
    /// Groups of its first process besides root's, for device nodes that others may not open.
    pub groups: Vec<u32>,
    pub network: String,
    pub no_new_privileges: bool,
    /// What a profile wants of [`Capability`]; everything else is Docker's default set, or taken from it.
    pub capabilities: Vec<Capability>,
    /// Replaces the image's entrypoint and command.
    pub command: Vec<String>,
    /// How long it may take to stop before it is killed.
    pub stop_after: Duration,
}

/// The body. It sets every value explicitly that an image or the engine's config could otherwise change.
pub fn body(spec: &ContainerSpec, api: Api) -> ContainerCreateBody {
    let (entrypoint, arguments) = split_command(&spec.command);
    ContainerCreateBody {
        image: Some(spec.image_id.clone()),
        hostname: Some(spec.hostname.clone()),
        user: Some("0:0".into()),
        env: Some(spec.env.iter().map(|(key, value)| format!("{key}={value}")).collect()),
        entrypoint: Some(entrypoint),
        cmd: Some(arguments),
        working_dir: Some("/".into()),
        labels: Some(spec.labels.clone().into_iter().collect()),
        stop_signal: Some("SIGTERM".into()),
        stop_timeout: Some(i64::try_from(spec.stop_after.as_secs()).unwrap_or(i64::MAX)),
        tty: Some(false),
        open_stdin: Some(false),
        exposed_ports: Some(vec![SSH_PORT.into()]),
        // An image's health check would run as root beside the user's work, for nobody.
        healthcheck: Some(HealthConfig { test: Some(vec!["NONE".into()]), ..HealthConfig::default() }),
        host_config: Some(host_config(spec, api)),
        ..ContainerCreateBody::default()
    }
}

fn split_command(command: &[String]) -> (Vec<String>, Vec<String>) {
    match command.split_first() {
        Some((program, arguments)) => (vec![program.clone()], arguments.to_vec()),
        None => (Vec::new(), Vec::new()),
    }
}

fn host_config(spec: &ContainerSpec, api: Api) -> HostConfig {
    let memory = spec.memory.map(Size::bytes_i64);
    let (cap_add, cap_drop) = capabilities::changes(&spec.capabilities);
    HostConfig {
        init: Some(true),
        privileged: Some(false),
        cap_add: Some(cap_add),
        cap_drop: Some(cap_drop),
        runtime: Some(RUNTIME.into()),
        devices: Some(spec.devices.iter().map(device).collect()),
        mounts: Some(spec.mounts.iter().map(mount).collect()),
        port_bindings: Some(port_bindings(spec.listen)),
        publish_all_ports: Some(false),
        memory,
        // The same as memory: no swap on top of it.
        memory_swap: memory,
        nano_cpus: spec.cpus.and_then(nano_cpus),
        cpuset_cpus: spec.cpuset.clone(),
        shm_size: Some(spec.shm_size.bytes_i64()),
        pids_limit: Some(spec.pids_limit),
        // Sessions raise theirs; see `berth inside session`.
        oom_score_adj: Some(0),
        ulimits: Some(vec![nofile(spec.nofile)]),
        group_add: Some(spec.groups.iter().map(ToString::to_string).collect()),
        network_mode: Some(spec.network.clone()),
        ipc_mode: Some("private".into()),
        security_opt: Some(if spec.no_new_privileges {
            vec!["no-new-privileges".into()]
        } else {
            Vec::new()
        }),
        cgroupns_mode: (api >= OWN_CGROUP_NAMESPACE).then_some(HostConfigCgroupnsModeEnum::PRIVATE),
        // The agent decides what starts after a reboot, when the device nodes are there.
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        auto_remove: Some(false),
        log_config: Some(log_config("10m", "3")),
        ..HostConfig::default()
    }
}

/// The limit of open files, soft and hard alike, so that programs have it without raising their soft limit.
fn nofile(most: u64) -> ResourcesUlimits {
    let most = i64::try_from(most).ok();
    ResourcesUlimits { name: Some("nofile".into()), soft: most, hard: most }
}

/// The log driver, named whatever the engine's default is: berth can read this one, and it does not fill a disk.
pub(crate) fn log_config(max_size: &str, max_file: &str) -> HostConfigLogConfig {
    HostConfigLogConfig {
        typ: Some("json-file".into()),
        config: Some(HashMap::from([
            ("max-size".to_owned(), max_size.to_owned()),
            ("max-file".to_owned(), max_file.to_owned()),
        ])),
    }
}

pub(super) fn device(node: &DeviceNode) -> DeviceMapping {
    DeviceMapping {
        path_on_host: Some(node.host.display().to_string()),
        path_in_container: Some(node.container.display().to_string()),
        cgroup_permissions: Some(DEVICE_PERMISSIONS.into()),
    }
}

/// A mount in Docker's newer form. Docker refuses it where its source is missing; with a bind, Docker would make an
/// empty directory.
pub(crate) fn mount(mount: &BindMount) -> Mount {
    Mount {
        typ: Some(MountType::BIND),
        source: Some(mount.source.display().to_string()),
        target: Some(mount.target.display().to_string()),
        read_only: Some(mount.read_only),
        ..Mount::default()
    }
}

fn port_bindings(listen: SocketAddr) -> HashMap<String, Option<Vec<PortBinding>>> {
    let binding =
        PortBinding { host_ip: Some(listen.ip().to_string()), host_port: Some(listen.port().to_string()) };
    HashMap::from([(SSH_PORT.to_owned(), Some(vec![binding]))])
}

/// CPUs in Docker's unit: nanoseconds of CPU time for each second.
pub(crate) fn nano_cpus(cpus: f64) -> Option<i64> {
    let time = Duration::try_from_secs_f64(cpus).ok()?;
    i64::try_from(time.as_nanos()).ok().filter(|nanos| *nanos > 0)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::json;

    pub(crate) fn spec() -> ContainerSpec {
        ContainerSpec {
            name: "berth-alice-train".into(),
            image_id: "sha256:00ff".into(),
            hostname: "train".into(),
            labels: BTreeMap::from([("berth.schema".into(), "1".into())]),
            env: vec![("BERTH_CARDS".into(), "3".into())],
            devices: vec![DeviceNode { host: "/dev/davinci3".into(), container: "/dev/davinci3".into() }],
            mounts: vec![BindMount {
                source: "/data/berth/alice".into(),
                target: "/home/ma-user/work".into(),
                read_only: false,
            }],
            listen: "10.0.0.5:20000".parse().unwrap(),
            memory: Some(Size::gib(1)),
            cpus: Some(1.5),
            cpuset: Some("0-1".into()),
            shm_size: Size::mib(64),
            pids_limit: 512,
            nofile: 4096,
            groups: vec![1000],
            network: "bridge".into(),
            no_new_privileges: true,
            capabilities: Vec::new(),
            command: vec!["/opt/berth/bin/berth".into(), "inside".into(), "serve".into()],
            stop_after: Duration::from_secs(20),
        }
    }

    #[test]
    fn the_body_says_everything_explicitly() {
        let mut got = serde_json::to_value(body(&spec(), Api::new(1, 41))).unwrap();
        strip_nulls(&mut got);
        let host_config = json!({
            "Init": true,
            "Privileged": false,
            "CapAdd": [],
            "CapDrop": ["NET_RAW", "MKNOD"],
            "Runtime": "runc",
            "Devices": [{"PathOnHost": "/dev/davinci3", "PathInContainer": "/dev/davinci3", "CgroupPermissions": "rw"}],
            "Mounts": [{"Type": "bind", "Source": "/data/berth/alice", "Target": "/home/ma-user/work", "ReadOnly": false}],
            "PortBindings": {"22/tcp": [{"HostIp": "10.0.0.5", "HostPort": "20000"}]},
            "PublishAllPorts": false,
            "Memory": 1_073_741_824,
            "MemorySwap": 1_073_741_824,
            "NanoCpus": 1_500_000_000,
            "CpusetCpus": "0-1",
            "ShmSize": 67_108_864,
            "PidsLimit": 512,
            "OomScoreAdj": 0,
            "GroupAdd": ["1000"],
            "NetworkMode": "bridge",
            "IpcMode": "private",
            "SecurityOpt": ["no-new-privileges"],
            "CgroupnsMode": "private",
            "RestartPolicy": {"Name": "no"},
            "AutoRemove": false,
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}},
        });
        let mut expected = json!({
            "Image": "sha256:00ff",
            "Hostname": "train",
            "User": "0:0",
            "Env": ["BERTH_CARDS=3"],
            "Entrypoint": ["/opt/berth/bin/berth"],
            "Cmd": ["inside", "serve"],
            "WorkingDir": "/",
            "Labels": {"berth.schema": "1"},
            "StopSignal": "SIGTERM",
            "StopTimeout": 20,
            "Tty": false,
            "OpenStdin": false,
            "ExposedPorts": {"22/tcp": {}},
            "Healthcheck": {"Test": ["NONE"]},
            "HostConfig": host_config,
        });
        // One more within would be too many for the macro.
        expected["HostConfig"]["Ulimits"] = json!([{"Name": "nofile", "Soft": 4096, "Hard": 4096}]);
        assert_eq!(got, expected, "{got:#}");
    }

    #[test]
    fn an_old_engine_gets_no_cgroup_namespace() {
        let old = body(&spec(), Api::new(1, 39)).host_config.unwrap();
        assert_eq!(old.cgroupns_mode, None);
    }

    #[test]
    fn impossible_cpus_are_no_limit() {
        for cpus in [f64::NAN, -1.0, 0.0, f64::INFINITY, 1e300] {
            assert_eq!(nano_cpus(cpus), None, "{cpus}");
        }
    }

    fn strip_nulls(value: &mut serde_json::Value) {
        if let serde_json::Value::Object(map) = value {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(strip_nulls);
        }
    }
}
