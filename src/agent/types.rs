//! The types of the API's version 1. Types that they contain are in `model`, `ledger` and `ops`. docs/api.md
//! describes them.

use crate::error::Fault;
use crate::ledger::{Event, EventSum, Reservation, User};
use crate::model::facts::NpuError;
use crate::model::idle::IdleView;
use crate::model::{Berth, CardView, FullPlace};
use crate::ops::Progress;
use crate::ops::health::TaskView;
use crate::ops::images::ImageView;
use crate::ops::queue::QueuePlace;
use crate::ops::users::Login;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// One line of a streamed answer: any number of `progress`, then one `result` or `error`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Line<T> {
    Progress(Progress),
    Result(T),
    Error(Fault),
}

/// The error of an answer that is not streamed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ErrorBody {
    pub error: Fault,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Version {
    /// The version of the API.
    pub api: u32,
    /// The version of berth.
    pub version: String,
    pub instance: String,
    pub profile: String,
    pub simulated: bool,
}

/// `GET /v1/health`: how the agent's loops do, in numbers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HealthView {
    pub tasks: Vec<TaskView>,
}

/// `berth cards --json`
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cards {
    pub schema: u32,
    pub tool_version: Option<String>,
    pub driver_version: Option<String>,
    /// Why npu-smi could not list the cards; absent where it could.
    pub error: Option<NpuError>,
    /// Why the holders of the cards could not be found out; absent where they could.
    #[serde(default)]
    pub not_looked: Option<String>,
    pub cards: Vec<CardView>,
    /// File systems without room on which something of berth's is.
    #[serde(default)]
    pub full: Vec<FullPlace>,
}

/// A berth and how to reach it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BerthView {
    #[serde(flatten)]
    pub berth: Berth,
    /// What to type as the node's name.
    pub ssh_host: String,
    /// What goes after `ssh -J` to reach it over the gateway, as `ma-user@NAME`; `null` where the gateway is off.
    #[serde(default)]
    pub ssh_jump: Option<String>,
    /// That it does nothing, and how that was measured; absent where it works, and where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<IdleView>,
}

/// `berth reserve list --json`: cards that are kept for users, the next reservation first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Reservations {
    pub reservations: Vec<Reservation>,
}

/// `berth queue --json`: who waits for cards, the next one first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Queue {
    pub waiting: Vec<QueuePlace>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Berths {
    pub berths: Vec<Berth>,
    /// Those that do nothing, by id.
    #[serde(default)]
    pub idle: BTreeMap<i64, IdleView>,
    /// File systems without room on which something of berth's is.
    #[serde(default)]
    pub full: Vec<FullPlace>,
}

/// `PATCH /v1/berths/NAME`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Renewal {
    /// Seconds from now; the profile's default when left out.
    pub lease: Option<u64>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Users {
    pub users: Vec<User>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    pub name: String,
    /// The content of a public key file.
    #[serde(default)]
    pub keys: String,
    #[serde(default)]
    pub login: Login,
}

/// `PATCH /v1/users/NAME`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserChange {
    pub login: Login,
}

/// `POST /v1/users/NAME/host-key`
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NewHostKey {
    pub user: String,
    /// Live berths, which have it now.
    pub berths: Vec<BerthView>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewKeys {
    pub keys: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyName {
    pub fingerprint: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Images {
    pub images: Vec<ImageView>,
}

/// Where an image comes from, for `pull`, `import` and `add`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewImage {
    /// Its name in the catalogue; for `pull`, a name that is there already needs no reference.
    pub name: String,
    #[serde(default)]
    pub reference: Option<String>,
    /// For `import`: an absolute path on the node.
    #[serde(default)]
    pub file: Option<PathBuf>,
    #[serde(default)]
    pub description: Option<String>,
    /// Users of this image may gain rights by setuid programs such as sudo.
    #[serde(default)]
    pub sudo: bool,
}

/// `POST /v1/snapshots`: an image of one's own, made of a berth.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewSnapshot {
    /// `NAME`, or `OWNER/NAME`.
    pub berth: String,
    /// Its name, which belongs to the berth's owner.
    pub image: String,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListQuery {
    pub all: bool,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EventQuery {
    /// Only events with a larger id.
    pub after: Option<i64>,
    /// Without `after`: the newest so many.
    pub last: Option<u32>,
    /// Keep the answer open and send events as they happen.
    pub follow: bool,
    /// Only events about this user.
    pub user: Option<String>,
    /// Only events about berths of this name.
    pub berth: Option<String>,
    /// Only this kind, or kinds that begin with it, as `berth`.
    pub kind: Option<String>,
    /// Only events from this time on.
    pub since: Option<Timestamp>,
    /// Without what SSH servers tell of logins and connections.
    pub decisions: bool,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SummaryQuery {
    /// Only events about this user.
    pub user: Option<String>,
    /// Only this kind, or kinds that begin with it, as `berth`.
    pub kind: Option<String>,
    /// Only from the month of this time on.
    pub since: Option<Timestamp>,
    /// Without what SSH servers tell of logins and connections.
    pub decisions: bool,
}

/// `berth events --summary --json`: events that are not kept one by one any more, the oldest month first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EventSummary {
    /// For how many seconds events are kept one by one; `null`: for ever.
    pub keep: Option<u64>,
    pub sums: Vec<EventSum>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogQuery {
    /// The newest so many lines.
    pub last: Option<u32>,
    /// Keep the answer open and send lines as they come, until the berth has ended.
    pub follow: bool,
}

/// The lines of `GET /v1/events`.
pub type EventLine = Event;
