//! Checks the published ports of live berths: Docker's forwarder for one port can die while all else goes on.

use super::Node;
use super::build::{self, SSH};
use super::conditions::{Changes, Found};
use super::locks::beside;
use crate::host::sockets;
use crate::model::{Berth, BerthState, ConditionCode};
use anyhow::Result;
use futures_util::future::join_all;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::time::Duration;

/// How often a port is tried: a node under load may answer late once.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(300);

const PORT: [ConditionCode; 1] = [ConditionCode::PortClosed];

/// Whether a berth answers at its published port on this node.
enum Port {
    Open,
    /// The server inside answers at its own address, and not over the port.
    Closed {
        container: String,
        pid: Option<u32>,
    },
    /// Not known, or the berth itself does not answer, which other conditions report.
    Unknown,
}

impl Node {
    /// Checks all live berths at the same time.
    pub async fn look_at_ports(&self) -> Result<()> {
        let mut live = self.ledger(crate::ledger::Ledger::standing_berths).await?;
        live.retain(|berth| berth.state == BerthState::Live);
        let looks =
            live.iter().map(|berth| async move { (berth.label(), beside(self.look_at_port(berth)).await) });
        for (berth, looked) in join_all(looks).await {
            if let Err(error) = looked {
                tracing::warn!(berth, error = format!("{error:#}"), "could not look at its port");
            }
        }
        Ok(())
    }

    async fn look_at_port(&self, berth: &Berth) -> Result<()> {
        let id = berth.id;
        match self.port_of(berth).await? {
            Port::Unknown => Ok(()),
            Port::Open if berth.condition(ConditionCode::PortClosed).is_none() => Ok(()),
            seen => {
                let Some(_busy) = self.busy.enter(id) else { return Ok(()) };
                let berth = self.ledger_berth(id).await?;
                if berth.state == BerthState::Live { self.settle_port(&berth, seen).await } else { Ok(()) }
            }
        }
    }

    /// Writes down what was seen of a berth's port, and publishes a dead port anew. The caller has marked the berth
    /// in `busy`.
    async fn settle_port(&self, berth: &Berth, seen: Port) -> Result<()> {
        let Port::Closed { container, pid } = seen else {
            return self.settle(berth, Changes::of(&berth.conditions, &PORT, Vec::new())).await;
        };
        let closed = Found::new(ConditionCode::PortClosed, None);
        self.settle(berth, Changes::of(&berth.conditions, &PORT, vec![closed])).await?;
        if !self.may_publish_anew(berth, pid).await? {
            return Ok(());
        }
        self.engine().await?.connect_anew(&self.settings().config.docker.network, &container).await?;
        // Its address may be another one.
        self.keep_apart().await?;
        let id = berth.id;
        let berth = self.ledger_berth(id).await?;
        match self.port_of(&berth).await? {
            Port::Open => self.settle(&berth, Changes::of(&berth.conditions, &PORT, Vec::new())).await,
            _ => Ok(()),
        }
    }

    async fn port_of(&self, berth: &Berth) -> Result<Port> {
        let Some(state) = self.container_state(berth).await?.filter(|state| state.running && !state.paused)
        else {
            return Ok(Port::Unknown);
        };
        for _ in 0..TRIES {
            if build::answers(self.published(berth)).await {
                return Ok(Port::Open);
            }
            tokio::time::sleep(PAUSE).await;
        }
        match state.address {
            Some(address) if build::answers(SocketAddr::new(address, SSH)).await => {
                // It may have been started again while its port was tried.
                let is_open = build::answers(self.published(berth)).await;
                Ok(if is_open { Port::Open } else { Port::Closed { container: state.id, pid: state.pid } })
            }
            _ => Ok(Port::Unknown),
        }
    }

    /// The address of the published port, for a program on this node.
    fn published(&self, berth: &Berth) -> SocketAddr {
        let address = match self.settings().config.ssh.address {
            IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            address => address,
        };
        SocketAddr::new(address, berth.port)
    }

    /// Whether the port may be published anew. It may not while a process in the berth has a connection, which that
    /// would break, or while another program has the port: the container would then be left without a network.
    async fn may_publish_anew(&self, berth: &Berth, pid: Option<u32>) -> Result<bool> {
        let Some(pid) = pid else { return Ok(false) };
        let (host, listen) = (self.host(), SocketAddr::new(self.settings().config.ssh.address, berth.port));
        Ok(tokio::task::spawn_blocking(move || {
            Ok::<_, std::io::Error>(TcpListener::bind(listen).is_ok() && sockets::are_quiet(&*host, pid)?)
        })
        .await??)
    }
}
