//! Where a forward leads: names are looked up and connections made from inside the container.

use super::SocketOrder;
use super::socket_of_user::socket_of_user;
use crate::ssh::channel::tunnel::Socket;
use crate::ssh::user::account::Account;
use hickory_resolver::TokioResolver;
use hickory_resolver::net::NetError;
use russh::ChannelOpenFailure;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How many addresses of a name are tried.
const ADDRESSES: usize = 8;
/// Time limit for the look-up, and for each address.
const PATIENCE: Duration = Duration::from_secs(30);
const CONNECT_FAILED: u32 = 2;
const NO_ADDRESS: &str = "the name has no address";

/// What a client asks to be connected to.
#[derive(Debug, Clone)]
pub(in crate::ssh) enum Target {
    Tcp { host: String, port: u32 },
    Unix { path: PathBuf, account: Account },
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix { path, .. } => write!(f, "{}", path.display()),
        }
    }
}

/// Connects to the target. The error has a text for the client.
pub(in crate::ssh) async fn dial(target: Target) -> Result<Socket, ChannelOpenFailure> {
    let dialled = match &target {
        Target::Tcp { host, port } => dial_tcp(host, *port).await.map(Socket::Tcp),
        Target::Unix { path, account } => dial_unix(path.clone(), account).await,
    };
    dialled.map_err(|error| {
        let reason = format!("{target}: {}", in_words(&error));
        tracing::debug!("forwarding to {reason:?}");
        ChannelOpenFailure::Other { code: CONNECT_FAILED, reason }
    })
}

async fn dial_unix(path: PathBuf, account: &Account) -> io::Result<Socket> {
    let made = socket_of_user(account, &SocketOrder::Connect { path }).await?;
    Ok(Socket::Unix(made.into_stream()?))
}

async fn dial_tcp(host: &str, port: u32) -> io::Result<TcpStream> {
    let port = u16::try_from(port).map_err(|_| io::Error::other("there is no such port"))?;
    let mut failures = Vec::new();
    for address in addresses(host).await?.into_iter().take(ADDRESSES) {
        let connecting = TcpStream::connect(SocketAddr::new(address, port));
        match timeout(PATIENCE, connecting).await.unwrap_or_else(|_| Err(timed_out())) {
            Ok(stream) => {
                // Editors and databases wait for each small message.
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => failures.push(error),
        }
    }
    Err(telling(failures).unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, NO_ADDRESS)))
}

/// The failure that tells most: the first of an address that could be tried at all. `localhost` is `::1` too, which
/// few containers have.
fn telling(mut failures: Vec<io::Error>) -> Option<io::Error> {
    let cannot_be_tried = |error: &io::Error| {
        matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::NetworkUnreachable)
            || error.raw_os_error() == Some(nix::errno::Errno::EAFNOSUPPORT as i32)
    };
    let at = failures.iter().position(|error| !cannot_be_tried(error)).unwrap_or(0);
    (at < failures.len()).then(|| failures.swap_remove(at))
}

/// What went wrong, in words: without the number that the standard library adds.
fn in_words(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => nix::errno::Errno::from_raw(number).desc().to_owned(),
        None => error.to_string(),
    }
}

/// A look-up that failed, without the names of the resolver's types.
fn not_found(error: &NetError) -> io::Error {
    let (kind, text) = match error {
        error if error.is_nx_domain() => (io::ErrorKind::NotFound, "there is no such name"),
        error if error.is_no_records_found() => (io::ErrorKind::NotFound, NO_ADDRESS),
        NetError::Timeout => (io::ErrorKind::TimedOut, "the name server does not answer"),
        NetError::Proto(_) => (io::ErrorKind::InvalidInput, "this is no name of a host"),
        _ => (io::ErrorKind::Other, "the name could not be looked up: no name server answers"),
    };
    tracing::debug!("looking a name up: {error}");
    io::Error::new(kind, text)
}

async fn addresses(host: &str) -> io::Result<Vec<IpAddr>> {
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = literal.parse() {
        return Ok(vec![address]);
    }
    if host.eq_ignore_ascii_case("localhost") {
        // Not from the image's files, which may say anything, or nothing.
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    // Made anew each time: it reads the image's resolv.conf and hosts, which may have changed.
    let resolver = TokioResolver::builder_tokio().and_then(hickory_resolver::ResolverBuilder::build);
    let resolver = resolver.map_err(|error| not_found(&error))?;
    let found = timeout(PATIENCE, resolver.lookup_ip(host)).await.map_err(|_| timed_out())?;
    Ok(found.map_err(|error| not_found(&error))?.iter().collect())
}

fn timed_out() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no answer")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses_and_localhost_need_no_resolver() {
        assert_eq!(addresses("10.1.2.3").await.unwrap(), [IpAddr::from([10, 1, 2, 3])]);
        assert_eq!(addresses("[::1]").await.unwrap(), [IpAddr::from(Ipv6Addr::LOCALHOST)]);
        assert_eq!(addresses("LocalHost").await.unwrap().len(), 2);
    }

    #[tokio::test]
    async fn a_refusal_says_where_and_why() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        for (host, port, says) in [
            ("127.0.0.1", u32::from(closed), "Connection refused"),
            ("localhost", u32::from(closed), "Connection refused"),
            ("no name", 80, "no name"),
            ("127.0.0.1", 65536, "there is no such port"),
        ] {
            let failure = dial(Target::Tcp { host: host.into(), port }).await.unwrap_err();
            let ChannelOpenFailure::Other { code, reason } = failure else { panic!("{failure:?}") };
            assert_eq!(code, CONNECT_FAILED);
            assert!(reason.starts_with(&format!("{host}:{port}: ")) && reason.contains(says), "{reason}");
            assert!(!reason.contains("os error") && !reason.contains("error:"), "{reason}");
        }
    }

    #[test]
    fn what_could_not_even_be_tried_tells_less_than_a_refusal() {
        use io::ErrorKind::{AddrNotAvailable, ConnectionRefused, NetworkUnreachable, TimedOut};
        for (kinds, told) in [
            (&[ConnectionRefused, AddrNotAvailable][..], Some(ConnectionRefused)),
            (&[AddrNotAvailable, TimedOut, ConnectionRefused], Some(TimedOut)),
            (&[NetworkUnreachable, ConnectionRefused], Some(ConnectionRefused)),
            (&[AddrNotAvailable, NetworkUnreachable], Some(AddrNotAvailable)),
            (&[], None),
        ] {
            let failures = kinds.iter().map(|kind| io::Error::from(*kind)).collect();
            assert_eq!(telling(failures).map(|error| error.kind()), told, "{kinds:?}");
        }
    }
}
