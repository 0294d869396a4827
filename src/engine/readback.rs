//! Compares what a started container really got, as the engine and the kernel tell it, with what was asked for.
//!
//! [`compare`] is pure. Nothing is changed here: the caller decides what to do about a difference.

use super::capabilities;
use super::client::Engine;
use super::container::{
    BindMount, ContainerSpec, DEVICE_PERMISSIONS, DeviceNode, RUNTIME, SSH_PORT, nano_cpus,
};
use crate::error::Fault;
use crate::host::device_number;
use crate::host::readback::{KernelView, read_container};
use crate::model::{Capability, Size, cpulist};
use anyhow::{Context as _, Result};
use bollard::models::ContainerInspectResponse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Device numbers by the path in the container.
pub type DeviceNumbers = BTreeMap<PathBuf, (u32, u32)>;

/// Device rules that runc gives every container: null, zero, full, random, urandom, tty, console, ptmx, tun, pts.
const DEFAULT_RULES: [&str; 12] = [
    "c *:* m",
    "b *:* m",
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 1:8 rwm",
    "c 1:9 rwm",
    "c 5:0 rwm",
    "c 5:1 rwm",
    "c 5:2 rwm",
    "c 10:200 rwm",
    "c 136:* rwm",
];
const DEFAULT_NODES: [(u32, u32); 9] =
    [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2), (10, 200)];
/// The kernel rounds a limit to its pages, which are up to 64 KiB on aarch64.
const LARGEST_PAGE: u64 = 64 << 10;

/// The engine's record of a container.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EngineView {
    pub image_id: String,
    pub privileged: bool,
    pub runtime: String,
    /// Host path, container path, permissions.
    pub devices: Vec<(PathBuf, PathBuf, String)>,
    pub device_rules: Vec<String>,
    /// How many requests for devices it has, such as CDI or GPUs. berth never makes one.
    pub device_requests: usize,
    /// Names as the API takes them, sorted.
    pub capabilities_added: Vec<String>,
    pub capabilities_dropped: Vec<String>,
    /// The addresses that are published now, not those that were asked for.
    pub published: Vec<SocketAddr>,
    /// Targets of bind mounts.
    pub binds: Vec<PathBuf>,
    pub network: String,
    /// Namespaces of the host that it shares: pid, ipc, uts, user.
    pub shared: Vec<String>,
    pub nano_cpus: i64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    pub engine: EngineView,
    pub kernel: KernelView,
}

impl Observed {
    /// What could not be read and was therefore not compared; `None` when everything was.
    pub fn unseen(&self) -> Option<&'static str> {
        let listed = self.kernel.device_rules.is_some();
        (!listed)
            .then_some("the kernel's device rules: cgroup v2 keeps them as a program, which cannot be listed")
    }
}

/// One value that differs from what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub what: String,
    pub wanted: String,
    pub got: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}, not {}", self.what, self.got, self.wanted)
    }
}

/// The device numbers of these nodes on the host now. An error when one cannot be read.
pub fn expected_numbers(devices: &[DeviceNode]) -> Result<DeviceNumbers> {
    devices
        .iter()
        .map(|node| match device_number(&node.host) {
            Ok(Some(number)) => Ok((node.container.clone(), number)),
            Ok(None) => Err(Fault::host(format!("{} is not a character device", node.host.display())).into()),
            Err(error) => Err(Fault::host(format!("{}: {error}", node.host.display()))
                .help("is the driver loaded? see: berth cards")
                .into()),
        })
        .collect()
}

/// Reads what a running container has, from the engine and from the kernel.
pub async fn observe(engine: &Engine, id: &str, mounts: &[BindMount]) -> Result<Observed> {
    let doing = || format!("reading back container {}", super::lifecycle::short(id));
    let inspect = engine
        .inspect_raw(id)
        .await?
        .ok_or_else(|| Fault::docker("there is no such container"))
        .with_context(doing)?;
    let state = inspect.state.as_ref();
    let pid =
        state.and_then(|state| state.pid).and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0);
    let pid = pid.ok_or_else(|| not_running(&inspect)).with_context(doing)?;
    let container_id = inspect.id.clone().unwrap_or_default();
    let wanted: Vec<_> = mounts.iter().map(|mount| (mount.source.clone(), mount.target.clone())).collect();
    let kernel = tokio::task::spawn_blocking(move || read_container(pid, &container_id, &wanted))
        .await
        .context("reading the kernel's view")?
        .map_err(|error| Fault::host(format!("its process {pid} cannot be looked at: {error}")))
        .with_context(doing)?;
    Ok(Observed { engine: engine_view(&inspect), kernel })
}

fn not_running(inspect: &ContainerInspectResponse) -> Fault {
    let state = inspect.state.clone().unwrap_or_default();
    let error = state
        .error
        .filter(|error| !error.is_empty())
        .map(|error| format!(": {}", super::client::clean(&error)));
    Fault::docker(format!(
        "it does not run (exit code {}){}",
        state.exit_code.unwrap_or_default(),
        error.unwrap_or_default()
    ))
}

fn engine_view(inspect: &ContainerInspectResponse) -> EngineView {
    let host = inspect.host_config.clone().unwrap_or_default();
    let shared = [
        ("pid", &host.pid_mode),
        ("ipc", &host.ipc_mode),
        ("uts", &host.uts_mode),
        ("user", &host.userns_mode),
    ]
    .into_iter()
    .filter(|(_, mode)| mode.as_deref().is_some_and(|mode| mode == "host" || mode.starts_with("container:")))
    .map(|(name, _)| name.to_owned())
    .collect();
    EngineView {
        image_id: inspect.image.clone().unwrap_or_default(),
        privileged: host.privileged.unwrap_or(false),
        runtime: host.runtime.unwrap_or_default(),
        devices: host
            .devices
            .unwrap_or_default()
            .into_iter()
            .map(|device| {
                let path = |path: Option<String>| PathBuf::from(path.unwrap_or_default());
                let permissions = device.cgroup_permissions.unwrap_or_default();
                (path(device.path_on_host), path(device.path_in_container), permissions)
            })
            .collect(),
        device_rules: host.device_cgroup_rules.unwrap_or_default(),
        device_requests: host.device_requests.map_or(0, |requests| requests.len()),
        capabilities_added: capability_names(host.cap_add),
        capabilities_dropped: capability_names(host.cap_drop),
        published: published(inspect),
        binds: inspect
            .mounts
            .iter()
            .flatten()
            .filter(|mount| mount.typ.as_deref() == Some("bind"))
            .filter_map(|mount| mount.destination.as_ref().map(PathBuf::from))
            .collect(),
        network: host.network_mode.unwrap_or_default(),
        shared,
        nano_cpus: host.nano_cpus.unwrap_or(0),
    }
}

/// The names without `CAP_`, sorted: newer engines write `CAP_SYS_NICE` where they were told `SYS_NICE`.
fn capability_names(names: Option<Vec<String>>) -> Vec<String> {
    let mut names: Vec<String> = names
        .unwrap_or_default()
        .iter()
        .map(|name| name.to_uppercase())
        .map(|name| name.strip_prefix("CAP_").unwrap_or(&name).to_owned())
        .collect();
    names.sort();
    names
}

fn published(inspect: &ContainerInspectResponse) -> Vec<SocketAddr> {
    let ports = inspect.network_settings.as_ref().and_then(|settings| settings.ports.as_ref());
    let mut found: Vec<SocketAddr> = ports
        .into_iter()
        .flatten()
        // Any other port that is published counts too: nothing but SSH was asked for.
        .flat_map(|(inside, bindings)| bindings.iter().flatten().map(move |binding| (inside, binding)))
        .filter_map(|(inside, binding)| {
            let ip = binding.host_ip.as_deref()?.parse().ok()?;
            let port: u16 = binding.host_port.as_deref()?.parse().ok()?;
            Some(SocketAddr::new(ip, if inside == SSH_PORT { port } else { 0 }))
        })
        .collect();
    found.sort();
    found
}

/// All differences from the spec; empty when there are none.
pub fn compare(spec: &ContainerSpec, numbers: &DeviceNumbers, seen: &Observed) -> Vec<Difference> {
    let mut found = Found(Vec::new());
    compare_engine(&mut found, spec, &seen.engine);
    compare_capabilities(&mut found, spec, seen);
    compare_rules(&mut found, numbers, &seen.kernel);
    compare_nodes(&mut found, numbers, &seen.kernel);
    compare_mounts(&mut found, spec, seen);
    compare_limits(&mut found, spec, seen);
    found.0
}

/// The device numbers of one berth, by the path in its container.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OwnDevices {
    /// Devices that it must have: its cards and the nodes that every berth needs.
    pub must: DeviceNumbers,
    /// Optional devices: it has those that the node had when it was made.
    pub may: DeviceNumbers,
}

/// Compares the devices of a container that berth did not start itself with those of its berth: all of them must be
/// there, and no others. Its other settings are not compared, because the profile may have changed since.
pub fn compare_devices(own: &OwnDevices, seen: &Observed) -> Vec<Difference> {
    let mut found = Found(Vec::new());
    compare_powers(&mut found, &seen.engine);
    let known = |name: &String| Capability::ALL.iter().any(|one| one.as_str() == name);
    let unknown: Vec<&String> = seen.engine.capabilities_added.iter().filter(|name| !known(name)).collect();
    found.same("added capabilities", &Vec::new(), &unknown);
    compare_most(&mut found, &Capability::ALL, &seen.kernel);
    let may = own.may.iter().filter(|(path, _)| seen.kernel.nodes.iter().any(|node| node.path == **path));
    let expected: DeviceNumbers =
        own.must.iter().chain(may).map(|(path, number)| (path.clone(), *number)).collect();
    compare_rules(&mut found, &expected, &seen.kernel);
    compare_nodes(&mut found, &expected, &seen.kernel);
    found.0
}

struct Found(Vec<Difference>);

impl Found {
    fn add(&mut self, what: impl Into<String>, wanted: impl Into<String>, got: impl Into<String>) {
        self.0.push(Difference { what: what.into(), wanted: wanted.into(), got: got.into() });
    }
    fn same<T: PartialEq + fmt::Debug>(&mut self, what: &str, wanted: &T, got: &T) {
        if wanted != got {
            self.add(what, format!("{wanted:?}"), format!("{got:?}"));
        }
    }
}

/// Finds settings that give access to more than the named devices.
fn compare_powers(found: &mut Found, got: &EngineView) {
    found.same("privileged", &false, &got.privileged);
    found.same("runtime", &RUNTIME.to_owned(), &got.runtime);
    found.same("device cgroup rules", &Vec::new(), &got.device_rules);
    found.same("device requests", &0, &got.device_requests);
    found.same("namespaces shared with others", &Vec::new(), &got.shared);
}

fn compare_engine(found: &mut Found, spec: &ContainerSpec, got: &EngineView) {
    compare_powers(found, got);
    found.same("image", &spec.image_id, &got.image_id);
    found.same("network", &spec.network, &got.network);
    found.same("published ports", &vec![spec.listen], &got.published);
    let wanted: BTreeSet<_> = spec
        .devices
        .iter()
        .map(|node| (node.host.clone(), node.container.clone(), DEVICE_PERMISSIONS.to_owned()))
        .collect();
    found.same("devices", &wanted, &got.devices.iter().cloned().collect());
}

fn compare_capabilities(found: &mut Found, spec: &ContainerSpec, seen: &Observed) {
    let (add, drop) = capabilities::changes(&spec.capabilities);
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names
    };
    found.same("added capabilities", &sorted(add), &seen.engine.capabilities_added);
    found.same("dropped capabilities", &sorted(drop), &seen.engine.capabilities_dropped);
    compare_most(found, &spec.capabilities, &seen.kernel);
    let lacking: Vec<&str> = spec
        .capabilities
        .iter()
        .filter(|one| seen.kernel.capabilities & (1 << one.bit()) == 0)
        .map(|one| one.as_str())
        .collect();
    found.same("capabilities that the kernel did not give", &Vec::new(), &lacking);
}

fn compare_most(found: &mut Found, wanted: &[Capability], kernel: &KernelView) {
    let more = kernel.capabilities & !capabilities::most(wanted);
    if more != 0 {
        found.add(
            "the kernel's set of capabilities",
            "no more than asked for",
            format!("{more:#x} too much"),
        );
    }
}

fn compare_rules(found: &mut Found, numbers: &DeviceNumbers, kernel: &KernelView) {
    let Some(rules) = &kernel.device_rules else { return };
    let wanted: BTreeSet<String> =
        numbers.values().map(|(major, minor)| format!("c {major}:{minor} {DEVICE_PERMISSIONS}")).collect();
    let got: BTreeSet<String> =
        rules.iter().filter(|rule| !DEFAULT_RULES.contains(&rule.as_str())).cloned().collect();
    found.same("the kernel's device rules", &wanted, &got);
}

fn compare_nodes(found: &mut Found, numbers: &DeviceNumbers, kernel: &KernelView) {
    let got: DeviceNumbers = kernel
        .nodes
        .iter()
        .filter(|node| !node.block && !DEFAULT_NODES.contains(&node.number))
        .map(|node| (node.path.clone(), node.number))
        .collect();
    found.same("device nodes", numbers, &got);
    let blocks: Vec<&Path> =
        kernel.nodes.iter().filter(|node| node.block).map(|node| node.path.as_path()).collect();
    found.same("block devices", &Vec::new(), &blocks);
}

fn compare_mounts(found: &mut Found, spec: &ContainerSpec, seen: &Observed) {
    let mode = |read_only: bool| if read_only { "read-only" } else { "read-write" };
    for mount in &spec.mounts {
        let what = format!("mount {}", mount.target.display());
        match seen.kernel.mounts.iter().find(|got| got.target == mount.target) {
            None => found.add(what, mode(mount.read_only), "not looked at"),
            Some(got) => match got.read_only {
                None => found.add(what, mode(mount.read_only), "not mounted"),
                Some(_) if !got.same_source => {
                    found.add(what, format!("{}", mount.source.display()), "something else");
                }
                Some(read_only) if read_only != mount.read_only => {
                    found.add(what, mode(mount.read_only), mode(read_only));
                }
                Some(_) => {}
            },
        }
    }
    let wanted: BTreeSet<&Path> = spec.mounts.iter().map(|mount| mount.target.as_path()).collect();
    let got: BTreeSet<&Path> = seen.engine.binds.iter().map(PathBuf::as_path).collect();
    for extra in got.difference(&wanted) {
        found.add(format!("mount {}", extra.display()), "absent", "mounted");
    }
}

fn compare_limits(found: &mut Found, spec: &ContainerSpec, seen: &Observed) {
    let size = |bytes: Option<u64>| bytes.map_or("no limit".to_owned(), |bytes| Size(bytes).to_string());
    let wanted = spec.memory.map(|memory| memory.0);
    let close = match (wanted, seen.kernel.memory) {
        (Some(wanted), Some(got)) => wanted.abs_diff(got) < LARGEST_PAGE,
        (wanted, got) => wanted == got,
    };
    if !close {
        found.add("memory limit", size(wanted), size(seen.kernel.memory));
    }
    found.same("process limit", &u64::try_from(spec.pids_limit).ok(), &seen.kernel.pids);
    found.same("open files of a process", &Some(spec.nofile), &seen.kernel.nofile);
    if let Some(cpus) = &spec.cpuset
        && cpulist::parse(cpus) != seen.kernel.cpuset.as_deref().and_then(cpulist::parse)
    {
        found.add("CPUs", cpus.clone(), seen.kernel.cpuset.clone().unwrap_or_else(|| "not known".into()));
    }
    found.same(
        "CPU limit (nanoseconds a second)",
        &spec.cpus.and_then(nano_cpus).unwrap_or(0),
        &seen.engine.nano_cpus,
    );
    found.same("no-new-privileges", &spec.no_new_privileges, &seen.kernel.no_new_privileges);
}

#[cfg(test)]
#[path = "readback_tests.rs"]
mod tests;
