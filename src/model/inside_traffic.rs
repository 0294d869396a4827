//! How much went over SSH, as the server inside a berth tells the agent: one line of JSON now and then. Plain types, no I/O.
//!
//! Root in a berth can write such lines too, and so make its own berth look busy, or idle. No other berth's.

use super::inside_event::LINE_LIMIT;
use serde::{Deserialize, Serialize};

const SCHEMA: u32 = 1;

/// What all connections carried together in the last `seconds`, in channels of sessions and forwarded connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct InsideTraffic {
    /// Which schema, and that this line is about traffic at all.
    #[serde(rename = "berth-traffic")]
    schema: u32,
    seconds: u32,
    /// Bytes from clients.
    typed: u64,
    /// Bytes to clients.
    shown: u64,
}

impl InsideTraffic {
    pub fn new(seconds: u32, typed: u64, shown: u64) -> Self {
        Self { schema: SCHEMA, seconds, typed, shown }
    }

    pub fn line(&self) -> Option<String> {
        serde_json::to_string(self).ok()
    }

    /// Reads a line of whatever a container wrote.
    pub fn read(line: &str) -> Option<Self> {
        if line.len() > LINE_LIMIT || !line.starts_with("{\"berth-traffic\"") {
            return None;
        }
        serde_json::from_str(line).ok().filter(|traffic: &Self| traffic.schema == SCHEMA)
    }

    pub fn bytes_per_minute(&self) -> u64 {
        let bytes = u128::from(self.typed) + u128::from(self.shown);
        u64::try_from(bytes * 60 / u128::from(self.seconds.max(1))).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_back_and_says_how_much_a_minute_carried() {
        let traffic = InsideTraffic::new(30, 100, 500);
        let line = traffic.line().unwrap();
        assert_eq!(line, r#"{"berth-traffic":1,"seconds":30,"typed":100,"shown":500}"#);
        assert_eq!(InsideTraffic::read(&line), Some(traffic));
        assert_eq!(traffic.bytes_per_minute(), 1200);
    }

    #[test]
    fn what_a_berths_root_writes_is_no_more_than_a_number() {
        let most = InsideTraffic::new(0, u64::MAX, u64::MAX);
        assert_eq!(most.bytes_per_minute(), u64::MAX);
        for line in [
            "",
            "{}",
            r#"{"berth-traffic":2,"seconds":1,"typed":1,"shown":1}"#,
            r#"{"berth-traffic":1,"seconds":-1,"typed":1,"shown":1}"#,
        ] {
            assert_eq!(InsideTraffic::read(line), None, "{line}");
        }
        assert_eq!(InsideTraffic::read(&format!("{{\"berth-traffic\":1{}", " ".repeat(LINE_LIMIT))), None);
    }
}
