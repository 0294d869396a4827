//! The life of one container: create, start, stop, remove, and what it is doing now. It decides nothing.

use super::client::{Engine, LONG, SHORT, clean};
use super::container::{ContainerSpec, body};
use crate::error::{Fault, FaultKind};
use crate::model::text::plain;
use anyhow::{Context as _, Result};
use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, InspectContainerOptions, KillContainerOptionsBuilder, LogsOptionsBuilder,
    RemoveContainerOptionsBuilder, RenameContainerOptionsBuilder, StartContainerOptions,
    StopContainerOptionsBuilder,
};
use futures_util::StreamExt as _;
use std::net::IpAddr;
use std::time::Duration;

const LOG_LIMIT: usize = 256 << 10;

/// What a container is doing, as far as we ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerState {
    pub id: String,
    pub name: String,
    pub image_id: String,
    pub running: bool,
    pub paused: bool,
    pub pid: Option<u32>,
    pub exit_code: Option<i64>,
    /// Docker's own words about a start that went wrong.
    pub error: Option<String>,
    pub oom_killed: bool,
    pub address: Option<IpAddr>,
    /// The engine's own text. It is only compared, to tell one start from another.
    pub started_at: Option<String>,
}

impl Engine {
    /// Makes the container of this spec and returns its id; nothing of it runs yet.
    pub async fn create(&self, spec: &ContainerSpec) -> Result<String> {
        let options = CreateContainerOptionsBuilder::default().name(&spec.name).build();
        let docker = self.docker();
        let made = self
            .call(LONG, docker.create_container(Some(options), body(spec, self.api())))
            .await
            .with_context(|| format!("creating container {}", spec.name))?;
        Ok(made.id)
    }

    /// Starts it. No error when it runs already. A port that is taken is a fault of class `Busy`.
    pub async fn start(&self, id: &str) -> Result<()> {
        let docker = self.docker();
        self.call(LONG, docker.start_container(checked(id)?, None::<StartContainerOptions>))
            .await
            .with_context(|| format!("starting container {}", short(id)))
    }

    /// Asks it to end, and kills it after `seconds`. No error when it is absent or stopped already.
    pub async fn stop(&self, id: &str, seconds: u32) -> Result<()> {
        let options =
            StopContainerOptionsBuilder::default().t(i32::try_from(seconds).unwrap_or(i32::MAX)).build();
        let docker = self.docker();
        let limit = SHORT + Duration::from_secs(u64::from(seconds));
        self.call_optional(limit, docker.stop_container(checked(id)?, Some(options)))
            .await
            .with_context(|| format!("stopping container {}", short(id)))?;
        Ok(())
    }

    /// Sends a signal to its first process.
    pub async fn signal(&self, id: &str, signal: &str) -> Result<()> {
        let options = KillContainerOptionsBuilder::default().signal(signal).build();
        let docker = self.docker();
        self.call(SHORT, docker.kill_container(checked(id)?, Some(options)))
            .await
            .with_context(|| format!("sending {signal} to container {}", short(id)))
    }

    /// Gives it another name. No error when it is absent.
    pub async fn rename(&self, id: &str, name: &str) -> Result<()> {
        let options = RenameContainerOptionsBuilder::default().name(checked(name)?).build();
        let docker = self.docker();
        self.call_optional(SHORT, docker.rename_container(checked(id)?, options))
            .await
            .with_context(|| format!("renaming container {} to {name}", short(id)))?;
        Ok(())
    }

    /// Removes it with its anonymous volumes. No error when it is absent. When Docker removes it already, this
    /// waits until it is gone.
    pub async fn remove(&self, id: &str, force: bool) -> Result<()> {
        let doing = || format!("removing container {}", short(id));
        let options = RemoveContainerOptionsBuilder::default().force(force).v(true).build();
        let docker = self.docker();
        let removed = self.call_optional(LONG, docker.remove_container(checked(id)?, Some(options))).await;
        match removed {
            Ok(_) => Ok(()),
            Err(fault) if fault.kind == FaultKind::BeingRemoved => {
                self.wait_absent(id).await.with_context(doing)
            }
            Err(fault) => Err(fault).with_context(doing),
        }
    }

    async fn wait_absent(&self, id: &str) -> Result<()> {
        let deadline = tokio::time::Instant::now() + LONG;
        while self.inspect(id).await?.is_some() {
            if tokio::time::Instant::now() >= deadline {
                return Err(self.too_slow(LONG).into());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// `None` when there is no such container.
    pub async fn inspect(&self, id: &str) -> Result<Option<ContainerState>> {
        Ok(self.inspect_raw(id).await?.map(|inspect| state_of(&inspect)))
    }

    pub(crate) async fn inspect_raw(&self, id: &str) -> Result<Option<ContainerInspectResponse>> {
        let docker = self.docker();
        self.call_optional(SHORT, docker.inspect_container(checked(id)?, None::<InspectContainerOptions>))
            .await
            .with_context(|| format!("inspecting container {}", short(id)))
    }

    /// The last lines that it wrote to both streams, bounded and printable.
    pub async fn logs_tail(&self, id: &str, lines: usize) -> Result<String> {
        let (stdout, stderr) = self.output(id, &lines.to_string(), LOG_LIMIT).await?;
        Ok(printable_lines(&[stdout, stderr].concat()))
    }

    /// Standard output and standard error, the last `lines` (or `all`) of each and at most `limit` bytes.
    pub(crate) async fn output(&self, id: &str, lines: &str, limit: usize) -> Result<(Vec<u8>, Vec<u8>)> {
        let options = LogsOptionsBuilder::default().stdout(true).stderr(true).tail(lines).build();
        let docker = self.docker();
        let mut stream = docker.logs(checked(id)?, Some(options));
        let read = async {
            let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
            while let Some(part) = stream.next().await {
                use bollard::container::LogOutput::{Console, StdErr, StdIn, StdOut};
                let (into, message) = match part? {
                    StdErr { message } => (&mut stderr, message),
                    StdOut { message } | Console { message } | StdIn { message } => (&mut stdout, message),
                };
                let room = limit.saturating_sub(into.len());
                into.extend(message.iter().take(room));
            }
            Ok((stdout, stderr))
        };
        self.call(SHORT, read).await.with_context(|| format!("reading what container {} wrote", short(id)))
    }
}

fn printable_lines(text: &[u8]) -> String {
    String::from_utf8_lossy(text)
        .chars()
        .map(|c| if matches!(c, '\n' | '\t') { c } else { plain(c) })
        .collect()
}

fn state_of(inspect: &ContainerInspectResponse) -> ContainerState {
    let state = inspect.state.clone().unwrap_or_default();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    ContainerState {
        id: text(&inspect.id),
        name: text(&inspect.name).trim_start_matches('/').to_owned(),
        image_id: text(&inspect.image),
        running: state.running.unwrap_or(false),
        paused: state.paused.unwrap_or(false),
        pid: state.pid.and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0),
        exit_code: state.exit_code,
        error: state.error.as_deref().map(clean).filter(|error| !error.is_empty()),
        oom_killed: state.oom_killed.unwrap_or(false),
        address: address_of(inspect),
        started_at: state.started_at,
    }
}

/// Its address on a bridge network; none while it does not run.
pub fn address_of(inspect: &ContainerInspectResponse) -> Option<IpAddr> {
    let networks = inspect.network_settings.as_ref()?.networks.as_ref()?;
    let mut found: Vec<IpAddr> = networks
        .values()
        .filter_map(|network| network.ip_address.as_deref())
        .filter_map(|address| address.parse().ok())
        .collect();
    found.sort();
    found.first().copied()
}

/// The id or name, checked to be safe as a part of a URL's path; else an error.
pub(super) fn checked(id: &str) -> Result<&str, Fault> {
    let fits = !id.is_empty()
        && id.len() <= 256
        && id.starts_with(|c: char| c.is_ascii_alphanumeric())
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    if fits { Ok(id) } else { Err(Fault::bug(format!("{:?} is not a container's id", clean(id)))) }
}

pub(crate) fn short(id: &str) -> &str {
    id.get(..12).filter(|_| id.len() == 64).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_stay_in_their_place_in_a_url() {
        for id in ["", "../x", "a/b", "a?b", "-x", "a b", "%2e"] {
            assert!(checked(id).is_err(), "{id}");
        }
        assert!(checked("berth-alice-train_1.x").is_ok());
        assert_eq!(short(&"ab".repeat(32)), "abababababab");
        assert_eq!(short("name"), "name");
    }
}
