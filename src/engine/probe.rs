//! What is inside an image (users, shells, libraries), found by running our own binary in it once.
//!
//! The container gets no network, no devices, no writable disk, and little of everything else. It is removed
//! whatever happens. What it prints is hostile input.

use super::client::{Engine, LONG, SHORT, clean};
use super::container::{BindMount, RUNTIME, log_config, mount};
use crate::error::Fault;
use anyhow::{Context as _, Result};
use bollard::models::{ContainerCreateBody, ContainerSummary, HealthConfig, HostConfig};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, ListContainersOptionsBuilder, WaitContainerOptionsBuilder,
};
use futures_util::StreamExt as _;
use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const BINARY: &str = "/opt/berth/bin/berth";
/// Time limit for one probe: long enough for a busy disk, short enough for a user who waits.
pub const PROBE_LIMIT: Duration = Duration::from_secs(30);
const ANSWER_LIMIT: usize = 64 << 10;
const MEMORY: i64 = 256 << 20;

/// The label of probes, so that those of an agent that was killed can be found and removed.
pub const PROBE_LABEL: &str = "berth.probe";
/// The label that says which process of the agent began the probe.
const PROCESS_LABEL: &str = "berth.probe.process";

/// A value that no other process has, not even a later one with the same pid.
static PROCESS: LazyLock<String> = LazyLock::new(|| {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}-{}", std::process::id(), since.as_nanos())
});

/// Time limit for the engine's work besides the run itself.
const ENGINE_LIMIT: Duration = Duration::from_secs(20);
/// How long the answer waits for the container's removal. After that the removal goes on in the background.
const REMOVAL_LIMIT: Duration = Duration::from_secs(10);
/// The first pause between two tries to remove a container while the engine is slow or does not answer.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// How often to look for a container whose creation the engine has not confirmed: it may appear later.
const LOOKS: u32 = 8;

static NUMBER: AtomicU64 = AtomicU64::new(0);

/// Removes the container in every case, also when the probe is abandoned half-way, or when the engine did not say
/// whether it made the container.
struct Removal {
    engine: Engine,
    name: Option<String>,
    made: bool,
}

impl Removal {
    /// Removes it now; after [`REMOVAL_LIMIT`] the removal goes on in the background.
    async fn now(mut self) {
        if let Some(name) = self.name.take() {
            let removing = tokio::spawn(remove_at_last(self.engine.clone(), name, self.made));
            // Whether it ended is of no matter for the answer.
            let _ = tokio::time::timeout(REMOVAL_LIMIT, removing).await;
        }
    }
}

impl Drop for Removal {
    fn drop(&mut self) {
        let Some(name) = self.name.take() else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(remove_at_last(self.engine.clone(), name, self.made));
        }
    }
}

/// Containers that a task is removing now, so that there is only one task for each.
static REMOVING: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Tries again until the engine says that the container is gone.
async fn remove_at_last(engine: Engine, name: String, made: bool) {
    if !REMOVING.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone()) {
        return;
    }
    let mut pause = FIRST_PAUSE;
    let mut looks = if made { 1 } else { LOOKS };
    while looks > 0 {
        match engine.remove(&name, true).await {
            Ok(()) => looks -= 1,
            Err(error) => {
                tracing::warn!(container = name, error = %crate::error::flatten(&error), "a probe is left over for now");
            }
        }
        if looks > 0 {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
    REMOVING.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
}

/// What to look into, and for what.
#[derive(Debug, Clone)]
pub struct Probe<'a> {
    pub image_id: &'a str,
    /// Our own static binary on the host.
    pub binary: &'a Path,
    /// Accounts to look for, the preferred one first.
    pub users: &'a [String],
    /// What the image says its user is.
    pub image_user: &'a str,
    /// The agent's instance, for [`PROBE_LABEL`].
    pub instance: &'a str,
    pub limit: Duration,
}

impl Engine {
    /// Runs `berth inside probe` in a throw-away container of the image and returns the JSON that it prints.
    pub async fn probe(&self, probe: &Probe<'_>) -> Result<serde_json::Value> {
        self.try_probe(probe).await.with_context(|| format!("looking into image {}", clean(probe.image_id)))
    }

    /// Removes the probes that a killed agent left. Probes of this process go on.
    pub async fn remove_probes(&self, instance: &str) -> Result<()> {
        let filters = HashMap::from([("label", vec![format!("{PROBE_LABEL}={instance}")])]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let docker = self.docker();
        let left =
            self.call(SHORT, docker.list_containers(Some(options))).await.context("listing old probes")?;
        let ours = |container: &ContainerSummary| {
            container.labels.as_ref().and_then(|labels| labels.get(PROCESS_LABEL)) == Some(&*PROCESS)
        };
        for id in left.into_iter().filter(|container| !ours(container)).filter_map(|container| container.id) {
            // One that cannot be removed is no reason not to look after berths.
            Removal { engine: self.clone(), name: Some(id), made: true }.now().await;
        }
        Ok(())
    }

    async fn try_probe(&self, probe: &Probe<'_>) -> Result<serde_json::Value> {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("berth-probe-{}-{number}", *PROCESS);
        let mut removal = Removal { engine: self.clone(), name: Some(name.clone()), made: false };
        let limit = probe.limit + ENGINE_LIMIT;
        let answer = tokio::time::timeout(limit, async {
            let docker = self.docker();
            let options = CreateContainerOptionsBuilder::default().name(&name).build();
            self.call(LONG, docker.create_container(Some(options), body(probe))).await?;
            removal.made = true;
            self.check_account_tables(&name).await?;
            self.run_probe(&name, probe.limit).await
        })
        .await
        .unwrap_or_else(|_| Err(self.too_slow(limit).into()));
        removal.now().await;
        answer
    }

    async fn run_probe(&self, id: &str, limit: Duration) -> Result<serde_json::Value> {
        self.start(id).await?;
        let docker = self.docker();
        let options = WaitContainerOptionsBuilder::default().condition("not-running").build();
        let mut ended = docker.wait_container(id, Some(options));
        // bollard makes an error of an exit code other than 0; the code is asked for below.
        if tokio::time::timeout(limit, ended.next()).await.is_err() {
            let limit = humantime::format_duration(limit);
            return Err(Fault::docker(format!("what runs in the image did not end within {limit}")).into());
        }
        let state = self.inspect(id).await?.ok_or_else(|| Fault::docker("its container is gone"))?;
        let (stdout, stderr) = self.output(id, "all", ANSWER_LIMIT + 1).await?;
        if state.exit_code != Some(0) {
            let said = clean(&String::from_utf8_lossy(&stderr));
            let code = state.exit_code.unwrap_or_default();
            let oom = if state.oom_killed { " (out of memory)" } else { "" };
            return Err(
                Fault::docker(format!("what runs in the image ended with code {code}{oom}: {said}")).into()
            );
        }
        parse(&stdout)
    }
}

fn parse(stdout: &[u8]) -> Result<serde_json::Value> {
    if stdout.len() > ANSWER_LIMIT {
        return Err(Fault::docker("what runs in the image answered with more than 64 KiB").into());
    }
    serde_json::from_slice(stdout).map_err(|error| {
        Fault::docker(format!("what runs in the image answered with no JSON: {error}")).into()
    })
}

fn body(probe: &Probe<'_>) -> ContainerCreateBody {
    let binary = BindMount { source: probe.binary.to_path_buf(), target: BINARY.into(), read_only: true };
    let arguments = ["inside", "probe", "--users", &probe.users.join(","), "--image-user", probe.image_user];
    ContainerCreateBody {
        image: Some(probe.image_id.to_owned()),
        user: Some("0:0".into()),
        entrypoint: Some(vec![BINARY.into()]),
        cmd: Some(arguments.map(str::to_owned).to_vec()),
        working_dir: Some("/".into()),
        labels: Some(HashMap::from([
            (PROBE_LABEL.to_owned(), probe.instance.to_owned()),
            (PROCESS_LABEL.to_owned(), PROCESS.clone()),
        ])),
        healthcheck: Some(HealthConfig { test: Some(vec!["NONE".into()]), ..HealthConfig::default() }),
        host_config: Some(HostConfig {
            privileged: Some(false),
            runtime: Some(RUNTIME.into()),
            network_mode: Some("none".into()),
            readonly_rootfs: Some(true),
            memory: Some(MEMORY),
            memory_swap: Some(MEMORY),
            pids_limit: Some(64),
            ipc_mode: Some("private".into()),
            security_opt: Some(vec!["no-new-privileges".into()]),
            log_config: Some(log_config("16m", "1")),
            mounts: Some(vec![mount(&binary)]),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_bounded_json() {
        assert_eq!(parse(b"{\"a\": 1}\n").unwrap()["a"], 1);
        assert!(parse(b"").is_err() && parse(b"{} x").is_err());
        assert!(parse(&vec![b' '; ANSWER_LIMIT + 1]).unwrap_err().to_string().contains("64 KiB"));
        // Deep nesting is an error, not the end of the stack.
        assert!(parse("[".repeat(60_000).as_bytes()).is_err());
    }

    #[test]
    fn a_probe_gets_next_to_nothing() {
        let probe = Probe {
            image_id: "sha256:00",
            binary: Path::new("/b"),
            users: &["a".into(), "b".into()],
            image_user: "c",
            instance: "i",
            limit: PROBE_LIMIT,
        };
        let body = body(&probe);
        assert_eq!(body.cmd.unwrap(), ["inside", "probe", "--users", "a,b", "--image-user", "c"]);
        let host = body.host_config.unwrap();
        assert_eq!(host.network_mode.as_deref(), Some("none"));
        assert_eq!((host.privileged, host.readonly_rootfs), (Some(false), Some(true)));
        assert_eq!(host.devices, None);
    }
}
