//! A jump: a channel to the SSH port of one of the user's own berths. The gateway does not look into its bytes.
//!
//! It must never dial anything that [`Node::jump_target`](crate::ops::Node::jump_target) did not name.

use super::gate::Gate;
use super::login::Pass;
use super::places::{Kind, Taken, reason};
use crate::error::{ErrorClass, flatten};
use crate::model::inside_event::{Forward, What};
use crate::ops::gateway::Target;
use crate::ssh::channel::tunnel::Socket;
use crate::ssh::connection::report::Who;
use russh::ChannelOpenFailure;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;

const DIAL_TIMEOUT: Duration = Duration::from_secs(10);
const PROHIBITED: u32 = 1;
const CONNECT_FAILED: u32 = 2;

/// Where somebody wants to go.
pub(super) struct Wish {
    pub(super) pass: Pass,
    pub(super) peer: SocketAddr,
    pub(super) host: String,
    pub(super) port: u32,
}

impl Wish {
    fn report(&self, gate: &Gate, what: What) {
        let who = Who {
            user: Some(self.pass.user().to_owned()),
            key: Some(self.pass.fingerprint().to_owned()),
            peer: Some(self.peer),
        };
        gate.front.state.reporter.report(&who, what);
    }
}

/// Dials, or says why not; the place among the user's jumps is held as long as the jump lasts.
pub(super) async fn dial(gate: Arc<Gate>, wish: Wish) -> Result<(Socket, Taken), ChannelOpenFailure> {
    match try_to_dial(&gate, &wish).await {
        Ok((stream, taken)) => Ok((Socket::Tcp(stream), taken)),
        Err((code, reason)) => {
            let host: String = wish.host.chars().take(64).collect();
            let target = format!("{host}:{}", wish.port);
            let refused = What::ForwardRefused { how: Forward::LocalTcp, target, reason: reason.clone() };
            wish.report(&gate, refused);
            Err(ChannelOpenFailure::Other { code, reason })
        }
    }
}

/// Docker is asked on the agent's threads: a connection to it that is kept is served by the threads that opened it.
async fn find(gate: &Gate, wish: &Wish) -> anyhow::Result<Target> {
    let (node, user) = (Arc::clone(&gate.node), wish.pass.user().to_owned());
    let (host, port) = (wish.host.clone(), wish.port);
    gate.agent.spawn(async move { node.jump_target(&user, &host, port).await }).await?
}

async fn try_to_dial(gate: &Arc<Gate>, wish: &Wish) -> Result<(TcpStream, Taken), (u32, String)> {
    let user = wish.pass.user();
    let taken = gate.places.take(user, Kind::Jump);
    let taken = taken.map_err(|full| (PROHIBITED, reason(user, full, "jumps")))?;
    let target = find(gate, wish).await.map_err(|error| {
        let fault = flatten(&error);
        let code = if fault.class == ErrorClass::Refused { PROHIBITED } else { CONNECT_FAILED };
        (code, fault.message)
    })?;
    let name = &target.berth.name;
    let dialled = tokio::time::timeout(DIAL_TIMEOUT, TcpStream::connect(target.address)).await;
    let stream = dialled
        .map_err(|_| format!("berth {name} does not answer"))
        .and_then(|dialled| dialled.map_err(|error| format!("berth {name} port {}: {error}", wish.port)))
        .map_err(|reason| (CONNECT_FAILED, reason))?;
    let _ = stream.set_nodelay(true);
    let target = format!("{name}:{}", wish.port);
    wish.report(gate, What::Forward { how: Forward::LocalTcp, target });
    Ok((stream, taken))
}
