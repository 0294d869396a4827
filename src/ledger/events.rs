//! Events: what happened, and who did it. They are added and never changed; the oldest may be counted and removed
//! (`event_summary`).

use super::names::Named;
use super::{Ledger, find, list, time_at};
use crate::error::Fault;
use crate::model::Berth;
use crate::model::text::clean_to;
use jiff::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, Params, Transaction, params, params_from_iter};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub id: i64,
    pub at: Timestamp,
    /// `berth.requested`, `berth.live`, `user.added`, `container.unknown`, …
    pub kind: String,
    /// Who did it: a user's name, `root`, or `agent`.
    pub actor: String,
    /// The user whom it is about. Users see the events about themselves only.
    pub owner: Option<String>,
    pub berth: Option<String>,
    pub text: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    pub at: Timestamp,
    pub kind: &'static str,
    pub actor: String,
    pub owner: Option<String>,
    pub berth: Option<String>,
    pub text: String,
}

/// The longest text of an event, in characters. It is bounded because events are kept for long.
const TEXT_LIMIT: usize = 2000;

/// How many bytes of texts are read at once; one more event may go beyond it.
const SOME_BYTES: usize = 64 << 10;

pub(super) fn add(transaction: &Transaction, event: &NewEvent) -> rusqlite::Result<i64> {
    transaction
        .prepare_cached(
            "INSERT INTO events (at, kind, actor, owner, berth, text) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            event.at.to_string(),
            event.kind,
            event.actor,
            event.owner,
            event.berth,
            clean_to(&event.text, TEXT_LIMIT)
        ])?;
    Ok(transaction.last_insert_rowid())
}

const NEWEST: &str = "SELECT coalesce(max(id), 0) FROM events";
const COLUMNS: &str = "SELECT id, at, kind, actor, owner, berth, text FROM events";

/// Which events somebody asks for. What is not said is not asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// The user whom they are about.
    pub owner: Option<String>,
    pub berth: Option<String>,
    /// A kind as `berth.live`, or what it begins with, as `berth`.
    pub kind: Option<String>,
    pub since: Option<Timestamp>,
    /// Not what SSH servers tell of logins and connections.
    pub decisions: bool,
}

impl EventFilter {
    pub fn of_owner(owner: Option<&str>) -> Self {
        Self { owner: owner.map(str::to_owned), ..Self::default() }
    }

    fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Nothing but an owner, for whom there is an index, or nothing at all.
    fn is_of_owner(&self) -> bool {
        *self == Self { owner: self.owner.clone(), ..Self::default() }
    }

    /// The question for a page of events, with values that two more follow: above which id, and how many.
    fn page(&self) -> (String, Vec<Value>) {
        let (wanted, values) = self.sql();
        let (after, limit) = (values.len() + 1, values.len() + 2);
        (format!("{COLUMNS} WHERE {wanted} AND id > ?{after} ORDER BY id LIMIT ?{limit}"), values)
    }

    /// The question for the id before the newest events, with values that two more follow: how many come after it,
    /// and the id above which it is looked for where there is no index.
    fn before_last(&self) -> (String, Vec<Value>) {
        let (wanted, values) = self.sql();
        let (others, oldest) = (values.len() + 1, values.len() + 2);
        let bound =
            if self.is_of_owner() { format!("?{oldest} IS NOT NULL") } else { format!("id > ?{oldest}") };
        let sql = format!(
            "SELECT id - 1 FROM events WHERE {wanted} AND {bound} ORDER BY id DESC LIMIT 1 OFFSET ?{others}"
        );
        (sql, values)
    }

    /// The condition, and its values. The text has none of them in it.
    fn sql(&self) -> (String, Vec<Value>) {
        let mut said = Vec::new();
        let mut values = Vec::new();
        let mut add = |condition: &str, value: String| {
            values.push(Value::Text(value));
            said.push(condition.replace('?', &format!("?{}", values.len())));
        };
        self.owner.iter().for_each(|owner| add("owner = ?", owner.clone()));
        self.berth.iter().for_each(|berth| add("berth = ?", berth.clone()));
        if let Some(kind) = &self.kind {
            add("(kind = ? OR substr(kind, 1, length(?) + 1) = ? || '.')", kind.clone());
        }
        self.since.iter().for_each(|since| add("unixepoch(at) >= unixepoch(?)", since.to_string()));
        if self.decisions {
            said.push("kind NOT GLOB 'ssh.*' AND kind NOT GLOB 'gateway.*'".into());
        }
        (if said.is_empty() { "TRUE".into() } else { said.join(" AND ") }, values)
    }
}

/// Among how many of the newest events a filter without an index looks: there may be any number.
const MOST_SEARCHED: i64 = 100_000;

const TOLD: &str = "SELECT at FROM events WHERE owner = ?1 AND berth = ?2 AND actor = 'berth:' || ?2
     AND id > (SELECT coalesce(max(id), 0) FROM events
               WHERE owner = ?1 AND berth = ?2 AND kind = 'berth.requested')
     ORDER BY id DESC LIMIT 64";

const OF_BERTH: &str = "SELECT id, at, kind, actor, owner, berth, text FROM events
     WHERE owner = ?1 AND berth = ?2 ORDER BY id DESC LIMIT ?3";

const OF_BERTH_AFTER: &str = "SELECT id, at, kind, actor, owner, berth, text FROM events
     WHERE owner = ?1 AND berth = ?2 AND id > ?3 ORDER BY id LIMIT ?4";

/// The newest event's id.
pub(super) fn newest(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row(NEWEST, [], |row| row.get(0))
}

impl Ledger {
    pub fn record(&self, event: &NewEvent) -> Result<(), Fault> {
        self.change(event, |_| Ok(()))
    }

    /// Events with an id above `after`, oldest first, at most `limit`, as the filter says. Where texts are long the
    /// answer has fewer, so that it does not fill the memory. It is empty only when there are no more.
    pub fn events_by(&self, after: i64, limit: u32, filter: &EventFilter) -> Result<Vec<Event>, Fault> {
        let (sql, mut values) = filter.page();
        self.look_back(|connection| {
            let oldest = if filter.is_of_owner() { 0 } else { newest(connection)? - MOST_SEARCHED };
            values.extend([Value::Integer(after.max(oldest)), Value::Integer(limit.into())]);
            some(connection, &sql, params_from_iter(values))
        })
    }

    /// The newest events of a berth, at most `limit` under each of its names. Where texts are long the answer has
    /// fewer.
    pub fn berth_events(&self, berth: &Berth, limit: u32) -> Result<Vec<Event>, Fault> {
        let names = self.names_of(berth)?;
        self.look_back(|connection| {
            let mut events = Vec::new();
            for Named { name, until } in &names {
                let mut found = some(connection, OF_BERTH, params![berth.owner, name, limit])?;
                // Another berth may have had the name before, or have it now.
                found.retain(|event| {
                    event.at >= berth.created_at && until.is_none_or(|until| event.at <= until)
                });
                events.extend(found);
            }
            Ok(events)
        })
    }

    /// The next events of a berth above `after`, oldest first, under each of its names. It is empty only when there are
    /// no more.
    pub fn berth_events_after(&self, berth: &Berth, after: i64, limit: u32) -> Result<Vec<Event>, Fault> {
        let names = self.names_of(berth)?;
        self.look_back(|connection| {
            let (mut events, mut whole_until) = (Vec::new(), i64::MAX);
            for Named { name, until } in &names {
                let mut found = some(connection, OF_BERTH_AFTER, params![berth.owner, name, after, limit])?;
                // What comes after the last one under another name has to wait for its next page.
                let is_last = found.len() < limit as usize && bytes_of(&found) < SOME_BYTES;
                if let Some(last) = found.last().filter(|_| !is_last) {
                    whole_until = whole_until.min(last.id);
                }
                // Another berth may have had the name before, or have it now.
                let until = until.or(berth.ended_at);
                found.retain(|event| until.is_none_or(|until| event.at <= until));
                events.extend(found);
            }
            events.retain(|event| event.id <= whole_until);
            events.sort_by_key(|event| event.id);
            Ok(events)
        })
    }

    /// The times of the newest events that this berth reported itself, newest first. "Newest" is by their order in
    /// the ledger, because clocks can be wrong by years.
    pub fn told_times(&self, berth: &Berth) -> Result<Vec<Timestamp>, Fault> {
        let names = self.names_of(berth)?;
        self.look_back(|connection| {
            let of = |named: &Named| {
                list(connection, TOLD, params![berth.owner, named.name], |row| time_at(row, 0))
            };
            let mut times = names.iter().map(of).collect::<rusqlite::Result<Vec<_>>>()?.concat();
            let gone = "SELECT told_at FROM berths WHERE id = ?1 AND told_at IS NOT NULL";
            times.extend(find(connection, gone, [berth.id], |row| time_at(row, 0))?);
            Ok(times)
        })
    }

    /// All events above `after`, or those of one owner.
    pub fn events(&self, after: i64, limit: u32, owner: Option<&str>) -> Result<Vec<Event>, Fault> {
        self.events_by(after, limit, &EventFilter::of_owner(owner))
    }

    /// The id just before the newest `count` events that the filter lets through.
    pub fn events_before_last(&self, count: u32, filter: &EventFilter) -> Result<i64, Fault> {
        self.look_back(|connection| {
            let Some(others) = count.checked_sub(1) else { return newest(connection) };
            if filter.is_none() {
                // Only the oldest are ever removed, so that ids have no gaps.
                return Ok((newest(connection)? - i64::from(count)).max(0));
            }
            let (sql, mut values) = filter.before_last();
            let oldest = newest(connection)? - MOST_SEARCHED;
            values.extend([Value::Integer(others.into()), Value::Integer(oldest)]);
            let mut statement = connection.prepare_cached(&sql)?;
            let id = statement.query_row(params_from_iter(values), |row| row.get(0)).optional()?;
            Ok(id.unwrap_or(if filter.is_of_owner() { 0 } else { oldest.max(0) }))
        })
    }
}

fn bytes_of(events: &[Event]) -> usize {
    events.iter().map(|event| event.text.len()).sum()
}

/// Events until their texts reach [`SOME_BYTES`] together.
fn some(connection: &Connection, sql: &str, params: impl Params) -> rusqlite::Result<Vec<Event>> {
    let mut statement = connection.prepare_cached(sql)?;
    let (mut events, mut bytes) = (Vec::new(), 0);
    for event in statement.query_map(params, read)? {
        let event: Event = event?;
        bytes += event.text.len();
        events.push(event);
        if bytes >= SOME_BYTES {
            break;
        }
    }
    Ok(events)
}

fn read(row: &rusqlite::Row) -> rusqlite::Result<Event> {
    Ok(Event {
        id: row.get(0)?,
        at: time_at(row, 1)?,
        kind: row.get(2)?,
        actor: row.get(3)?,
        owner: row.get(4)?,
        berth: row.get(5)?,
        text: row.get(6)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::event_summary::{OLDEST, REMOVE, TOLD_LAST};
    use std::path::Path;

    #[test]
    fn a_berth_has_its_own_events_and_not_those_of_an_earlier_one_of_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&dir.path().join("ledger.db"), Timestamp::UNIX_EPOCH).unwrap();
        let at = |second: i64| Timestamp::new(second, 0).unwrap();
        ledger.add_user("alice", None, &[], &event(at(0), "user.added", None)).unwrap();
        ledger.record(&event(at(1), "old", Some("dev"))).unwrap();
        let new = super::super::tests::new_berth("dev", &[], 20_000);
        let berth = ledger.claim(&new, &event(at(5), "berth.requested", Some("dev"))).unwrap();
        ledger.record(&event(at(6), "own", Some("dev"))).unwrap();
        ledger.record(&event(at(6), "other", Some("train"))).unwrap();
        let kinds = |limit| -> Vec<String> {
            ledger.berth_events(&berth, limit).unwrap().into_iter().map(|event| event.kind).collect()
        };
        assert_eq!((kinds(9), kinds(1)), (vec!["own".into(), "berth.requested".into()], vec!["own".into()]));
    }

    fn event(at: Timestamp, kind: &'static str, berth: Option<&str>) -> NewEvent {
        NewEvent {
            at,
            kind,
            actor: "root".into(),
            owner: Some("alice".into()),
            berth: berth.map(str::to_owned),
            text: kind.into(),
        }
    }

    #[test]
    fn long_texts_come_in_small_batches_and_none_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&dir.path().join("ledger.db"), Timestamp::UNIX_EPOCH).unwrap();
        let event = NewEvent {
            at: Timestamp::UNIX_EPOCH,
            kind: "x",
            actor: "root".into(),
            owner: Some("alice".into()),
            berth: None,
            text: "字".repeat(TEXT_LIMIT),
        };
        (0..50).for_each(|_| ledger.record(&event).unwrap());
        for owner in [None, Some("alice")] {
            let (mut after, mut seen) = (0, Vec::new());
            loop {
                let batch = ledger.events(after, 1000, owner).unwrap();
                let Some(last) = batch.last() else { break };
                after = last.id;
                let bytes: usize = batch.iter().map(|event| event.text.len()).sum();
                assert!(bytes <= SOME_BYTES + 3 * TEXT_LIMIT, "{bytes}");
                seen.extend(batch.iter().map(|event| event.id));
            }
            assert_eq!(seen, (1..=50).collect::<Vec<_>>());
        }
    }

    /// Without an index for it, a question reads all that ever happened.
    #[test]
    #[allow(clippy::disallowed_methods, reason = "reads the project's own source")]
    fn no_question_about_events_reads_them_all() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&dir.path().join("ledger.db"), Timestamp::UNIX_EPOCH).unwrap();
        let of_alice = EventFilter::of_owner(Some("alice"));
        let full = EventFilter {
            berth: Some("dev".into()),
            kind: Some("berth".into()),
            since: Some(Timestamp::UNIX_EPOCH),
            decisions: true,
            ..of_alice.clone()
        };
        let no_owner = EventFilter { owner: None, ..full.clone() };
        let questions = [
            NEWEST.to_owned(),
            full.page().0,
            full.before_last().0,
            TOLD.into(),
            OF_BERTH.into(),
            OF_BERTH_AFTER.into(),
        ];
        let more = [
            EventFilter::default().page().0,
            of_alice.page().0,
            of_alice.before_last().0,
            no_owner.page().0,
            no_owner.before_last().0,
            OLDEST.into(),
            TOLD_LAST.into(),
            REMOVE.into(),
        ];
        let connection = ledger.connection();
        let plan = |sql: &str| -> Vec<String> {
            let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let parameters = (0..statement.parameter_count()).map(|_| rusqlite::types::Null);
            let rows = statement.query_map(rusqlite::params_from_iter(parameters), |row| row.get(3)).unwrap();
            rows.map(Result::unwrap).collect()
        };
        for question in questions.iter().chain(&more) {
            let steps = plan(question);
            let is_good = |step: &String| !step.contains("SCAN") && !step.contains("TEMP B-TREE");
            assert!(!steps.is_empty() && steps.iter().all(is_good), "{question}: {steps:?}");
        }
        // What such a plan looks like.
        assert!(plan("SELECT id FROM events WHERE ?1 IS NULL OR owner = ?1")[0].contains("SCAN"));
        // There are no others: each is in the list.
        let of_others = [OLDEST, TOLD_LAST, REMOVE].map(str::to_owned);
        let listed: usize =
            questions.iter().chain(&of_others).map(|sql| sql.matches("FROM events").count()).sum();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ledger");
        let written: usize = std::fs::read_dir(source)
            .unwrap()
            .map(|file| file.unwrap().path())
            .filter(|path| !path.ends_with("tests.rs"))
            .map(|path| std::fs::read_to_string(path).unwrap())
            .map(|text| text.split("#[cfg(test)]").next().unwrap().matches("FROM events").count())
            .sum();
        assert_eq!(written, listed);
    }
}
