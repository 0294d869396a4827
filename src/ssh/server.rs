//! The accept loop inside the container, and what all its connections share.

use super::connection::{self, Place};
use super::environment::Environment;
use super::farewell::Sessions;
use super::input::WINDOW;
use super::program::base_environment;
use super::script::ScriptCache;
use super::{Account, image};
use crate::error::Fault;
use crate::model::session::SessionConfig;
use anyhow::{Context as _, Result};
use russh::keys::{Algorithm, EcdsaCurve, HashAlg, PrivateKey};
use russh::server::Config;
use russh::{MethodKind, MethodSet, Preferred, SshId};
use std::borrow::Cow;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;

const FILE_LIMIT: u64 = 1 << 20;
/// Connections that have not logged in; more are turned away until some have.
const STRANGERS: usize = 64;
/// As many of them may come from one address, so that one peer alone cannot keep the others out.
const STRANGERS_OF_ONE: usize = 16;

/// Where the server finds its files and listens.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    pub etc: PathBuf,
    pub listen: SocketAddr,
}

/// What the connections share: the berth's files and the container's environment.
pub(super) struct Berth {
    etc: PathBuf,
    pub(super) config: SessionConfig,
    pub(super) container: Environment,
    scripts: ScriptCache,
    pub(super) sessions: Sessions,
}

impl Berth {
    /// The keys as they are now. Unreadable is an error; only absent means nobody.
    pub(super) fn authorized_keys(&self) -> Result<String> {
        image::read_table(&self.etc.join("authorized_keys")).context("reading authorized_keys")
    }

    /// The session user as the image describes it now.
    pub(super) fn account(&self) -> Result<Account> {
        let table =
            |path: &str| image::read_table(Path::new(path)).with_context(|| format!("reading {path}"));
        Ok(Account::choose(&self.config, &table("/etc/passwd")?, &table("/etc/group")?)?)
    }

    pub(super) async fn script_environment(&self, account: &Account) -> Environment {
        let base = base_environment(self, account);
        self.scripts.apply(&self.config.environment_scripts, account, base).await
    }
}

/// Runs the SSH server of a berth until the container stops: then its sessions end first.
pub fn serve(options: &ServeOptions) -> Result<()> {
    let file = |name: &str| {
        let path = options.etc.join(name);
        image::read_regular(&path, FILE_LIMIT).with_context(|| format!("reading {}", path.display()))
    };
    let key = PrivateKey::from_openssh(file("host_key")?)
        .map_err(|error| Fault::host(format!("host_key is not an OpenSSH private key: {error}")))?;
    let berth = Arc::new(Berth {
        etc: options.etc.clone(),
        config: SessionConfig::parse(&file("session.json")?)?,
        container: std::env::vars_os().collect(),
        scripts: ScriptCache::default(),
        sessions: Sessions::default(),
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(4)
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let served = runtime.block_on(async {
        let mut stop = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
        tokio::select! {
            failed = accept(Arc::clone(&berth), Arc::new(protocol(key)), options.listen) => failed,
            _ = stop.recv() => {
                berth.sessions.end().await;
                Ok(())
            }
        }
    });
    // What still works on a blocking thread must not hold the container up.
    runtime.shutdown_background();
    served
}

async fn accept(berth: Arc<Berth>, config: Arc<Config>, listen: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(listen).await.with_context(|| format!("listening on {listen}"))?;
    tracing::info!(address = %listener.local_addr()?, "listening");
    tokio::spawn(warm_up(Arc::clone(&berth)));
    let mut strangers = Strangers::default();
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, or a client that left at once. Neither ends the server.
                tracing::warn!("accepting a connection: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Some(place) = strangers.admit(peer.ip().to_canonical()) else {
            tracing::warn!(%peer, "turned away: too many connections have not logged in yet");
            continue;
        };
        let (berth, config) = (Arc::clone(&berth), Arc::clone(&config));
        tokio::spawn(async move {
            if let Err(error) = connection::serve(berth, config, stream, peer, place).await {
                tracing::debug!(%peer, "connection ended: {error}");
            }
        });
    }
}

/// The places for connections that have not logged in: of all, and of each address that has some.
struct Strangers {
    all: Arc<Semaphore>,
    by_address: HashMap<IpAddr, Arc<Semaphore>>,
}

impl Default for Strangers {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(STRANGERS)), by_address: HashMap::new() }
    }
}

impl Strangers {
    fn admit(&mut self, address: IpAddr) -> Option<Place> {
        self.by_address.retain(|_, places| places.available_permits() < STRANGERS_OF_ONE);
        let of_one = self.by_address.entry(address);
        let of_one = of_one.or_insert_with(|| Arc::new(Semaphore::new(STRANGERS_OF_ONE)));
        let of_one = Arc::clone(of_one).try_acquire_owned().ok()?;
        Some([of_one, Arc::clone(&self.all).try_acquire_owned().ok()?])
    }
}

/// Runs the environment script before the first login has to wait for it.
async fn warm_up(berth: Arc<Berth>) {
    match berth.account() {
        Ok(account) => drop(berth.script_environment(&account).await),
        Err(error) => tracing::error!("nobody can log in: {error:#}"),
    }
}

fn protocol(key: PrivateKey) -> Config {
    let curves = [EcdsaCurve::NistP256, EcdsaCurve::NistP384, EcdsaCurve::NistP521];
    let mut algorithms = vec![Algorithm::Ed25519];
    algorithms.extend(curves.map(|curve| Algorithm::Ecdsa { curve }));
    algorithms.extend([HashAlg::Sha512, HashAlg::Sha256].map(|hash| Algorithm::Rsa { hash: Some(hash) }));
    Config {
        server_id: SshId::Standard(Cow::Borrowed(concat!("SSH-2.0-berth_", env!("CARGO_PKG_VERSION")))),
        methods: MethodSet::from([MethodKind::PublicKey].as_slice()),
        // There are no passwords to guess: a slow "no" would only make agents with many keys slow.
        auth_rejection_time: Duration::ZERO,
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys: vec![key],
        preferred: Preferred { key: Cow::Owned(algorithms), ..Preferred::DEFAULT },
        max_auth_attempts: 6,
        window_size: WINDOW,
        // Packets of output between all channels and the connection.
        event_buffer_size: 32,
        inactivity_timeout: None,
        keepalive_interval: Some(Duration::from_secs(30)),
        keepalive_max: 10,
        nodelay: true,
        ..Config::default()
    }
}
