//! What answers on the ports of stopped berths: an SSH server that lets nobody in. It has the host key of the berth's
//! owner, so that no client warns, and tells the owner why the berth does not answer. To others it is a server that
//! knows none of their keys.

use super::login;
use crate::keys::read_host_keys;
use crate::model::Berth;
use crate::ops::Node;
use crate::ops::doors::Door;
use crate::ssh::connection::client::ClientConnection;
use crate::ssh::connection::front::{Front, listen};
use crate::ssh::connection::report::Reporter;
use crate::ssh::connection::state::Limits;
use anyhow::{Context as _, Result};
use russh::keys::{Algorithm, PublicKey};
use russh::server::{Auth, Handler, PublicKeyOffer, Session, VerifiedPublicKey};
use russh::{Disconnect, Error};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// On so many ports at most.
const MOST: usize = 64;
/// Connections that have not logged in, for each port.
const STRANGERS: usize = 16;

/// All doors of an agent. They have a thread of their own, because strangers make it compute.
pub struct Doors {
    node: Arc<Node>,
    runtime: Option<Runtime>,
    open: HashMap<u16, Open>,
}

/// One door, which belongs to this berth.
struct Open {
    berth: i64,
    task: JoinHandle<()>,
}

impl Doors {
    pub fn new(node: &Arc<Node>) -> Self {
        Self { node: node.clone(), runtime: None, open: HashMap::new() }
    }

    /// Answers on the ports of all berths that are stopped now, and on no others.
    pub async fn keep(&mut self) -> Result<()> {
        let stopped = self.node.stopped_berths().await?;
        self.open.retain(|port, open| {
            let is_wanted = stopped.iter().any(|berth| berth.port == *port && berth.id == open.berth);
            if !is_wanted {
                open.task.abort();
            }
            is_wanted && !open.task.is_finished()
        });
        for berth in stopped {
            if self.open.len() < MOST && !self.open.contains_key(&berth.port) {
                self.open(berth).await?;
            }
        }
        Ok(())
    }

    async fn open(&mut self, berth: Berth) -> Result<()> {
        let Some((door, address)) = self.node.take_door(&berth).await? else { return Ok(()) };
        let runtime = match &self.runtime {
            Some(runtime) => runtime,
            None => self.runtime.insert(threads()?),
        };
        let (node, id, port) = (self.node.clone(), berth.id, berth.port);
        let task = runtime.spawn(async move {
            if let Err(error) = answer(node, berth, door, address).await {
                tracing::debug!(port, error = format!("{error:#}"), "nobody answers for a stopped berth");
            }
        });
        self.open.insert(port, Open { berth: id, task });
        Ok(())
    }
}

impl Drop for Doors {
    fn drop(&mut self) {
        // What still waits for a disk does not hold the agent up.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn threads() -> Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    builder.thread_name("doors").worker_threads(1).max_blocking_threads(2).enable_all();
    builder.build().context("starting a thread for stopped berths")
}

/// Answers until it is aborted.
async fn answer(node: Arc<Node>, berth: Berth, door: Door, address: SocketAddr) -> Result<()> {
    let keys = read_host_keys(&node.door_key(&berth.owner).await?)?;
    let limits = {
        let ssh = &node.settings().config.ssh;
        Limits { each: ssh.limits.clone(), algorithms: ssh.algorithms, strangers: STRANGERS }
    };
    // Nobody is let in: there is nothing to tell the ledger of.
    let front = Front::new(keys, limits, Reporter::start(|_| {}));
    // Declared before the socket, which is so closed before the port counts as left.
    let _door = door;
    let listener = listen(address)?;
    let berth = Arc::new(berth);
    let welcome = |connection| DoorHandler {
        node: node.clone(),
        berth: Arc::clone(&berth),
        connection,
        is_owner: false,
    };
    match front.serve(listener, welcome).await {}
}

struct DoorHandler {
    node: Arc<Node>,
    berth: Arc<Berth>,
    connection: ClientConnection,
    is_owner: bool,
}

impl DoorHandler {
    /// Whether this is one of the owner's keys now.
    async fn knows(&mut self, key: &PublicKey, algorithm: &Algorithm) -> bool {
        if !self.connection.may_try() {
            return false;
        }
        let owner = self.node.gateway_user(&self.berth.owner).await.ok().flatten();
        let is_known = login::decide(owner.as_ref(), key, algorithm).is_ok();
        if !is_known {
            self.connection.key_refused();
        }
        is_known
    }

    async fn why(&self) -> String {
        let id = self.berth.id;
        match self.node.why_gone(id).await {
            Ok(fault) => fault.message,
            Err(error) => format!("{} is stopped ({error:#})", self.berth.label()),
        }
    }
}

impl Handler for DoorHandler {
    type Error = Error;

    async fn authentication_banner(&mut self) -> Result<Option<String>, Error> {
        self.connection.is_encrypted();
        Ok(None)
    }

    async fn auth_publickey_offered(
        &mut self,
        _user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, Error> {
        let is_known = self.knows(offer.public_key, offer.algorithm).await;
        if is_known {
            self.connection.is_known();
        }
        Ok(if is_known { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_publickey(&mut self, _user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Error> {
        self.is_owner = self.knows(key.public_key, key.algorithm).await;
        Ok(if self.is_owner { Auth::Accept } else { Auth::reject() })
    }

    /// The first moment at which a client shows what it is told. Nothing that it sends after this is looked at: every
    /// request is refused, as no other method of the handler is here.
    async fn auth_succeeded(&mut self, session: &mut Session) -> Result<(), Error> {
        if self.is_owner {
            session.disconnect(Disconnect::ByApplication, &self.why().await, "")?;
        }
        Ok(())
    }
}
