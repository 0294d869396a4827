//! The ports of stopped berths. The agent itself answers there, so that whoever comes hears why; it leaves a port
//! before a container gets it.

use super::Node;
use super::marks::{Mark, Marks};
use crate::keys::Secret;
use crate::ledger::Ledger;
use crate::model::{Berth, BerthState};
use anyhow::Result;
use std::net::SocketAddr;
use std::time::Duration;

/// How long the agent may take to leave a port. It is a matter of moments.
const LEAVING: Duration = Duration::from_secs(5);

/// The ports on which the agent answers.
pub(super) type Doors = Marks<u16>;

/// The agent has this port for as long as this is kept. Dropped after the socket is closed.
pub struct Door {
    _mark: Mark<u16>,
}

impl Node {
    /// All berths that are stopped.
    pub async fn stopped_berths(&self) -> Result<Vec<Berth>> {
        let all = self.ledger(Ledger::standing_berths).await?;
        Ok(all.into_iter().filter(|berth| berth.state == BerthState::Stopped).collect())
    }

    /// Takes the port of a stopped berth, if it is still stopped. Whoever starts it changes its state first and then
    /// waits for its port, so that one of both sees the other.
    pub async fn take_door(&self, berth: &Berth) -> Result<Option<(Door, SocketAddr)>> {
        let Some(mark) = self.doors.enter(berth.port) else { return Ok(None) };
        let id = berth.id;
        let now = self.ledger(move |ledger| ledger.find_berth(id)).await?;
        if now.is_none_or(|now| now.state != BerthState::Stopped) {
            return Ok(None);
        }
        let address = SocketAddr::new(self.settings().config.ssh.address, berth.port);
        Ok(Some((Door { _mark: mark }, address)))
    }

    /// The host key of a user's berths: no client warns at the door of one.
    pub async fn door_key(&self, owner: &str) -> Result<Secret> {
        Ok(self.owner_key(owner).await?.private_openssh)
    }

    /// Waits until the agent has left this port, for a container that gets it.
    pub(super) async fn leave_port(&self, port: u16) {
        if !self.doors.is_left_within(port, LEAVING).await {
            tracing::warn!(port, "the agent still answers on a port that a berth is to get");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_is_left_before_somebody_else_gets_it() {
        let doors = Doors::default();
        let door = doors.enter(20_000).unwrap();
        assert!(doors.enter(20_000).is_none() && doors.enter(20_001).is_some());
        assert!(doors.is_left_within(20_001, LEAVING).await);
        assert!(!doors.is_left_within(20_000, Duration::from_millis(1)).await);
        let waiting = doors.clone();
        let left = tokio::spawn(async move { waiting.is_left_within(20_000, Duration::from_mins(1)).await });
        tokio::task::yield_now().await;
        drop(door);
        assert!(left.await.unwrap());
    }
}
