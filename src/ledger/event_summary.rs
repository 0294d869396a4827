//! Events that are not kept one by one any more: how many of each kind a month had, whom they were about, and who did it.
//!
//! They are counted and removed in one transaction, oldest first. Triggers see to it that nothing else removes an event,
//! and that no sum shrinks.

use super::berths::STANDING;
use super::{EventFilter, Ledger, LedgerError, events, find, list, time_at};
use crate::error::Fault;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How many events one transaction removes.
const BATCH: u32 = 1000;
/// The most sums of one answer.
const MOST_SUMS: u32 = 20_000;
/// The key of `meta` with the id of the last event that was counted and removed.
const MARK: &str = "events_compacted";

/// How many events were alike, in one month.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventSum {
    /// As `2026-12`, in UTC.
    pub month: String,
    /// The user whom they are about.
    pub owner: Option<String>,
    /// Who did it; `berth` for what the servers of berths told.
    pub actor: String,
    pub kind: String,
    pub count: u64,
}

pub(super) const OLDEST: &str =
    "SELECT id, at, kind, actor, owner FROM events WHERE id > ?1 ORDER BY id LIMIT ?2";
pub(super) const TOLD_LAST: &str =
    "SELECT id, at FROM events WHERE owner = ?1 AND berth = ?2 AND actor = 'berth:' || ?2
     AND id <= ?3 ORDER BY id DESC LIMIT 1";
pub(super) const REMOVE: &str = "DELETE FROM events WHERE id > ?1 AND id <= ?2";

const SUMS: &str = "SELECT month, owner, actor, kind, count FROM event_summary
     WHERE month >= ?1 AND (?2 IS NULL OR owner = ?2)
     AND (?3 IS NULL OR kind = ?3 OR substr(kind, 1, length(?3) + 1) = ?3 || '.')
     AND (NOT ?4 OR (kind NOT GLOB 'ssh.*' AND kind NOT GLOB 'gateway.*'))
     ORDER BY month DESC, owner, actor, kind LIMIT ?5";

/// What is counted of an event.
struct Old {
    id: i64,
    at: Timestamp,
    kind: String,
    actor: String,
    owner: Option<String>,
}

impl Ledger {
    /// Counts the oldest events into their months and removes them, those from before `before`: at most 1000 of them, in
    /// one transaction. Returns how many.
    ///
    /// Only the beginning of the row goes: an event that is not old keeps all that came after it. One that is dated after
    /// `now` was written under a wrong clock, and goes with what surrounds it. The newest one stays.
    pub fn compact_events(&self, before: Timestamp, now: Timestamp) -> Result<usize, Fault> {
        self.write(None, |transaction| compact(transaction, before, now))
            .map_err(|error| LedgerError::from(error).into_fault(&self.path))
    }

    /// The sums that a filter lets through, the oldest month first; of more than 20,000 the newest. `since` counts with its
    /// whole month, and a berth is not known any more.
    pub fn event_summary(&self, filter: &EventFilter) -> Result<Vec<EventSum>, Fault> {
        let since = filter.since.map(month).unwrap_or_default();
        let mut sums = self.look_back(|connection| {
            let asked = params![since, filter.owner, filter.kind, filter.decisions, MOST_SUMS];
            list(connection, SUMS, asked, read_sum)
        })?;
        // Within a month they are in order already, and this keeps it.
        sums.sort_by(|a, b| a.month.cmp(&b.month));
        Ok(sums)
    }
}

fn compact(transaction: &Transaction, before: Timestamp, now: Timestamp) -> rusqlite::Result<usize> {
    let mark = mark(transaction)?;
    let newest = events::newest(transaction)?;
    let oldest = list(transaction, OLDEST, params![mark, BATCH], read_old)?;
    let over = over(&oldest, before, now, newest);
    let Some(last) = over.last().map(|event| event.id) else { return Ok(0) };
    let sql = "INSERT INTO event_summary (month, owner, actor, kind, count) VALUES (?1, ?2, ?3, ?4, ?5)
               ON CONFLICT DO UPDATE SET count = count + excluded.count";
    let mut add = transaction.prepare_cached(sql)?;
    for ((month, owner, actor, kind), count) in sums(over) {
        add.execute(params![month, owner, actor, kind, count])?;
    }
    note_told(transaction, last)?;
    let sql = "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value";
    transaction.execute(sql, params![MARK, last.to_string()])?;
    transaction.execute(REMOVE, [mark, last])
}

/// The last event that was removed; 0 where none was.
fn mark(connection: &Connection) -> rusqlite::Result<i64> {
    let sql = "SELECT CAST(value AS INTEGER) FROM meta WHERE key = ?1";
    Ok(connection.query_row(sql, [MARK], |row| row.get(0)).optional()?.unwrap_or(0))
}

/// The beginning of these events that is old.
fn over(events: &[Old], before: Timestamp, now: Timestamp, newest: i64) -> &[Old] {
    let mut end = 0;
    for (index, event) in events.iter().enumerate() {
        if event.at < before {
            end = index + 1;
        } else if event.at <= now {
            break;
        }
    }
    let over = events.get(..end).unwrap_or_default();
    match over.split_last() {
        Some((last, others)) if last.id >= newest => others,
        _ => over,
    }
}

type Key = (String, String, String, String);

fn sums(events: &[Old]) -> BTreeMap<Key, i64> {
    let mut sums = BTreeMap::new();
    for event in events {
        // Berths come and go; their number is not bounded.
        let actor = if event.actor.starts_with("berth:") { "berth" } else { &event.actor };
        let owner = event.owner.clone().unwrap_or_default();
        *sums.entry((month(event.at), owner, actor.to_owned(), event.kind.clone())).or_default() += 1;
    }
    sums
}

fn month(at: Timestamp) -> String {
    at.strftime("%Y-%m").to_string()
}

/// Notes when the standing berths told something last, of what is removed: the next agent reads their output from there on.
fn note_told(transaction: &Transaction, last: i64) -> rusqlite::Result<()> {
    let sql = format!(
        "SELECT id, owner, name FROM berths WHERE {STANDING} UNION ALL
         SELECT berths.id, owner, earlier_names.name FROM earlier_names JOIN berths ON berths.id = berth WHERE {STANDING}"
    );
    let named: Vec<(i64, String, String)> =
        list(transaction, &sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let mut told: BTreeMap<i64, (i64, String)> = BTreeMap::new();
    for (berth, owner, name) in named {
        let found: Option<(i64, String)> =
            find(transaction, TOLD_LAST, params![owner, name, last], |row| Ok((row.get(0)?, row.get(1)?)))?;
        // Of its names, the one that it told something under last.
        if let Some(found) = found.filter(|found| told.get(&berth).is_none_or(|known| known.0 < found.0)) {
            told.insert(berth, found);
        }
    }
    let mut note = transaction.prepare_cached("UPDATE berths SET told_at = ?2 WHERE id = ?1")?;
    for (berth, (_, at)) in told {
        note.execute(params![berth, at])?;
    }
    Ok(())
}

fn read_old(row: &rusqlite::Row) -> rusqlite::Result<Old> {
    Ok(Old {
        id: row.get(0)?,
        at: time_at(row, 1)?,
        kind: row.get(2)?,
        actor: row.get(3)?,
        owner: row.get(4)?,
    })
}

fn read_sum(row: &rusqlite::Row) -> rusqlite::Result<EventSum> {
    let owner: String = row.get(1)?;
    Ok(EventSum {
        month: row.get(0)?,
        owner: Some(owner).filter(|owner| !owner.is_empty()),
        actor: row.get(2)?,
        kind: row.get(3)?,
        count: row.get::<_, i64>(4)?.unsigned_abs(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::NewEvent;
    use crate::ledger::tests::{event, new_berth};
    use tempfile::TempDir;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn open() -> (TempDir, Ledger) {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&dir.path().join("ledger.db"), at("2026-01-01T00:00:00Z")).unwrap();
        let added = NewEvent { at: at("2026-01-01T00:00:00Z"), ..event("user.added") };
        ledger.add_user("alice", None, &[], &added).unwrap();
        (dir, ledger)
    }

    fn ids(ledger: &Ledger) -> Vec<i64> {
        ledger.events(0, 5000, None).unwrap().iter().map(|event| event.id).collect()
    }

    fn rows(ledger: &Ledger, filter: &EventFilter) -> Vec<(String, String, String, u64)> {
        let sums = ledger.event_summary(filter).unwrap();
        sums.into_iter().map(|sum| (sum.month, sum.actor, sum.kind, sum.count)).collect()
    }

    #[test]
    fn old_events_become_sums_by_month_in_small_transactions() {
        let (dir, ledger) = open();
        // 2,400 logins from January on, one every 40 minutes, into March; the newest is a decision.
        let many = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 2400)
            INSERT INTO events (at, kind, actor, owner, berth, text)
            SELECT strftime('%Y-%m-%dT%H:%M:%SZ', '2026-01-01', '+' || (n * 40) || ' minutes'),
                   'ssh.login', 'berth:b' || (n % 7), 'alice', 'b' || (n % 7), 'x' FROM n";
        ledger.connection().execute_batch(many).unwrap();
        let now = at("2026-03-10T00:00:00Z");
        ledger.record(&NewEvent { at: now, owner: None, ..event("agent.started") }).unwrap();
        let before = at("2026-03-01T00:00:00Z");
        let removed: Vec<usize> = (0..4).map(|_| ledger.compact_events(before, now).unwrap()).collect();
        // 59 days of 36 logins, less the one at the very beginning of the year, and the user who was added.
        assert_eq!(removed, [1000, 1000, 124, 0]);
        let left = ids(&ledger);
        assert_eq!((left.len(), left.first()), (2402 - 2124, Some(&2125)));
        let sums =
            |name: &str, kind: &str, count| ("2026-".to_owned() + name, "berth".into(), kind.into(), count);
        let all = rows(&ledger, &EventFilter::default());
        let added = ("2026-01".into(), "root".into(), "user.added".into(), 1);
        assert_eq!(all, [sums("01", "ssh.login", 1115), added, sums("02", "ssh.login", 1008)]);
        assert_eq!(all.iter().map(|row| row.3).sum::<u64>(), 2124, "none is lost, none is counted twice");
        // Filters.
        let decisions = EventFilter { decisions: true, ..EventFilter::default() };
        assert_eq!(rows(&ledger, &decisions), [all[1].clone()]);
        let later = EventFilter { since: Some(at("2026-02-20T00:00:00Z")), ..EventFilter::default() };
        assert_eq!(rows(&ledger, &later), [all[2].clone()], "with its whole month");
        let users = EventFilter { kind: Some("user".into()), ..EventFilter::default() };
        assert_eq!(rows(&ledger, &users), [all[1].clone()]);
        assert!(rows(&ledger, &EventFilter::of_owner(Some("bob"))).is_empty());
        // What is left is found as before, and new ones get new ids.
        assert_eq!(ledger.events_before_last(1, &EventFilter::default()).unwrap(), 2401);
        ledger.record(&NewEvent { at: now, ..event("x") }).unwrap();
        assert_eq!(ids(&ledger).last(), Some(&2403));
        // Nothing else removes an event or a sum, whoever writes into the file.
        let other = Connection::open(dir.path().join("ledger.db")).unwrap();
        for wrong in [
            "DELETE FROM events WHERE id = 2402",
            "UPDATE events SET text = 'x' WHERE id = 2402",
            "DELETE FROM event_summary",
            "UPDATE event_summary SET count = count - 1",
        ] {
            assert!(other.execute(wrong, []).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_not_old_keeps_all_that_came_after_it() {
        let (_dir, ledger) = open();
        let now = at("2026-12-01T00:00:00Z");
        let record = |time: &str| ledger.record(&NewEvent { at: at(time), ..event("x") }).unwrap();
        record("2026-02-01T00:00:00Z");
        record("2099-01-01T00:00:00Z"); // a clock that was wrong
        record("2026-02-02T00:00:00Z");
        record("2026-11-30T00:00:00Z");
        record("2026-02-03T00:00:00Z"); // set back
        let before = at("2026-09-01T00:00:00Z");
        assert_eq!(ledger.compact_events(before, now).unwrap(), 4);
        assert_eq!(ids(&ledger), [5, 6]);
        assert_eq!(ledger.compact_events(before, now).unwrap(), 0);
        // The newest stays, however old it is: ids are counted on from it.
        let later = at("2028-01-01T00:00:00Z");
        assert_eq!(ledger.compact_events(at("2027-10-01T00:00:00Z"), later).unwrap(), 1);
        assert_eq!(ledger.compact_events(at("2027-10-01T00:00:00Z"), later).unwrap(), 0);
        assert_eq!(ids(&ledger), [6]);
        let months: Vec<String> =
            rows(&ledger, &EventFilter::default()).into_iter().map(|row| row.0).collect();
        assert_eq!(months, ["2026-01", "2026-02", "2026-11", "2099-01"]);
    }

    /// Otherwise the next agent would take its whole output for news, and count it once more.
    #[test]
    fn how_far_a_berth_was_read_is_known_when_its_events_are_gone() {
        let (_dir, ledger) = open();
        let about = |kind, actor: &str, time: &str| NewEvent {
            at: at(time),
            actor: actor.into(),
            berth: Some("dev".into()),
            ..event(kind)
        };
        let new = new_berth("dev", &[], 20_000);
        let berth = ledger.claim(&new, &about("berth.requested", "alice", "2026-01-02T00:00:00Z")).unwrap();
        ledger.record(&about("ssh.login", "berth:dev", "2026-01-02T01:00:00Z")).unwrap();
        ledger.record(&about("ssh.end", "berth:dev", "2026-01-02T02:00:00Z")).unwrap();
        let live = about("berth.live", "alice", "2026-01-02T03:00:00Z");
        let berth = ledger.commit_live(berth.id, "ssh-ed25519 AAAA", &live).unwrap();
        let berth =
            ledger.rename(&berth, "other", &about("berth.renamed", "alice", "2026-11-01T00:00:00Z")).unwrap();
        let now = at("2026-12-01T00:00:00Z");
        assert_eq!(ledger.compact_events(at("2026-06-01T00:00:00Z"), now).unwrap(), 5);
        let told: Vec<String> = ledger.told_times(&berth).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(told, ["2026-01-02T02:00:00Z"]);
    }
}
