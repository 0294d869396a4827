//! Image references, and credentials for private registries, which are read from Docker's credentials file.
//!
//! A secret is never logged, shown, or kept.

use crate::error::Fault;
use crate::host::Host;
use anyhow::{Context as _, Result};
use bollard::auth::DockerCredentials;
use docker_credential::{CredentialRetrievalError as Trouble, DockerCredential, get_credential_from_reader};
use std::ffi::OsString;
use std::io::{self, Cursor};
use std::path::{Path, PathBuf};
use std::time::Duration;

const DOCKER_HUB: &str = "https://index.docker.io/v1/";
/// Time limit for a credential helper, which may ask a key store or a cloud.
const HELPER_LIMIT: Duration = Duration::from_secs(30);

/// The reference, checked: its length is bounded, and it cannot reach another part of a URL. Else an error.
pub(crate) fn checked(reference: &str) -> Result<&str, Fault> {
    let fits = !reference.is_empty()
        && reference.len() <= 512
        && reference.starts_with(|c: char| c.is_ascii_alphanumeric())
        && !reference.contains("..")
        && !reference.contains("//")
        && reference.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/:@".contains(&b));
    if fits {
        return Ok(reference);
    }
    let shown: String = reference.chars().take(80).collect();
    Err(Fault::usage(format!("{shown:?} is not an image reference"))
        .help("write it as [REGISTRY/]REPOSITORY[:TAG] or with @sha256:…"))
}

/// The reference with `:latest` where it names neither tag nor digest. Without one Docker would pull every tag.
pub(crate) fn with_tag(reference: &str) -> String {
    let last = reference.rsplit('/').next().unwrap_or(reference);
    if last.contains([':', '@']) { reference.to_owned() } else { format!("{reference}:latest") }
}

/// Splits `repo:tag` into `repo` and `tag`, for a name to be given to an image. An error for a digest, which cannot
/// be chosen.
pub(crate) fn split_tag(reference: &str) -> Result<(String, String), Fault> {
    if checked(reference)?.contains('@') {
        return Err(Fault::usage(format!("{reference} names a digest; give a name with a tag")));
    }
    let slash = reference.rfind('/').map_or(0, |at| at + 1);
    Ok(match reference.get(slash..).and_then(|last| last.find(':')) {
        Some(colon) => {
            let (repo, tag) = reference.split_at(slash + colon);
            (repo.to_owned(), tag.trim_start_matches(':').to_owned())
        }
        None => (reference.to_owned(), "latest".to_owned()),
    })
}

/// A reference's repository as Docker shows it: no tag, no digest, and Docker Hub's own parts left out.
pub(crate) fn repository(reference: &str) -> String {
    let name = reference.split('@').next().unwrap_or(reference);
    let slash = name.rfind('/').map_or(0, |at| at + 1);
    let end = name.get(slash..).and_then(|last| last.find(':')).map_or(name.len(), |colon| slash + colon);
    let name = name.get(..end).unwrap_or(name);
    let at_hub = ["docker.io/", "index.docker.io/"].iter().find_map(|hub| name.strip_prefix(hub));
    let name = at_hub.unwrap_or(name);
    name.strip_prefix("library/").unwrap_or(name).to_owned()
}

/// The reference to the content with this digest in the repository of `reference`.
pub fn by_digest(reference: &str, digest: &str) -> String {
    format!("{}@{digest}", repository(reference))
}

/// The registry a reference is pulled from, as the credentials file names it.
pub fn server_of(reference: &str) -> String {
    match reference.split_once('/') {
        Some(("docker.io" | "index.docker.io", _)) => DOCKER_HUB.to_owned(),
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first.to_owned(),
        _ => DOCKER_HUB.to_owned(),
    }
}

/// `$DOCKER_CONFIG/config.json`, else that of the account that the agent runs as.
pub fn credentials_file() -> PathBuf {
    file_in(std::env::var_os("DOCKER_CONFIG"), std::env::var_os("HOME"))
}

fn file_in(docker_config: Option<OsString>, home: Option<OsString>) -> PathBuf {
    let set = |dir: Option<OsString>| dir.filter(|dir| !dir.is_empty()).map(PathBuf::from);
    // A service of systemd has no home.
    let home = || set(home).unwrap_or_else(|| PathBuf::from("/root")).join(".docker");
    set(docker_config).unwrap_or_else(home).join("config.json")
}

/// The credentials for a reference's registry; `None` when the file has none for it, or there is no file.
pub async fn credentials(host: &dyn Host, file: &Path, reference: &str) -> Result<Option<DockerCredentials>> {
    let text = match host.read(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(Fault::host(format!("{} cannot be read: {error}", file.display())).into());
        }
    };
    let server = server_of(reference);
    let asked = server.clone();
    // A helper is a program that the file names; it must not hold up the agent.
    let found = tokio::task::spawn_blocking(move || get_credential_from_reader(Cursor::new(text), &asked));
    let found = tokio::time::timeout(HELPER_LIMIT, found)
        .await
        .map_err(|_| Fault::host(format!("the credential helper for {server} did not answer")))?
        .context("asking for a registry's credentials")?;
    match found {
        Ok(credential) => Ok(Some(header(credential, server))),
        Err(Trouble::NoCredentialConfigured) => Ok(None),
        Err(trouble) => Err(trouble_with(file, &server, &trouble).into()),
    }
}

/// The fault for a failed look-up. It never contains the crate's own message, which can quote what a helper
/// printed.
fn trouble_with(file: &Path, server: &str, trouble: &Trouble) -> Fault {
    let what = match trouble {
        Trouble::HelperCommunicationError => "its credential helper cannot be started",
        Trouble::HelperFailure { .. } => "its credential helper refused",
        Trouble::MalformedHelperResponse => "its credential helper gave no credentials",
        Trouble::CredentialMismatchError => "its `auth` contradicts its `username` and `password`",
        _ => "it is not a credentials file of Docker",
    };
    Fault::host(format!("credentials for {server} in {}: {what}", file.display()))
        .help(format!("log in again as root: docker login {server}"))
}

fn header(credential: DockerCredential, server: String) -> DockerCredentials {
    let plain = DockerCredentials { serveraddress: Some(server), ..DockerCredentials::default() };
    match credential {
        DockerCredential::IdentityToken(token) => DockerCredentials { identitytoken: Some(token), ..plain },
        DockerCredential::UsernamePassword(username, password) => {
            DockerCredentials { username: Some(username), password: Some(password), ..plain }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::FakeHost;

    #[test]
    fn references_are_checked_and_completed() {
        for bad in ["", "-x", "a b", "a/../b", "a//b", "a?b", "a#b", "a%2e", &"a".repeat(600), "é"] {
            assert!(checked(bad).is_err(), "{bad}");
        }
        assert!(checked("swr.cn-north-4.example.com:5000/a/b_c:1.0-x@sha256:00").is_ok());
        assert_eq!(with_tag("localhost:5000/a"), "localhost:5000/a:latest");
        assert_eq!(with_tag("a:1"), "a:1");
        assert_eq!(with_tag("a@sha256:00"), "a@sha256:00");
        assert_eq!(split_tag("localhost:5000/a/b:1").unwrap(), ("localhost:5000/a/b".into(), "1".into()));
        assert!(split_tag("a@sha256:00").is_err());
        assert_eq!(split_tag("localhost:5000/a").unwrap(), ("localhost:5000/a".into(), "latest".into()));
    }

    #[test]
    fn the_registry_is_the_first_part_when_it_looks_like_a_host() {
        for (reference, server) in [
            ("quay.io/ascend/cann:1", "quay.io"),
            ("localhost/a", "localhost"),
            ("127.0.0.1:5000/a", "127.0.0.1:5000"),
            ("docker.io/library/a", DOCKER_HUB),
            ("ascendai/cann", DOCKER_HUB),
            ("ubuntu:22.04", DOCKER_HUB),
        ] {
            assert_eq!(server_of(reference), server, "{reference}");
        }
    }

    #[test]
    fn the_credentials_file_is_where_dockers_client_has_it() {
        assert_eq!(file_in(Some("/c".into()), Some("/h".into())), Path::new("/c/config.json"));
        assert_eq!(file_in(Some("".into()), Some("/h".into())), Path::new("/h/.docker/config.json"));
        assert_eq!(file_in(None, None), Path::new("/root/.docker/config.json"));
    }

    #[tokio::test]
    async fn dockers_own_file_is_read() {
        let file = Path::new("/x/config.json");
        // alice:s3cret?~
        let config = r#"{"auths": {"r.example:5000": {"auth": "YWxpY2U6czNjcmV0P34="}}}"#;
        let host = FakeHost::default().with_file("/x/config.json", config);
        let found = credentials(&host, file, "r.example:5000/a:1").await.unwrap().unwrap();
        assert_eq!(found.username.as_deref(), Some("alice"));
        assert_eq!(found.password.as_deref(), Some("s3cret?~"));
        assert!(credentials(&host, file, "other.example/a").await.unwrap().is_none());
        assert!(credentials(&FakeHost::default(), file, "r.example:5000/a").await.unwrap().is_none());
        let broken = FakeHost::default().with_file("/x/config.json", "{");
        assert!(credentials(&broken, file, "r.example:5000/a").await.is_err());
    }
}
