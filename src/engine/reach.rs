//! Whether the engine reaches a registry. It asks the way a pull would, with the engine's proxy, mirrors and
//! certificates.

use super::client::{Engine, clean};
use super::registry::checked;
use bollard::errors::Error;
use std::time::Duration;

impl Engine {
    /// `Ok` when the registry answered, even with a refusal; else the reason. Nothing is pulled.
    pub async fn reach(&self, registry: &str, limit: Duration) -> Result<(), String> {
        let reference = format!("{}/berth-check/none:latest", registry.trim_end_matches('/'));
        let reference = checked(&reference).map_err(|fault| fault.message)?;
        let docker = self.docker();
        match tokio::time::timeout(limit, docker.inspect_registry_image(reference, None)).await {
            Err(_) => Err(format!("no answer within {}", humantime::format_duration(limit))),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(Error::DockerResponseServerError { status_code, message })) => {
                if is_answer(status_code, &message) { Ok(()) } else { Err(clean(&message)) }
            }
            Ok(Err(other)) => Err(self.fault(&other).message),
        }
    }
}

/// Whether this message is the registry's own answer, such as that the image does not exist or needs a login.
fn is_answer(status: u16, message: &str) -> bool {
    const WORDS: [&str; 6] = [
        "manifest unknown",
        "name unknown",
        "unauthorized",
        "denied",
        "toomanyrequests",
        "no basic auth credentials",
    ];
    let lower = message.to_ascii_lowercase();
    // "permission denied" is the engine's own trouble.
    let refused = WORDS.iter().any(|word| lower.contains(word)) && !lower.contains("permission denied");
    matches!(status, 401 | 403 | 404 | 429) || refused
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_an_answer_and_a_broken_line_is_none() {
        assert!(is_answer(404, "manifest unknown: manifest unknown") && is_answer(401, "unauthorized"));
        assert!(is_answer(500, "toomanyrequests: You have reached your limit") && is_answer(403, "denied"));
        for message in [
            "Get \"https://r.example.com/v2/\": dial tcp: lookup r.example.com: no such host",
            "Get \"https://r.example.com/v2/\": net/http: TLS handshake timeout",
            "Get \"https://r.example.com/v2/\": x509: certificate signed by unknown authority",
            "open /etc/docker/certs.d: permission denied",
            "",
        ] {
            assert!(!is_answer(500, message), "{message}");
        }
    }
}
