//! Shared by all commands that call the agent: the runtime, the client, and texts for times.

use super::Global;
use crate::agent::client::Client;
use crate::error::Fault;
use anyhow::{Context, Result};
use jiff::Timestamp;
use std::time::Duration;

impl Global {
    pub(crate) fn client(&self) -> Result<Client> {
        match &self.visit {
            Some(visit) => Ok(Client::through(visit.channel.clone())),
            None => Ok(Client::new(self.config()?.paths.socket())),
        }
    }
}

/// Runs one call on a runtime with a single thread and returns its result.
pub(crate) fn wait_for<T>(call: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?
        .block_on(call)
}

/// `NAME` or `OWNER/NAME`, checked before it becomes part of a path.
pub(crate) fn berth_path(name: &str) -> Result<String, Fault> {
    Ok(format!("/v1/berths/{}", berth_name(name)?))
}

/// `NAME` or `OWNER/NAME` as the end of a path.
pub(crate) fn berth_name(name: &str) -> Result<&str, Fault> {
    let parts: Vec<&str> = name.split('/').collect();
    if parts.len() <= 2 && parts.iter().all(|part| segment("a berth", part).is_ok()) {
        return Ok(name);
    }
    let shown: String = name.chars().take(60).collect();
    Err(Fault::usage(format!("{shown:?} is not a berth's name")).help("write NAME, or OWNER/NAME"))
}

/// The name that a person typed as one segment of a URL path; an error where it cannot be one.
pub(crate) fn segment(what: &str, name: &str) -> Result<String, Fault> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if !name.is_empty() && name != "." && name != ".." && name.bytes().all(fits) {
        return Ok(name.to_owned());
    }
    let shown: String = name.chars().take(60).collect();
    Err(Fault::usage(format!("{shown:?} is not the name of {what}")))
}

/// Reads a time such as `8h` or `2days`; also used for `--wait`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!(
            "{text} has no unit: write {text}h for hours, {text}m for minutes, {text}days for days"
        ));
    }
    humantime::parse_duration(text)
        .map_err(|error| format!("write a duration such as 30m, 8h or 2days ({error})"))
}

/// The time in seconds, rounded up: 500ms are one second, never none.
pub(crate) fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// `3h 20m ago`, `in 5m`: the two largest units.
pub(crate) fn relative(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_second() - at.as_second();
    let text = short_duration(Duration::from_secs(seconds.unsigned_abs()));
    match seconds {
        0 => "now".into(),
        1.. => format!("{text} ago"),
        _ => format!("in {text}"),
    }
}

fn short_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (unit, size) in units {
        if rest >= size {
            parts.push(format!("{}{unit}", rest / size));
            rest %= size;
        } else if !parts.is_empty() {
            break;
        }
        if parts.len() == 2 {
            break;
        }
    }
    if parts.is_empty() { "0s".into() } else { parts.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_relative_for_people() {
        let now: Timestamp = "2026-01-02T12:00:00Z".parse().unwrap();
        for (at, text) in [
            ("2026-01-02T11:58:59Z", "1m 1s ago"),
            ("2026-01-02T20:00:00Z", "in 8h"),
            ("2026-01-05T13:30:00Z", "in 3d 1h"),
            ("2026-01-02T12:00:00Z", "now"),
        ] {
            assert_eq!(relative(at.parse().unwrap(), now), text);
        }
    }

    #[test]
    fn a_time_without_a_unit_is_asked_about() {
        assert_eq!(parse_duration("8h"), Ok(Duration::from_hours(8)));
        let said = parse_duration("8").unwrap_err();
        assert_eq!(said, "8 has no unit: write 8h for hours, 8m for minutes, 8days for days");
        for text in ["", "soon", "-1h"] {
            assert!(parse_duration(text).unwrap_err().starts_with("write a duration such as"), "{text}");
        }
    }

    #[test]
    fn names_never_become_other_paths() {
        for name in ["alice/train-1", "zhang_san/a", "zhang.san/a", "a"] {
            assert_eq!(berth_path(name).unwrap(), format!("/v1/berths/{name}"));
        }
        for name in ["", "../x", "a/..", "a/", "..", "a/b/c", "/a", "a b", "a?x=1", "a%2f"] {
            assert!(berth_path(name).is_err(), "{name}");
        }
        assert!(segment("an image", "..").is_err() && segment("an image", "a/b").is_err());
    }
}
