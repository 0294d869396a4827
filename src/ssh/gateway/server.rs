//! The gateway as a whole: where it listens, its threads, its end.

use super::gate::Gate;
use super::handler::GatewayHandler;
use super::record::Budget;
use super::{Api, revoke};
use crate::error::Fault;
use crate::keys::read_host_keys;
use crate::ops::{Node, supervise};
use crate::ssh::connection::front::{Front, listen};
use crate::ssh::connection::live::Live;
use crate::ssh::connection::report::Reporter;
use crate::ssh::connection::state::Limits;
use crate::ssh::user::descriptors;
use anyhow::{Context as _, Result};
use russh::keys::PrivateKey;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Handle, Runtime};

/// Connections that have not logged in: everybody's of a node, also when all come back at once.
const STRANGERS: usize = 512;

/// Threads of its own, in which strangers make it compute: those that answer calls of the API are others.
const THREADS: usize = 2;
/// Each of them waits for the ledger, which answers one after the other.
const WAITING_THREADS: usize = 4;

/// A gateway that listens and answers nobody yet.
pub struct Gateway {
    node: Arc<Node>,
    listener: StdListener,
    keys: Vec<PrivateKey>,
    port: u16,
}

impl Gateway {
    /// `None` when the config switches it off.
    pub async fn open(node: &Arc<Node>) -> Result<Option<Self>> {
        let Some(address) = node.gateway_address()? else { return Ok(None) };
        let uid = node.settings().config.ssh.gateway_uid;
        if let Ok(caller) = node.caller(uid).await {
            return Err(Fault::usage(format!("ssh.gateway-uid is {uid}, which is {}", caller.name))
                .help("name a uid that no user and no administrator has")
                .into());
        }
        let keys = read_host_keys(&node.gateway_key().await?).context("reading the gateway's host key")?;
        let listener = listen(address).map_err(|error| cannot_listen(address, &error))?;
        let port = listener.local_addr().context("looking at the gateway's port")?.port();
        let listener = listener.into_std().context("preparing the gateway's port")?;
        Ok(Some(Self { node: node.clone(), listener, keys, port }))
    }

    /// Answers until it breaks, or this is dropped: those who are connected when the agent stops have until then.
    pub async fn serve(self, api: Arc<dyn Api>) -> Result<()> {
        let runtime = Builder::new_multi_thread()
            .thread_name("gateway")
            .worker_threads(THREADS)
            .max_blocking_threads(WAITING_THREADS)
            .enable_all()
            .build()
            .context("starting the gateway's threads")?;
        let (node, agent) = (self.node.clone(), Handle::current());
        let answering = runtime.spawn(self.answer(api, agent));
        let _running = Running(Some(runtime));
        let ended = answering.await.context("the gateway broke")?;
        if node.is_stopping() {
            std::future::pending::<()>().await;
        }
        ended
    }

    async fn answer(self, api: Arc<dyn Api>, agent: Handle) -> Result<()> {
        let Self { node, listener, keys, port } = self;
        // Here, so that its connections are these threads' work.
        let listener = TcpListener::from_std(listener).context("preparing the gateway's port")?;
        let (budget, recording) = (Mutex::new(Budget::default()), node.clone());
        let reporter = Reporter::start(move |event| {
            budget.lock().unwrap_or_else(PoisonError::into_inner).record(&recording, event);
        });
        let strangers = descriptors::room_for_strangers(STRANGERS);
        let settings = node.settings();
        let ssh = &settings.config.ssh;
        let limits = Limits { each: ssh.limits.clone(), algorithms: ssh.algorithms, strangers };
        let front = Front::new(keys, limits, reporter);
        let gate = Arc::new(Gate {
            agent,
            node: node.clone(),
            api,
            front: front.clone(),
            places: Arc::default(),
            port,
        });
        tracing::info!(port, "the gateway answers");
        // Nobody ends the connections of a removed key after this: where it ends before the agent, they end with it.
        let _ending = EndWithGateway { node: &node, live: &front.state.live };
        let revoking = supervise::keep(
            || async {
                revoke::watch(&node, &front.state.live).await;
                Ok(())
            },
            |why| node.task_ended("gateway-keys", why),
        );
        tokio::select! {
            never = front.clone().serve(listener, |connection| GatewayHandler::new(&gate, connection)) => match never {},
            never = revoking => match never {},
            () = node.stopping() => {}
        }
        Ok(())
    }
}

/// The gateway's threads.
struct Running(Option<Runtime>);

impl Drop for Running {
    fn drop(&mut self) {
        // What still waits for a disk does not hold the agent up.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

struct EndWithGateway<'a> {
    node: &'a Node,
    live: &'a Live,
}

impl Drop for EndWithGateway<'_> {
    fn drop(&mut self) {
        if !self.node.is_stopping() {
            self.live.end_all();
        }
    }
}

fn cannot_listen(address: SocketAddr, error: &anyhow::Error) -> Fault {
    let io = error.root_cause().downcast_ref::<io::Error>();
    let fault = Fault::host(format!("the gateway cannot listen on {address}: {}", error.root_cause()));
    match io.map(io::Error::kind) {
        Some(ErrorKind::AddrInUse) => fault.help(
            "another program has this port, perhaps another agent: name another one with ssh.gateway in the config; \"\" switches the gateway off",
        ),
        _ => fault.help("ssh.gateway in the config must be an address of this node with a port"),
    }
}
