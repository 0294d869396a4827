//! What a berth's server wrote and what happened to the berth, merged by time. Text out of a container is bounded
//! and made printable here.

use super::history::LookBack;
use super::log_tail::LogTail;
use super::{Caller, Node};
use crate::engine::OutputLine;
use crate::error::Fault;
use crate::ledger::{Event, EventFilter};
use crate::model::Berth;
use crate::model::inside_event::InsideEvent;
use crate::model::inside_traffic::InsideTraffic;
use crate::model::text::clean_to;
use anyhow::Result;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The most lines of one answer.
const MOST_LINES: u32 = 2000;
/// How many bytes of a container's output are kept while they are read.
const OUTPUT_BYTES: usize = 1 << 20;
/// The longest line, in characters.
const LINE_CHARS: usize = 1000;

/// Who wrote a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogSource {
    /// The agent: an event of the ledger.
    Event,
    /// The container: root inside can write here what it likes.
    Container,
}

/// One line of a berth's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    pub at: Timestamp,
    pub source: LogSource,
    /// The kind of the event; for the container, that of an event which its server told.
    pub kind: Option<String>,
    pub text: String,
}

/// A berth's log, its place among the answers that may be open, and how it goes on.
pub struct BerthLog {
    /// Oldest first.
    pub lines: Vec<LogLine>,
    pub place: LookBack,
    pub tail: LogTail,
}

impl Node {
    /// The newest `last` lines of the berth of this name, oldest first; of the last one of that name where it has
    /// ended.
    pub async fn berth_logs(&self, caller: &Caller, name: &str, last: u32) -> Result<BerthLog> {
        if last > MOST_LINES {
            return Err(Fault::usage(format!("{last} lines are too many: at most {MOST_LINES} are shown"))
                .help("`berth events --last 100000` goes further back")
                .into());
        }
        let place = self.look_back(caller, Some(0), 0, EventFilter::default()).await?;
        let berth = self.find_latest(caller, name).await?;
        // Before the looks: what comes meanwhile is either in them, or comes next.
        let (changed, now, id) = (self.subscribe_events(), self.now().wall, berth.id);
        let newest = *changed.borrow();
        let output = self.output_of(&berth, last).await?;
        let events = self.ledger(move |ledger| ledger.berth_events(&berth, last)).await?;
        let after = events.iter().map(|event| event.id).fold(newest, i64::max);
        let shown = output.last().map_or(now, |line| line.at);
        let tail = LogTail::new(id, after, shown, changed);
        Ok(BerthLog { lines: merge(events, output, last), place, tail })
    }

    /// What its container wrote; nothing where the container is gone.
    async fn output_of(&self, berth: &Berth, last: u32) -> Result<Vec<OutputLine>> {
        let Some(container) = berth.container_id.clone().filter(|_| !berth.state.has_ended()) else {
            return Ok(Vec::new());
        };
        let engine = self.engine().await?;
        if engine.inspect(&container).await?.is_none() {
            return Ok(Vec::new());
        }
        engine.newest_output(&container, last, OUTPUT_BYTES).await
    }
}

fn merge(events: Vec<Event>, output: Vec<OutputLine>, last: u32) -> Vec<LogLine> {
    // What the server told is in the output; where that was thrown away, the ledger still has it.
    let since = output.first().map(|line| line.at);
    let is_output = |event: &Event| event.kind.starts_with("ssh.") && since.is_some_and(|at| event.at >= at);
    let mut lines: Vec<LogLine> =
        events.into_iter().filter(|event| !is_output(event)).map(of_event).collect();
    lines.extend(output.into_iter().filter_map(of_container));
    lines.sort_by_key(|line| line.at);
    let more = lines.len().saturating_sub(usize::try_from(last).unwrap_or(usize::MAX));
    lines.split_off(more)
}

pub(super) fn of_event(event: Event) -> LogLine {
    LogLine { at: event.at, source: LogSource::Event, kind: Some(event.kind), text: event.text }
}

/// `None`: how much went over SSH each minute is for the agent, and for nobody to read.
pub(super) fn of_container(line: OutputLine) -> Option<LogLine> {
    if InsideTraffic::read(&line.text).is_some() {
        return None;
    }
    let (kind, text) = match InsideEvent::read(&line.text) {
        Some(event) => (Some(event.what.kind().to_owned()), event.to_string()),
        None => (None, line.text.replace('\t', " ")),
    };
    Some(LogLine { at: line.at, source: LogSource::Container, kind, text: clean_to(&text, LINE_CHARS) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(second: i64, kind: &str) -> Event {
        Event {
            id: second,
            at: Timestamp::new(second, 0).unwrap(),
            kind: kind.into(),
            actor: "alice".into(),
            owner: Some("alice".into()),
            berth: Some("dev".into()),
            text: kind.into(),
        }
    }

    fn line(second: i64, text: &str) -> OutputLine {
        OutputLine { at: Timestamp::new(second, 0).unwrap(), text: text.into() }
    }

    #[test]
    fn lines_and_events_come_by_time_and_a_login_once() {
        let events = vec![
            event(1, "berth.requested"),
            event(2, "ssh.login"),
            event(5, "ssh.login"),
            event(9, "berth.live"),
        ];
        let login = r#"{"berth-event":1,"at":"1970-01-01T00:00:05Z","user":"ma-user","kind":"login"}"#;
        let traffic = InsideTraffic::new(60, 1, 2, 3).line().unwrap();
        let output =
            vec![line(3, &traffic), line(4, "a\u{1b}[2Jb\tc"), line(5, login), line(6, &"x".repeat(5000))];
        let merged = merge(events, output, 100);
        let seconds: Vec<i64> = merged.iter().map(|line| line.at.as_second()).collect();
        assert_eq!(seconds, [1, 2, 4, 5, 6, 9]);
        assert_eq!(merged[2].text, "a\u{fffd}[2Jb c");
        assert_eq!((merged[3].source, merged[3].kind.as_deref()), (LogSource::Container, Some("ssh.login")));
        assert_eq!(merged[4].text.chars().count(), LINE_CHARS + 1);
    }

    #[test]
    fn the_newest_lines_are_kept() {
        let merged = merge(vec![event(1, "a"), event(3, "b")], vec![line(2, "x"), line(4, "y")], 2);
        assert_eq!(merged.iter().map(|line| line.text.as_str()).collect::<Vec<_>>(), ["b", "y"]);
    }
}
