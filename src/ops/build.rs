//! Builds a claimed berth: files, storage, create, start, read back, first SSH banner.
//!
//! On an error nothing is cleaned up here; `undo` removes whatever exists by then.

use super::files::{self, BerthDirs, INSIDE};
use super::images::ReadyImage;
use super::{Node, ProgressSender, Survey};
use crate::accel::Accelerator;
use crate::alloc::cpus::{self, Near, NumaCpus};
use crate::engine::{BerthLabels, BindMount, ContainerSpec, DeviceNode, Engine, OwnedContainer, readback};
use crate::error::Fault;
use crate::facts;
use crate::host::{Host, crash, editors, nodes, storage};
use crate::ledger::User;
use crate::model::facts::NpuTopology;
use crate::model::session::SessionConfig;
use crate::model::{Berth, CardId, cpulist};
use crate::profile::Settings;
use anyhow::{Context, Result, anyhow};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::task::block_in_place;

/// How long the server inside may take to answer, on a machine under load.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// The pause between two tries to reach the server inside.
const ANSWER_PAUSE: Duration = Duration::from_millis(3);
/// How long an engine may take to notice that a container's process ended.
const NOTICE_TIMEOUT: Duration = Duration::from_secs(2);
const NOTICE_PAUSE: Duration = Duration::from_millis(50);
/// How long a container may take to stop. Sessions end with the server; this time is for processes that they left
/// behind.
const STOP_AFTER: Duration = Duration::from_secs(10);
const LOG_LINES: usize = 5;
/// The port of the server inside.
pub(super) const SSH: u16 = 22;

impl Node {
    /// Builds the claimed berth and returns its public host key. After an error the caller must call `undo`.
    pub(super) async fn build(
        &self,
        settings: &Settings,
        berth: &Berth,
        owner: &User,
        image: &ReadyImage,
        survey: Option<&Survey>,
        progress: &ProgressSender,
    ) -> Result<String> {
        let engine = self.engine().await?;
        let (spec, host_key) = self.prepare(settings, berth, owner, image, survey).await?;
        let numbers = readback::expected_numbers(&spec.devices)?;
        progress.step(format!("creating container {}", spec.name));
        let container = engine.create(&spec).await?;
        crash::point("request.created");
        let (id, noted) = (berth.id, container.clone());
        self.ledger(move |ledger| ledger.note_container(id, &noted)).await?;
        crash::point("request.noted");
        let dir = self.berth_dir(berth.id);
        let synced = tokio::task::spawn_blocking(move || files::sync(&dir));
        progress.step("starting it");
        self.leave_port(berth.port).await;
        engine.start(&container).await?;
        crash::point("request.started");
        verify(&engine, &container, &spec, &numbers).await?;
        // Nobody can log in yet: its keys are written last of all.
        self.keep_apart().await?;
        progress.step("waiting for SSH to answer");
        wait_answer(&engine, &container).await?;
        synced.await??;
        Ok(host_key)
    }

    /// Makes the berth's files and storage, and returns the container's spec.
    async fn prepare(
        &self,
        settings: &Settings,
        berth: &Berth,
        owner: &User,
        image: &ReadyImage,
        survey: Option<&Survey>,
    ) -> Result<(ContainerSpec, String)> {
        // Paths of the host may hang, as a network file system does: not on a thread that serves others.
        let (devices, groups) = block_in_place(|| {
            let devices = self.devices(settings, berth)?;
            let groups = node_groups(&devices)?;
            anyhow::Ok((devices, groups))
        })?;
        let Settings { config, profile } = settings;
        let session = session(self.accel(), settings, berth, image, &groups);
        let (dir, berth_copy, owner) = (self.berth_dir(berth.id), berth.clone(), owner.clone());
        let (root, user) = (config.paths.storage.clone(), image.user().clone());
        let held = self.ledger(crate::ledger::Ledger::standing_berths).await?;
        let in_use = held
            .iter()
            .any(|other| other.owner == owner.name && other.id != berth.id && other.state.holds_cards());
        let key = self.owner_key(&owner.name).await?;
        let host_key = key.public_openssh.clone();
        let personal = tokio::task::spawn_blocking(move || -> Result<_> {
            let personal = storage::personal_dir(&root, &owner.name, user.uid, user.gid, in_use)?;
            files::write(&dir, &berth_copy, &key, &session)?;
            Ok(personal)
        })
        .await??;
        let rules = &profile.berth;
        let spec = ContainerSpec {
            name: container_name(&self.instance, berth),
            image_id: image.id.clone(),
            hostname: berth.name.clone(),
            labels: self.labels(berth).build(),
            env: environment(self.accel(), berth),
            devices,
            mounts: block_in_place(|| self.mounts(settings, berth, &personal)),
            listen: SocketAddr::new(config.ssh.address, berth.port),
            memory: berth.memory,
            cpus: berth.cpus,
            cpuset: survey
                .filter(|_| rules.cpus_near_cards)
                .and_then(|survey| block_in_place(|| self.cpuset(berth, survey))),
            shm_size: rules.shm_size,
            pids_limit: rules.pids_limit,
            nofile: rules.nofile,
            groups,
            network: config.docker.network.clone(),
            no_new_privileges: !image.sudo,
            capabilities: rules.cap_add.clone(),
            command: vec![format!("{INSIDE}/bin/berth"), "inside".into(), "serve".into()],
            stop_after: STOP_AFTER,
        };
        Ok((spec, host_key))
    }

    pub(super) fn labels(&self, berth: &Berth) -> BerthLabels {
        BerthLabels {
            instance: self.instance.clone(),
            id: berth.id,
            owner: berth.owner.clone(),
            name: berth.name.clone(),
            cards: berth.cards.clone(),
            port: berth.port,
            image: berth.image.clone(),
            until: berth.until,
            created: berth.created_at,
        }
    }

    /// The device nodes of the berth: its cards, the manager nodes, and the optional nodes that exist. An error
    /// when a required one is missing. A berth without cards has none: without a card nothing can be asked of the
    /// driver, and its container also starts where the driver is not there.
    pub(super) fn devices(&self, settings: &Settings, berth: &Berth) -> Result<Vec<DeviceNode>> {
        let mut devices = needed_devices(self.accel(), settings, berth);
        for device in &devices {
            if !self.host().exists(&device.host) {
                return Err(Fault::host(format!("device node {} is not there", device.host.display()))
                    .help("is the driver loaded? after a boot its nodes can appear late")
                    .into());
            }
        }
        devices.extend(self.optional_devices(settings, berth));
        Ok(devices)
    }

    fn optional_devices(&self, settings: &Settings, berth: &Berth) -> Vec<DeviceNode> {
        if berth.cards.is_empty() {
            return Vec::new();
        }
        let optional = settings.profile.devices.optional.iter().map(|name| device(settings, name));
        optional.filter(|device| self.host().exists(&device.host)).collect()
    }

    fn mounts(&self, settings: &Settings, berth: &Berth, personal: &Path) -> Vec<BindMount> {
        let Settings { config, profile } = settings;
        let dirs = BerthDirs::of(&self.berth_dir(berth.id));
        let inside = Path::new(INSIDE);
        let read_only = |source: &Path, target: PathBuf| BindMount {
            source: source.to_path_buf(),
            target,
            read_only: true,
        };
        let mut mounts = vec![
            read_only(&self.server, inside.join("bin/berth")),
            read_only(&dirs.etc, inside.join("etc")),
            read_only(&dirs.info, inside.join("info")),
            BindMount {
                source: personal.to_path_buf(),
                target: profile.berth.storage_mount.clone(),
                read_only: false,
            },
        ];
        if let Some(ready) = editors::ready_dir(&config.paths.editors) {
            mounts.push(read_only(&ready, editors::inside().to_path_buf()));
        }
        let driver = profile.mounts.iter().map(|mount| (&mount.source, mount.target()));
        let datasets = profile.berth.datasets.iter().map(|set| (&set.source, set.target.as_path()));
        for (source, target) in driver.chain(datasets) {
            if self.host().exists(source) {
                mounts.push(read_only(source, target.to_path_buf()));
            }
        }
        mounts
    }

    /// The CPUs that the berth is pinned to: its cards' share of those near them, as many as were promised. `None`:
    /// not pinned.
    pub(super) fn cpuset(&self, berth: &Berth, survey: &Survey) -> Option<String> {
        let host = self.host();
        let online = facts::cpu::online_cpus(&*host)?;
        let nodes = numa_cpus(&*host);
        let topology = survey.npu.topology.iter();
        let near: Vec<Near> = topology.filter_map(|near| near_cpus(near, &nodes)).collect();
        let chosen = cpus::for_berth(&berth.cards, berth.cpus, &near, &nodes, &online)?;
        Some(cpulist::format(&chosen))
    }
}

fn session(
    accel: &dyn Accelerator,
    settings: &Settings,
    berth: &Berth,
    image: &ReadyImage,
    groups: &[u32],
) -> SessionConfig {
    SessionConfig {
        users: image.users.clone(),
        image_user: image.image_user.clone(),
        environment_scripts: settings.profile.berth.environment_scripts.clone(),
        more_scripts: settings.profile.berth.more_environment_scripts.clone(),
        entrypoint: image.entrypoint.clone(),
        groups: groups.to_vec(),
        environment: environment(accel, berth).into_iter().collect(),
        limits: settings.config.ssh.limits.clone(),
        algorithms: settings.config.ssh.algorithms,
        traffic_seconds: u32::try_from(settings.profile.idle.every().as_secs()).unwrap_or(u32::MAX),
        ..SessionConfig::default()
    }
}

fn device(settings: &Settings, name: &str) -> DeviceNode {
    DeviceNode { host: settings.config.paths.dev.join(name), container: Path::new("/dev").join(name) }
}

fn needed_devices(accel: &dyn Accelerator, settings: &Settings, berth: &Berth) -> Vec<DeviceNode> {
    if berth.cards.is_empty() {
        return Vec::new();
    }
    let cards = berth.cards.iter().map(|card| device(settings, &accel.node_name(*card)));
    cards.chain(settings.profile.devices.manager.iter().map(|name| device(settings, name))).collect()
}

fn numa_cpus(host: &dyn Host) -> Vec<NumaCpus> {
    let mut distances = facts::cpu::numa_distances(host);
    let nodes = facts::cpu::numa_nodes(host).unwrap_or_default().into_iter();
    nodes
        .filter_map(|node| {
            let distances = distances.remove(&node.id).unwrap_or_default();
            Some(NumaCpus { id: node.id, cpus: cpulist::parse(&node.cpus)?, distances })
        })
        .collect()
}

/// The CPUs near a card: as npu-smi says, or else those of the card's NUMA node.
fn near_cpus(near: &NpuTopology, nodes: &[NumaCpus]) -> Option<Near> {
    let told = near.cpu_affinity.as_deref().and_then(cpulist::parse);
    let of_node = || nodes.iter().find(|node| Some(node.id) == near.numa_node).map(|node| node.cpus.clone());
    Some(Near { card: CardId(near.id), cpus: told.or_else(of_node)? })
}

/// The devices of an existing berth, by their present numbers on the host.
pub(super) fn own_devices(node: &Node, berth: &Berth) -> Result<readback::OwnDevices> {
    let settings = &node.settings();
    Ok(readback::OwnDevices {
        must: readback::expected_numbers(&needed_devices(node.accel(), settings, berth))?,
        may: readback::expected_numbers(&node.optional_devices(settings, berth))?,
    })
}

/// An error when the container did not get exactly what was asked for.
async fn verify(
    engine: &Engine,
    container: &str,
    spec: &ContainerSpec,
    numbers: &readback::DeviceNumbers,
) -> Result<()> {
    let observed = match readback::observe(engine, container, &spec.mounts).await {
        Ok(observed) => observed,
        Err(error) => return Err(exited_soon(engine, container).await?.unwrap_or(error)),
    };
    let differences = readback::compare(spec, numbers, &observed);
    if differences.is_empty() {
        return Ok(());
    }
    let text: Vec<String> = differences.iter().map(ToString::to_string).collect();
    Err(Fault::docker(format!("the container is not what was asked for: {}", text.join("; "))).into())
}

/// Whether a container with our labels is this berth's. Labels alone do not prove it: `docker commit` copies them
/// into an image, and a ledger restored from a backup can give the same id to another berth. The name in them is the
/// one that the berth had when its container was made; the container's own name follows a rename.
pub(super) fn is_its_container(instance: &str, berth: &Berth, container: &OwnedContainer) -> bool {
    let labelled = container.berth.as_ref().is_some_and(|labels| {
        (labels.id, &labels.owner, labels.created) == (berth.id, &berth.owner, berth.created_at)
    });
    let names = [container_name(instance, berth), next_name(instance, berth)];
    berth.container_id.as_ref() == Some(&container.container_id)
        || labelled && names.contains(&container.container_name)
}

/// The container's name. It is unique on the engine, even with several agents.
pub(super) fn container_name(instance: &str, berth: &Berth) -> String {
    name_of(instance, &berth.owner, &berth.name, berth.id)
}

/// The name of the container that is to take the place of its container.
pub(super) fn next_name(instance: &str, berth: &Berth) -> String {
    format!("{}-next", container_name(instance, berth))
}

pub(crate) fn name_of(instance: &str, owner: &str, name: &str, id: i64) -> String {
    let short: String = instance.chars().take(4).collect();
    format!("berth-{short}-{owner}-{name}-{id}")
}

pub(super) fn environment(accel: &dyn Accelerator, berth: &Berth) -> Vec<(String, String)> {
    let mut environment = files::card_environment(accel, &berth.cards);
    environment.push((files::NAME_VARIABLE.into(), berth.name.clone()));
    environment.push((files::OWNER_VARIABLE.into(), berth.owner.clone()));
    environment
}

/// The groups that may open these nodes; on a real node, that of `HwHiAiUser`.
pub(super) fn node_groups(devices: &[DeviceNode]) -> Result<Vec<u32>> {
    let mut groups = BTreeSet::new();
    for device in devices {
        let node = nodes::device_node(&device.host)
            .with_context(|| format!("looking at {}", device.host.display()))?;
        groups.extend(node.map(|node| node.gid).filter(|gid| *gid != 0));
    }
    Ok(groups.into_iter().collect())
}

/// Waits until the server inside sends the first bytes of its banner. An error when the container ends, or after
/// [`ANSWER_TIMEOUT`].
pub(super) async fn wait_answer(engine: &Engine, container: &str) -> Result<()> {
    let deadline = tokio::time::Instant::now() + ANSWER_TIMEOUT;
    let mut address = None;
    let mut next_look = tokio::time::Instant::now();
    loop {
        if tokio::time::Instant::now() >= next_look {
            let state = engine.inspect(container).await?;
            if let Some(error) = state.as_ref().filter(|s| !s.running).map(|_| exited(engine, container)) {
                return Err(error.await?.unwrap_or_else(|| anyhow!(Fault::docker("its container is gone"))));
            }
            address = state.and_then(|state| state.address);
            next_look = tokio::time::Instant::now() + Duration::from_millis(250);
        }
        if let Some(address) = address
            && answers(SocketAddr::new(address, SSH)).await
        {
            return Ok(());
        }
        if tokio::time::Instant::now() >= deadline {
            let seconds = ANSWER_TIMEOUT.as_secs();
            return Err(Fault::docker(format!(
                "SSH in the container did not answer within {seconds} seconds"
            ))
            .help("is its network one that the node can reach? see docker.network in the config")
            .into());
        }
        tokio::time::sleep(ANSWER_PAUSE).await;
    }
}

/// Whether an SSH server answers at this address.
pub(super) async fn answers(address: SocketAddr) -> bool {
    let banner = async {
        let mut stream = tokio::net::TcpStream::connect(address).await?;
        let mut first = [0; 4];
        stream.read_exact(&mut first).await?;
        std::io::Result::Ok(&first == b"SSH-")
    };
    matches!(tokio::time::timeout(Duration::from_secs(2), banner).await, Ok(Ok(true)))
}

/// As [`exited`], but waits up to [`NOTICE_TIMEOUT`] for the engine to notice that the process has ended.
async fn exited_soon(engine: &Engine, container: &str) -> Result<Option<anyhow::Error>> {
    let deadline = tokio::time::Instant::now() + NOTICE_TIMEOUT;
    loop {
        let ended = exited(engine, container).await?;
        if ended.is_some() || tokio::time::Instant::now() >= deadline {
            return Ok(ended);
        }
        tokio::time::sleep(NOTICE_PAUSE).await;
    }
}

/// The error, with the container's last output, when the container has ended; `None` while it runs.
async fn exited(engine: &Engine, container: &str) -> Result<Option<anyhow::Error>> {
    let Some(state) = engine.inspect(container).await? else {
        return Ok(Some(Fault::docker("its container was removed by somebody else").into()));
    };
    if state.running {
        return Ok(None);
    }
    let said = engine.logs_tail(container, LOG_LINES).await.unwrap_or_default();
    let said = said.trim();
    let code = state.exit_code.map_or("without a status".into(), |code| format!("with status {code}"));
    let why = if state.oom_killed { " (out of memory)" } else { "" };
    let mut text = format!("its container ended at once {code}{why}");
    if let Some(error) = state.error {
        text = format!("{text}: {error}");
    }
    if !said.is_empty() {
        text = format!("{text}: {}", said.replace('\n', " / "));
    }
    Ok(Some(Fault::docker(text).help("try the image by hand: berth image check").into()))
}
