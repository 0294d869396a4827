//! `berth.toml`: the settings of one agent on its host, such as paths, tools and ports. Every key has a default.

use crate::error::Fault;
use crate::model::PortRange;
pub(super) use crate::model::limits::duration_text;
use crate::model::limits::{Algorithms, SshLimits};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// A name in `paths.profiles`, or a path to a file.
    pub profile: String,
    pub paths: Paths,
    pub tools: Tools,
    pub docker: DockerConfig,
    pub ssh: SshConfig,
    pub notify: NotifyConfig,
    pub events: EventsConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            profile: "snt9b".into(),
            paths: Paths::default(),
            tools: Tools::default(),
            docker: DockerConfig::default(),
            ssh: SshConfig::default(),
            notify: NotifyConfig::default(),
            events: EventsConfig::default(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Paths {
    /// Ledger, host keys, journal.
    pub state: PathBuf,
    /// The agent's socket: `berth.sock`.
    pub run: PathBuf,
    /// Personal storage, one directory a user.
    pub storage: PathBuf,
    pub profiles: PathBuf,
    /// Where the device nodes of the cards are, and the manager nodes.
    pub dev: PathBuf,
    /// The catalogue of base images.
    pub images: PathBuf,
    /// Archives of editors' servers, for nodes without internet; without this directory there are none.
    pub editors: PathBuf,
}

impl Default for Paths {
    fn default() -> Self {
        Self {
            state: "/var/lib/berth".into(),
            run: "/run/berth".into(),
            storage: "/data/berth".into(),
            profiles: "/usr/share/berth/profiles".into(),
            dev: "/dev".into(),
            images: "/etc/berth/images.toml".into(),
            editors: "/data/berth-editors".into(),
        }
    }
}

impl Paths {
    pub fn socket(&self) -> PathBuf {
        self.run.join("berth.sock")
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Tools {
    pub npu_smi: PathBuf,
    pub hccn_tool: PathBuf,
    /// After this an npu-smi that hangs is killed and counts as "could not look".
    #[serde(with = "duration_text")]
    pub npu_smi_timeout: Duration,
    /// How old the last look at the cards may be when a request is decided.
    #[serde(with = "duration_text")]
    pub npu_smi_max_age: Duration,
}

impl Default for Tools {
    fn default() -> Self {
        Self {
            npu_smi: "/usr/local/bin/npu-smi".into(),
            hccn_tool: "/usr/local/Ascend/driver/tools/hccn_tool".into(),
            npu_smi_timeout: Duration::from_secs(10),
            npu_smi_max_age: Duration::from_secs(15),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct DockerConfig {
    pub socket: PathBuf,
    /// The bridge network that berths join.
    pub network: String,
    /// Keep containers from 169.254.169.254, where clouds serve a host's credentials.
    pub close_metadata: bool,
    /// Whether berths of different owners reach each other over their bridge, and the host.
    pub between_berths: BetweenBerths,
    /// The host's ports that berths reach all the same.
    pub host_ports: Vec<u16>,
    /// Containers that use no cards, by name or image: privileged monitors. Only what they have open counts.
    pub exempt: Vec<String>,
}

/// Where the host answers for names, berths ask it.
const DNS: u16 = 53;

/// What berths reach of others on their network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BetweenBerths {
    /// The other berths of their owner.
    Closed,
    /// Whatever Docker lets them reach.
    Open,
}

impl Default for DockerConfig {
    fn default() -> Self {
        Self {
            socket: "/var/run/docker.sock".into(),
            network: "bridge".into(),
            close_metadata: true,
            between_berths: BetweenBerths::Closed,
            host_ports: vec![DNS],
            exempt: Vec::new(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct SshConfig {
    /// One host port a berth.
    pub ports: PortRange,
    /// The host address that those ports listen on.
    pub address: std::net::IpAddr,
    /// What users type as the node's name; the host's own name when empty.
    pub host: String,
    /// Where the gateway listens: an address and a port; "" switches it off.
    pub gateway: String,
    /// The ports of a user's own berths that can be reached over the gateway.
    pub gateway_ports: Vec<u16>,
    /// The uid that the gateway's commands run as; it must be nobody's, and have no rights.
    pub gateway_uid: u32,
    /// The static berth binary that runs inside containers; the running one when empty.
    pub server: PathBuf,
    /// Which algorithms SSH servers offer: `compatible`, or `strict` for modern ones alone.
    pub algorithms: Algorithms,
    /// What one client may take of an SSH server.
    pub limits: SshLimits,
}

impl Default for SshConfig {
    fn default() -> Self {
        Self {
            ports: PortRange::DEFAULT,
            address: std::net::Ipv4Addr::UNSPECIFIED.into(),
            host: String::new(),
            gateway: "0.0.0.0:2222".into(),
            gateway_ports: vec![22],
            gateway_uid: NOBODY,
            server: PathBuf::new(),
            algorithms: Algorithms::default(),
            limits: SshLimits::default(),
        }
    }
}

/// Who is told what owners of berths should know.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct NotifyConfig {
    /// A program that gets one JSON object on its standard input; none when empty.
    pub command: PathBuf,
}

impl NotifyConfig {
    /// What is wrong with it.
    pub fn problem(&self) -> Option<String> {
        let command = &self.command;
        let is_good = command.as_os_str().is_empty() || command.is_absolute();
        (!is_good)
            .then(|| format!("command is {:?}, which is no absolute path", command.display().to_string()))
    }
}

/// How long what happened is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct EventsConfig {
    /// Older events are counted by month, and not kept one by one; for ever where nothing is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep: Option<EventAge>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventAge(
    #[serde(serialize_with = "duration_text::serialize", deserialize_with = "event_age")] pub Duration,
);

/// Anything less would take away what people look for today.
const LEAST_AGE: Duration = Duration::from_hours(24);

fn event_age<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let age = duration_text::deserialize(deserializer)?;
    if age < LEAST_AGE {
        return Err(D::Error::custom(
            "events are kept for 1day at least; write 90days, or leave it out to keep them for ever",
        ));
    }
    Ok(age)
}

impl EventsConfig {
    /// `None`: for ever.
    pub fn keep(&self) -> Option<Duration> {
        self.keep.map(|age| age.0)
    }
}

/// As Debian, Ubuntu, EulerOS and the kernel number it.
const NOBODY: u32 = 65_534;

impl SshConfig {
    /// Where the gateway listens; `None` when it is off.
    pub fn gateway_address(&self) -> Result<Option<SocketAddr>, Fault> {
        if self.gateway.is_empty() {
            return Ok(None);
        }
        let address = self.gateway.parse().map_err(|_| {
            Fault::usage(format!("ssh.gateway is {:?}, which is no address with a port", self.gateway))
                .help("write \"0.0.0.0:2222\", or \"\" to switch the gateway off")
        })?;
        if self.gateway_uid == 0 {
            return Err(Fault::usage("ssh.gateway-uid is 0: the gateway's commands must not run as root"));
        }
        Ok(Some(address))
    }
}
