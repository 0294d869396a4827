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
    received: u64,
    /// Bytes to clients.
    sent: u64,
    /// Of those received, typed at terminals.
    typed: u64,
}

impl InsideTraffic {
    pub fn new(seconds: u32, received: u64, sent: u64, typed: u64) -> Self {
        Self { schema: SCHEMA, seconds, received, sent, typed }
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
        let bytes = u128::from(self.received) + u128::from(self.sent);
        u64::try_from(bytes * 60 / u128::from(self.seconds.max(1))).unwrap_or(u64::MAX)
    }

    /// Whether somebody typed at a terminal.
    pub fn was_typed(&self) -> bool {
        self.typed > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_back_and_says_how_much_a_minute_carried() {
        let traffic = InsideTraffic::new(30, 100, 500, 3);
        let line = traffic.line().unwrap();
        assert_eq!(line, r#"{"berth-traffic":1,"seconds":30,"received":100,"sent":500,"typed":3}"#);
        assert_eq!(InsideTraffic::read(&line), Some(traffic));
        assert_eq!((traffic.bytes_per_minute(), traffic.was_typed()), (1200, true));
    }

    #[test]
    fn what_a_berths_root_writes_is_no_more_than_a_number() {
        assert_eq!(InsideTraffic::new(0, u64::MAX, u64::MAX, 0).bytes_per_minute(), u64::MAX);
        let line = InsideTraffic::new(1, 1, 1, 0).line().unwrap();
        let wrong =
            [line.replace("c\":1", "c\":2"), line.replace("s\":1", "s\":-1"), String::new(), "{}".into()];
        for wrong in wrong {
            assert_eq!(InsideTraffic::read(&wrong), None, "{wrong}");
        }
        assert_eq!(InsideTraffic::read(&format!("{{\"berth-traffic\":1{}", " ".repeat(LINE_LIMIT))), None);
    }
}
