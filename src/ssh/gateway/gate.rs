//! What the gateway's connections share.

use super::Api;
use super::places::Places;
use crate::ops::Node;
use crate::ssh::connection::front::Front;
use std::sync::Arc;
use tokio::runtime::Handle;

/// What the connections share.
pub(super) struct Gate {
    /// Whoever talks to Docker or answers calls does so on the agent's threads.
    pub(super) agent: Handle,
    pub(super) node: Arc<Node>,
    pub(super) api: Arc<dyn Api>,
    pub(super) front: Arc<Front>,
    pub(super) places: Arc<Places>,
    pub(super) port: u16,
}
