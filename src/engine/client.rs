//! One Docker Engine on a unix socket: connecting, its API version, time limits, errors in Docker's own words.
//!
//! It must not know what a berth is.

use crate::error::{ErrorClass, Fault, FaultKind};
use crate::model::facts::DockerFacts;
use crate::model::text::plain;
use anyhow::{Context as _, Result};
use bollard::errors::Error;
use bollard::models::SystemVersion;
use bollard::{BollardRequest, ClientVersion, Docker};
use std::fmt;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// Most calls are answered at once; a busy engine may take its time.
pub(crate) const SHORT: Duration = Duration::from_secs(30);
/// Creating and starting touch disks and the network.
pub(crate) const LONG: Duration = Duration::from_mins(2);
/// bollard's own time limit. It must never be the one that is reached, because uploads of images can take very
/// long.
const BOLLARD_SECONDS: u64 = 24 * 3600;
const MESSAGE_LIMIT: usize = 600;

/// A version of Docker's API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Api {
    pub major: usize,
    pub minor: usize,
}

impl Api {
    pub const fn new(major: usize, minor: usize) -> Self {
        Self { major, minor }
    }

    pub fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.trim().split_once('.')?;
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }
}

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Docker 18.09, which the oldest Snt9b system images bring.
pub const OLDEST: Api = Api::new(1, 39);
/// The newest version that bollard's types describe.
const NEWEST: Api = Api::new(1, 53);
pub(crate) const OWN_CGROUP_NAMESPACE: Api = Api::new(1, 41);

/// Features of newer engines that berth uses, each with the API version that brought it.
const FEATURES: [(Api, &str); 2] = [
    (OWN_CGROUP_NAMESPACE, "own cgroup namespace for each berth (Docker 20.10)"),
    (Api::new(1, 44), "read-only mounts that are read-only in their submounts too (Docker 25)"),
];

/// The features that an engine of this version does not have.
pub fn lacks(api: Api) -> Vec<String> {
    FEATURES.iter().filter(|(since, _)| api < *since).map(|(_, what)| (*what).to_owned()).collect()
}

struct Connection {
    docker: Docker,
    api: Api,
    version: String,
}

/// A Docker Engine. Clones share one connection, so that all of them follow an engine that was upgraded.
#[derive(Clone)]
pub struct Engine {
    socket: Arc<PathBuf>,
    connection: Arc<RwLock<Arc<Connection>>>,
}

impl Engine {
    /// Connects and agrees on an API version. An error when the engine does not answer, or has no version in common
    /// with berth.
    pub async fn connect(socket: &Path) -> Result<Self> {
        let connection = Arc::new(RwLock::new(Arc::new(negotiate(socket).await?)));
        Ok(Self { socket: Arc::new(socket.to_path_buf()), connection })
    }

    /// Agrees on an API version anew: an engine that went away may come back as another version.
    pub async fn reconnect(&self) -> Result<()> {
        let fresh = Arc::new(negotiate(&self.socket).await?);
        *self.connection.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    fn connection(&self) -> Arc<Connection> {
        self.connection.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn docker(&self) -> Docker {
        self.connection().docker.clone()
    }

    pub fn api(&self) -> Api {
        self.connection().api
    }

    pub fn version(&self) -> String {
        self.connection().version.clone()
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// An error when the engine does not answer.
    pub async fn ping(&self) -> Result<()> {
        let docker = self.docker();
        self.call(Duration::from_secs(10), docker.ping()).await?;
        Ok(())
    }

    pub async fn facts(&self) -> Result<DockerFacts> {
        let (docker, api, version) = (self.docker(), self.api(), self.version());
        let info = self.call(SHORT, docker.info()).await.context("asking the Docker Engine about itself")?;
        let mut runtimes: Vec<String> = info.runtimes.unwrap_or_default().into_keys().collect();
        runtimes.sort();
        Ok(DockerFacts {
            version,
            api_version: api.to_string(),
            data_root: info.docker_root_dir,
            storage_driver: info.driver,
            // Engines before 20.10 do not say; they know only version 1.
            cgroup_version: info
                .cgroup_version
                .map(|version| version.to_string())
                .filter(|version| !version.is_empty())
                .or_else(|| (api < OWN_CGROUP_NAMESPACE).then(|| "1".to_owned())),
            default_runtime: info.default_runtime,
            runtimes,
            lacks: lacks(api),
        })
    }

    /// One call with its time limit; an error is Docker's own message.
    pub(crate) async fn call<T>(
        &self,
        limit: Duration,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Fault> {
        match tokio::time::timeout(limit, call).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(self.fault(&error)),
            Err(_) => Err(self.too_slow(limit)),
        }
    }

    /// As [`Engine::call`], but `None` when the engine says that there is no such thing.
    pub(crate) async fn call_optional<T>(
        &self,
        limit: Duration,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<Option<T>, Fault> {
        match tokio::time::timeout(limit, call).await {
            Ok(Ok(value)) => Ok(Some(value)),
            Ok(Err(Error::DockerResponseServerError { status_code: 404, .. })) => Ok(None),
            Ok(Err(error)) => Err(self.fault(&error)),
            Err(_) => Err(self.too_slow(limit)),
        }
    }

    pub(crate) fn too_slow(&self, limit: Duration) -> Fault {
        Fault::docker(format!(
            "the Docker Engine at {} did not answer within {}",
            self.socket.display(),
            humantime::format_duration(limit)
        ))
        .help("look at its log: journalctl -u docker")
    }

    pub(crate) fn fault(&self, error: &Error) -> Fault {
        fault_of(&self.socket, error)
    }
}

async fn negotiate(socket: &Path) -> Result<Connection> {
    let doing = || format!("connecting to the Docker Engine at {}", socket.display());
    let fault = |error: &Error| fault_of(socket, error);
    let path = socket.to_str().ok_or_else(|| Fault::docker("its path is not UTF-8")).with_context(doing)?;
    let asked = open(path, OLDEST).map_err(|error| fault(&error))?.with_request_modifier(unversioned);
    let answer = match tokio::time::timeout(Duration::from_secs(10), asked.version()).await {
        Ok(answer) => answer.map_err(|error| fault(&error))?,
        Err(_) => {
            return Err(Fault::docker("it accepts connections but does not answer")).with_context(doing);
        }
    };
    let api = agree(&answer).with_context(doing)?;
    let docker = open(path, api)
        .map_err(|error| fault(&error))?
        .with_request_modifier(move |request| url_safe_credentials(versioned(request, api)));
    Ok(Connection { docker, api, version: clean(&answer.version.unwrap_or_default()) })
}

fn open(path: &str, api: Api) -> Result<Docker, Error> {
    let version = ClientVersion { major_version: api.major, minor_version: api.minor };
    Docker::connect_with_unix(path, BOLLARD_SECONDS, &version)
}

/// The newest version that both speak; an error when there is none.
fn agree(engine: &SystemVersion) -> Result<Api, Fault> {
    let of = |text: &Option<String>| text.as_deref().and_then(Api::parse);
    let newest =
        of(&engine.api_version).ok_or_else(|| Fault::docker("it does not say which API it speaks"))?;
    if newest < OLDEST {
        return Err(Fault::docker(format!("it speaks API {newest}; berth needs {OLDEST}"))
            .of(FaultKind::EngineVersion)
            .help("install Docker 18.09 or newer"));
    }
    let agreed = newest.min(NEWEST);
    match of(&engine.min_api_version) {
        Some(oldest) if oldest > agreed => {
            Err(Fault::docker(format!("it speaks API {oldest} and newer; this berth speaks up to {NEWEST}"))
                .of(FaultKind::EngineVersion)
                .help("install a newer berth"))
        }
        _ => Ok(agreed),
    }
}

/// The request without a version in its path. An engine refuses a version that it does not speak, and always
/// answers without one.
fn unversioned(request: BollardRequest) -> BollardRequest {
    with_path(request, "/version")
}

/// The request with this version in its path. bollard drops the version (it joins an absolute path to it), and the
/// engine would then answer in its newest version, which our types may not describe.
fn versioned(request: BollardRequest, api: Api) -> BollardRequest {
    let path = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
    if path.starts_with(&format!("/v{api}/")) {
        return request;
    }
    with_path(request, &format!("/v{api}{path}"))
}

fn with_path(mut request: BollardRequest, path: &str) -> BollardRequest {
    let mut parts = request.uri().clone().into_parts();
    parts.path_and_query = path.parse().ok();
    if let Ok(uri) = hyper::Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    request
}

/// The request with its credentials in base64 for URLs. bollard writes the other alphabet, with which the engine
/// ignores the credentials without an error.
fn url_safe_credentials(mut request: BollardRequest) -> BollardRequest {
    if let Some(value) = request.headers_mut().get_mut("X-Registry-Auth")
        && let Ok(text) = value.to_str()
        && let Ok(mut changed) =
            hyper::header::HeaderValue::from_str(&text.replace('+', "-").replace('/', "_"))
    {
        changed.set_sensitive(true);
        *value = changed;
    }
    request
}

fn fault_of(socket: &Path, error: &Error) -> Fault {
    match error {
        Error::DockerResponseServerError { status_code, message } => of_answer(*status_code, message),
        Error::DockerStreamError { error } => Fault::docker(clean(error)),
        Error::SocketNotFoundError(_) => {
            unreachable_engine(socket, "there is no such socket").of(FaultKind::NoEngine)
        }
        Error::HyperLegacyError { err } => unreachable_engine(socket, &root_cause(err)).of(kind_of_io(err)),
        Error::IOError { err } => unreachable_engine(socket, &err.to_string()).of(kind_of_io(err)),
        Error::HyperResponseError { err } => Fault::docker(format!(
            "the connection to the Docker Engine at {} broke off: {}",
            socket.display(),
            clean(&root_cause(err))
        )),
        Error::RequestTimeoutError => Fault::docker("the Docker Engine did not answer in time"),
        other => Fault::docker(format!(
            "the Docker Engine's answer is not understood: {}",
            clean(&other.to_string())
        )),
    }
}

/// The fault for an error answer. A port or a name that is taken is of class `Busy`, because it can be free a
/// moment later.
fn of_answer(status: u16, message: &str) -> Fault {
    let message = clean(message);
    let taken = message.contains("port is already allocated")
        || message.contains("address already in use")
        || (status == 409 && message.contains("is already in use by container"));
    let class = if taken { ErrorClass::Busy } else { ErrorClass::Docker };
    let text = if message.is_empty() { format!("Docker answered with status {status}") } else { message };
    let help = if text.contains("gathering device information") {
        Some("the device nodes may not be there yet after a start of the node; see: berth cards")
    } else if text.contains("docker-init") {
        Some("Docker's init program is missing; install docker-init (tini) from Docker's packages")
    } else if text.contains("exec format error") {
        Some("the image is for another processor; pull the one for this node's")
    } else {
        None
    };
    let kind = if text.contains("already in progress") { FaultKind::BeingRemoved } else { FaultKind::Other };
    let fault = Fault::new(class, text).of(kind);
    match help {
        Some(help) => fault.help(help),
        None => fault,
    }
}

fn unreachable_engine(socket: &Path, why: &str) -> Fault {
    Fault::docker(format!("no Docker Engine answers at {}: {}", socket.display(), clean(why)))
        .help("start it (systemctl start docker), or set docker.socket in the config")
}

/// The kind of the I/O error that is somewhere in this chain.
fn kind_of_io(error: &(dyn std::error::Error + 'static)) -> FaultKind {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    match causes.find_map(|cause| cause.downcast_ref::<io::Error>()) {
        Some(error) if error.kind() == io::ErrorKind::ConnectionRefused => FaultKind::NoEngine,
        Some(error) => FaultKind::of_io(error),
        None => FaultKind::Other,
    }
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// A message of Docker as one printable line of bounded length: it can carry text from images and registries.
pub(crate) fn clean(text: &str) -> String {
    let one_line: String = text
        .trim()
        .chars()
        .take(MESSAGE_LIMIT)
        .map(|c| if c == '\n' || c == '\t' { ' ' } else { c })
        .map(plain)
        .collect();
    if text.trim().chars().count() > MESSAGE_LIMIT { format!("{one_line}…") } else { one_line }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine(newest: &str, oldest: &str) -> SystemVersion {
        SystemVersion {
            api_version: Some(newest.into()),
            min_api_version: Some(oldest.into()),
            ..SystemVersion::default()
        }
    }

    #[test]
    fn both_sides_speak_what_was_agreed() {
        assert_eq!(agree(&engine("1.41", "1.12")).unwrap(), Api::new(1, 41));
        assert_eq!(agree(&engine("1.39", "1.12")).unwrap(), OLDEST);
        assert_eq!(agree(&engine("1.99", "1.44")).unwrap(), NEWEST);
        assert!(agree(&engine("1.38", "1.12")).unwrap_err().message.contains("speaks API 1.38"));
        assert!(agree(&engine("2.10", "2.0")).unwrap_err().help.is_some());
        assert!(agree(&engine("1.99", "1.60")).unwrap_err().help.unwrap().contains("newer berth"));
        assert!(agree(&engine("", "")).is_err());
    }

    #[test]
    fn old_engines_lack_what_came_later() {
        assert_eq!(lacks(Api::new(1, 39)).len(), 2);
        assert_eq!(lacks(Api::new(1, 41)).len(), 1);
        assert!(lacks(Api::new(1, 44)).is_empty());
    }

    #[test]
    fn messages_are_bounded_and_printable() {
        let long = clean(&"é\u{1b}[31m\n".repeat(1000));
        assert!(
            long.chars().count() <= MESSAGE_LIMIT + 1 && !long.contains('\u{1b}') && !long.contains('\n')
        );
        let socket = Path::new("/x.sock");
        let taken = Error::DockerResponseServerError {
            status_code: 500,
            message: "Bind for 127.0.0.1:20000 failed: port is already allocated".into(),
        };
        assert_eq!(fault_of(socket, &taken).class, ErrorClass::Busy);
        let gone = Error::SocketNotFoundError("/x.sock".into());
        let fault = fault_of(socket, &gone);
        assert_eq!(fault.message, "no Docker Engine answers at /x.sock: there is no such socket");
        assert_eq!(fault.class, ErrorClass::Docker);
    }

    #[tokio::test]
    async fn an_engine_that_is_not_there_is_told_from_one_that_may_not_be_asked() {
        let kind = |error: anyhow::Error| crate::error::flatten(&error).kind;
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("docker.sock");
        assert_eq!(kind(Engine::connect(&socket).await.err().unwrap()), FaultKind::NoEngine);
        // Its engine has ended, and the socket is still there.
        drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        assert_eq!(kind(Engine::connect(&socket).await.err().unwrap()), FaultKind::NoEngine);
        let denied = Error::IOError { err: io::Error::from(io::ErrorKind::PermissionDenied) };
        assert_eq!(fault_of(&socket, &denied).kind, FaultKind::Denied);
        let old = agree(&engine("1.38", "1.12")).unwrap_err();
        assert_eq!(old.kind, FaultKind::EngineVersion);
        let said = "removal of container 1f is already in progress";
        assert_eq!(of_answer(409, said).kind, FaultKind::BeingRemoved);
        assert_eq!(of_answer(500, "odd").kind, FaultKind::Other);
    }
}
