//! /etc/docker/daemon.json, as far as checks care. Another file that dockerd was started with is not looked for.

use crate::host::{Host, read_text};
use crate::model::check_facts::DaemonFile;
use serde_json::Value;
use std::io::ErrorKind;
use std::path::Path;

pub const PATH: &str = "/etc/docker/daemon.json";

/// No file is an engine with its defaults.
pub fn gather(host: &dyn Host) -> Result<DaemonFile, String> {
    match read_text(host, Path::new(PATH)) {
        Ok(text) => Ok(parse(&text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(DaemonFile::default()),
        Err(error) => Err(format!("{PATH} cannot be read: {error}")),
    }
}

pub fn parse(text: &str) -> DaemonFile {
    let there = DaemonFile { there: true, ..DaemonFile::default() };
    if text.trim().is_empty() {
        return there;
    }
    let value: Value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(error) => return DaemonFile { broken: Some(format!("no JSON: {error}")), ..there },
    };
    let Some(object) = value.as_object() else {
        return DaemonFile { broken: Some("no JSON object".into()), ..there };
    };
    let text = |value: &Value| value.as_str().map(|text| text.chars().take(60).collect::<String>());
    DaemonFile {
        log_driver: object.get("log-driver").and_then(text),
        log_max_size: object.get("log-opts").and_then(|opts| opts.get("max-size")).and_then(text),
        live_restore: object.get("live-restore").and_then(Value::as_bool).unwrap_or(false),
        ..there
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::FakeHost;

    #[test]
    fn the_file_is_read_or_named_broken() {
        let file = parse(r#"{"log-driver":"json-file","log-opts":{"max-size":"100m"},"live-restore":true}"#);
        assert_eq!((file.log_max_size.as_deref(), file.live_restore), (Some("100m"), true));
        assert_eq!(parse("\n"), DaemonFile { there: true, ..DaemonFile::default() });
        assert!(parse("{,}").broken.is_some() && parse("[]").broken.is_some());
        assert_eq!(parse(r#"{"log-opts":7,"live-restore":"yes"}"#).log_max_size, None);
        assert!(!gather(&FakeHost::default()).unwrap().there);
    }
}
