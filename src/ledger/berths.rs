//! Berths and their cards: claim, commit, release. Order for every change: intent, act, commit.

use super::{
    Ledger, LedgerError, NewEvent, conditions, find, list, optional_time_at, parse_json, tickets, time_at,
};
use crate::error::Fault;
use crate::model::{Berth, BerthState, CardId, Size, Stop, StopReason, card};
use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, Transaction, params};
use serde::de::DeserializeOwned;

/// What a claim writes down before anything is done.
#[derive(Debug, Clone, PartialEq)]
pub struct NewBerth {
    pub owner: String,
    pub name: String,
    pub cards: Vec<CardId>,
    pub port: u16,
    pub ssh_user: String,
    pub image: String,
    pub image_id: String,
    pub memory: Option<Size>,
    pub cpus: Option<f64>,
    /// Seconds. They count from when the berth's SSH server answers.
    pub lease: Option<u64>,
    pub unattended: bool,
    /// The ticket of the request that becomes this berth; below, the tickets that it overtakes.
    pub ticket: Option<i64>,
    pub overtaken: Vec<i64>,
}

/// The last use of a port with one host key, by live berths of one name. Clients may have stored that key for the
/// port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortUse {
    pub port: u16,
    pub owner: String,
    pub name: String,
    /// OpenSSH public key line.
    pub host_key: String,
    /// The id of the newest of those berths.
    pub last: i64,
}

#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// The database refused the claim, because another berth has these cards.
    #[error("one of {cards} is held by another berth", cards = card::named(.0))]
    CardTaken(Vec<CardId>),
    #[error("port {0} belongs to another berth")]
    PortTaken(u16),
    #[error("{owner} has a berth {name} already")]
    NameTaken { owner: String, name: String },
    #[error("{0}")]
    Ledger(Fault),
}

const COLUMNS: &str = "SELECT id, owner, name, state, port, ssh_user, image, image_id, container_id, memory,
    cpus, host_key, created_at, until, ended_at, note,
    (SELECT coalesce(group_concat(card), '') FROM (SELECT card FROM berth_cards
     WHERE berth = berths.id AND state <> 'stopped' ORDER BY card)),
    (SELECT json_group_array(json_object('code', code, 'since', since, 'cards', json(cards), 'detail', detail))
     FROM conditions WHERE berth = berths.id),
    size, lease, unattended, stop_reason, stopped_at, kept_until, stops_at, lock,
    (SELECT release_at FROM early_releases WHERE berth = berths.id),
    EXISTS (SELECT 1 FROM early_releases WHERE berth = berths.id AND release_at IS NULL), next_cards
    FROM berths";

/// A berth that has not ended; the same condition as in the indexes of the schema.
pub(super) const STANDING: &str = "state NOT IN ('released', 'undone')";

impl Ledger {
    /// Writes the intent: the berth has its cards, port and name from now on. Fails when another berth has one of
    /// them.
    pub fn claim(&self, berth: &NewBerth, event: &NewEvent) -> Result<Berth, ClaimError> {
        let claimed = self.write(Some(event), |transaction| insert(transaction, berth, event.at));
        let id = claimed.map_err(|error| {
            let text = error.to_string();
            if text.contains("berths.port") {
                ClaimError::PortTaken(berth.port)
            } else if text.contains("berths.name") {
                ClaimError::NameTaken { owner: berth.owner.clone(), name: berth.name.clone() }
            } else {
                self.claim_error(error, &berth.cards)
            }
        })?;
        self.berth_by_id(id).map_err(ClaimError::Ledger)
    }

    pub(super) fn claim_error(&self, error: rusqlite::Error, cards: &[CardId]) -> ClaimError {
        // SQLite names the index that refused in its words, and nowhere else.
        let text = error.to_string();
        if text.contains("berth_cards.card") {
            return ClaimError::CardTaken(cards.to_vec());
        }
        ClaimError::Ledger(LedgerError::from(error).into_fault(&self.path))
    }

    /// Makes the berth live: its container was verified and answers. Its lease begins now.
    pub fn commit_live(&self, id: i64, host_key: &str, event: &NewEvent) -> Result<Berth, Fault> {
        self.change(event, |transaction| {
            set_state(transaction, id, BerthState::Live)?;
            let sql = "SELECT lease, confirm FROM berths WHERE id = ?1";
            let (lease, confirm): (Option<i64>, Option<i64>) =
                transaction.query_row(sql, [id], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let text_of = |seconds: Option<i64>| {
                end_of_lease(seconds.map(i64::unsigned_abs), event.at).map(|until| until.to_string())
            };
            transaction.execute(
                "UPDATE berths SET host_key = ?2, until = ?3, live_at = ?4, told_left = NULL, renewals = 0, keeps = 0,
                 asked_at = NULL, stops_at = NULL, stop_reason = NULL, stopped_at = NULL, kept_until = NULL,
                 confirm = NULL, confirm_by = ?5, ticket = NULL, next_cards = NULL WHERE id = ?1",
                params![id, host_key, text_of(lease), event.at.to_string(), text_of(confirm)],
            )
        })?;
        self.berth_by_id(id)
    }

    /// Notes another host key for live berths. Returns the berths as they are after that.
    pub fn set_host_key(&self, ids: &[i64], host_key: &str, event: &NewEvent) -> Result<Vec<Berth>, Fault> {
        self.change(event, |transaction| {
            let mut changed = Vec::new();
            for id in ids {
                let sql = "UPDATE berths SET host_key = ?2 WHERE id = ?1 AND state = 'live'";
                if transaction.prepare_cached(sql)?.execute(params![id, host_key])? == 1 {
                    changed.push(*id);
                }
            }
            Ok(changed)
        })?
        .into_iter()
        .map(|id| self.berth_by_id(id))
        .collect()
    }

    /// Notes the berth's container. To be called before the container starts.
    pub fn note_container(&self, id: i64, container_id: &str) -> Result<(), Fault> {
        self.alter(None, |transaction| {
            transaction
                .prepare_cached("UPDATE berths SET container_id = ?2 WHERE id = ?1")?
                .execute(params![id, container_id])
        })
    }

    /// New berths get ids above this one.
    pub fn skip_berth_ids(&self, highest: i64) -> Result<(), Fault> {
        let known: i64 = self.read(|connection| {
            connection.query_row(
                "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'berths'",
                [],
                |row| row.get(0),
            )
        })?;
        if highest <= known {
            return Ok(());
        }
        self.alter(None, |transaction| {
            transaction.execute("DELETE FROM sqlite_sequence WHERE name = 'berths'", [])?;
            transaction.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('berths', ?1)", [highest])
        })
    }

    pub fn begin_release(&self, id: i64, event: &NewEvent) -> Result<(), Fault> {
        self.change(event, |transaction| set_state(transaction, id, BerthState::Releasing))
    }

    /// Ends the berth. Nothing of it may be left on the machine; its cards, port and name are free from now on.
    pub fn end(&self, id: i64, state: BerthState, note: &str, event: &NewEvent) -> Result<(), Fault> {
        self.change(event, |transaction| end(transaction, id, state, note, event.at))
    }

    /// As `end`, for one whose request was cut. The ticket with which the request waits again, if it waited.
    pub fn end_cut(&self, id: i64, note: &str, event: &NewEvent) -> Result<Option<i64>, Fault> {
        self.change(event, |transaction| {
            end(transaction, id, BerthState::Undone, note, event.at)?;
            tickets::wait_again(transaction, id)
        })
    }

    /// Berths that have not ended, oldest first.
    pub fn standing_berths(&self) -> Result<Vec<Berth>, Fault> {
        let sql = format!("{COLUMNS} WHERE {STANDING} ORDER BY id");
        self.read(|connection| list(connection, &sql, [], read_berth))
    }

    /// All berths that ever were, or one owner's, newest first, at most `limit`.
    pub fn all_berths(&self, limit: u32, owner: Option<&str>) -> Result<Vec<Berth>, Fault> {
        let sql = format!("{COLUMNS} WHERE ?2 IS NULL OR owner = ?2 ORDER BY id DESC LIMIT ?1");
        self.read(|connection| list(connection, &sql, params![limit, owner], read_berth))
    }

    /// The berth of that name that has not ended, if there is one.
    pub fn standing_berth(&self, owner: &str, name: &str) -> Result<Option<Berth>, Fault> {
        let sql = format!("{COLUMNS} WHERE owner = ?1 AND name = ?2 AND {STANDING}");
        self.read(|connection| find(connection, &sql, [owner, name], read_berth))
    }

    /// The newest berth of that name, whether or not it has ended.
    pub fn last_berth(&self, owner: &str, name: &str) -> Result<Option<Berth>, Fault> {
        let sql = format!("{COLUMNS} WHERE owner = ?1 AND name = ?2 ORDER BY id DESC LIMIT 1");
        self.read(|connection| find(connection, &sql, [owner, name], read_berth))
    }

    /// The berth with this id, even if it has ended. An error when there is none.
    pub fn berth_by_id(&self, id: i64) -> Result<Berth, Fault> {
        self.find_berth(id)?.ok_or_else(|| Fault::bug(format!("berth {id} is not in the ledger")))
    }

    pub fn find_berth(&self, id: i64) -> Result<Option<Berth>, Fault> {
        let sql = format!("{COLUMNS} WHERE id = ?1");
        self.read(|connection| find(connection, &sql, [id], read_berth))
    }

    /// All uses of ports, now and earlier. For each port there are up to three: the last use by this berth name
    /// with this key, by another name with this key, and with another key. So the answer grows with the number of
    /// ports only.
    pub fn port_uses(&self, owner: &str, name: &str, host_key: &str) -> Result<Vec<PortUse>, Fault> {
        self.read(|connection| {
            list(
                connection,
                // With max() SQLite takes the other columns from the row that has it.
                "SELECT port, owner, name, host_key, max(id) FROM berths WHERE host_key IS NOT NULL
                 GROUP BY port, host_key = ?3, host_key = ?3 AND owner = ?1 AND name = ?2",
                [owner, name, host_key],
                |row| {
                    Ok(PortUse {
                        port: row.get(0)?,
                        owner: row.get(1)?,
                        name: row.get(2)?,
                        host_key: row.get(3)?,
                        last: row.get(4)?,
                    })
                },
            )
        })
    }

    /// Cards that berths of this owner gave back while this berth existed: such a berth may have handed an open
    /// descriptor to this one. Also those given back earlier, where a chain of the owner's berths, each overlapping
    /// the next, may have handed it on.
    pub fn cards_given_back(&self, berth: &Berth) -> Result<Vec<CardId>, Fault> {
        self.read(|connection| {
            let since = first_of_chain(connection, berth)?;
            list(
                connection,
                // Also its own of before a stop: somebody else may have kept what it handed over, and hand it back.
                "SELECT DISTINCT card FROM holdings JOIN berths ON berth = berths.id
                 WHERE owner = ?1 AND holdings.until >= ?2 ORDER BY card",
                params![berth.owner, since.to_string()],
                |row| row.get(0).map(CardId),
            )
        })
    }

    /// The cards that a berth had last, whether or not it still has them.
    pub fn cards_of(&self, id: i64) -> Result<Vec<CardId>, Fault> {
        self.read(|connection| {
            let sql = "SELECT card FROM berth_cards WHERE berth = ?1 ORDER BY card";
            list(connection, sql, [id], |row| row.get(0).map(CardId))
        })
    }

    /// The cards of the owner's last berth that ended: their caches may still be warm.
    pub fn last_cards(&self, owner: &str) -> Result<Vec<CardId>, Fault> {
        self.read(|connection| {
            list(
                connection,
                "SELECT card FROM berth_cards WHERE berth =
                 (SELECT max(id) FROM berths WHERE owner = ?1 AND state = 'released') ORDER BY card",
                [owner],
                |row| row.get(0).map(CardId),
            )
        })
    }
}

fn end(
    transaction: &Transaction,
    id: i64,
    state: BerthState,
    note: &str,
    now: Timestamp,
) -> rusqlite::Result<()> {
    end_holdings(transaction, id, now)?;
    set_state(transaction, id, state)?;
    let sql = "UPDATE berths SET ended_at = ?2, note = ?3 WHERE id = ?1";
    transaction.execute(sql, params![id, now.to_string(), note]).map(|_| ())
}

fn insert(transaction: &Transaction, berth: &NewBerth, now: Timestamp) -> rusqlite::Result<i64> {
    transaction
        .prepare_cached(
            "INSERT INTO berths (owner, name, state, port, ssh_user, image, image_id, memory, cpus, created_at, until,
             size, lease, unattended) VALUES (?1, ?2, 'creating', ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
        )?
        .execute(params![
            berth.owner,
            berth.name,
            berth.port,
            berth.ssh_user,
            berth.image,
            berth.image_id,
            berth.memory.map(Size::bytes_i64),
            berth.cpus,
            now.to_string(),
            end_of_lease(berth.lease, now).map(|until| until.to_string()),
            count(&berth.cards),
            berth.lease.map(seconds),
            berth.unattended,
        ])?;
    let id = transaction.last_insert_rowid();
    add_cards(transaction, id, &berth.cards, now)?;
    tickets::served(transaction, id, berth.ticket, &berth.overtaken)?;
    Ok(id)
}

fn end_of_lease(lease: Option<u64>, begin: Timestamp) -> Option<Timestamp> {
    lease.and_then(|lease| begin.checked_add(SignedDuration::from_secs(seconds(lease))).ok())
}

/// SQLite's integers are signed.
pub(super) fn seconds(lease: u64) -> i64 {
    i64::try_from(lease).unwrap_or(i64::MAX)
}

pub(super) fn count(cards: &[CardId]) -> u32 {
    u32::try_from(cards.len()).unwrap_or(u32::MAX)
}

pub(super) fn add_cards(
    transaction: &Transaction,
    id: i64,
    cards: &[CardId],
    now: Timestamp,
) -> rusqlite::Result<()> {
    let mut take = transaction.prepare_cached("INSERT INTO berth_cards (berth, card) VALUES (?1, ?2)")?;
    let mut hold =
        transaction.prepare_cached("INSERT INTO holdings (berth, card, since) VALUES (?1, ?2, ?3)")?;
    for card in cards {
        take.execute(params![id, card.0])?;
        hold.execute(params![id, card.0, now.to_string()])?;
    }
    Ok(())
}

pub(super) fn end_holdings(transaction: &Transaction, id: i64, now: Timestamp) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("UPDATE holdings SET until = ?2 WHERE berth = ?1 AND until IS NULL")?
        .execute(params![id, now.to_string()])
        .map(|_| ())
}

/// The only place that changes a state. An error when the table of `BerthState` does not allow the change.
pub(super) fn set_state(transaction: &Transaction, id: i64, next: BerthState) -> rusqlite::Result<()> {
    let (owner, name, now): (String, String, String) = transaction
        .prepare_cached("SELECT owner, name, state FROM berths WHERE id = ?1")?
        .query_row([id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let now = parse_state(2, &now)?;
    if !now.may_become(next) {
        let refused = WrongChange { berth: format!("{owner}/{name}"), now, next };
        return Err(rusqlite::Error::ToSqlConversionFailure(refused.into()));
    }
    transaction
        .prepare_cached("UPDATE berths SET state = ?2 WHERE id = ?1")?
        .execute(params![id, next.as_str()])
        .map(|_| ())
}

fn parse_state(column: usize, text: &str) -> rusqlite::Result<BerthState> {
    BerthState::parse(text).ok_or(rusqlite::Error::IntegralValueOutOfRange(column, 0))
}

/// A change of state that is not allowed.
#[derive(Debug, thiserror::Error)]
#[error("{berth} is {now} and cannot become {next}")]
pub struct WrongChange {
    berth: String,
    now: BerthState,
    next: BerthState,
}

/// When the first berth of the chain began. The chain is of this owner's berths, each overlapping the next in time,
/// and it ends with this one.
fn first_of_chain(connection: &Connection, berth: &Berth) -> rusqlite::Result<Timestamp> {
    // A clock is not that exact. A card too much costs a look, and no more; so does the end of a long search.
    const MARGIN: SignedDuration = SignedDuration::from_hours(1);
    const LONGEST: u32 = 64;
    let before = |at: Timestamp| at.checked_sub(MARGIN).unwrap_or(Timestamp::MIN);
    let mut since = before(berth.created_at);
    for _ in 0..LONGEST {
        let earlier: Option<String> = connection.query_row(
            "SELECT min(created_at) FROM berths
             WHERE owner = ?1 AND created_at < ?2 AND (ended_at IS NULL OR ended_at >= ?2)",
            params![berth.owner, since.to_string()],
            |row| row.get(0),
        )?;
        let Some(earlier) = earlier.and_then(|at| at.parse::<Timestamp>().ok()) else { return Ok(since) };
        since = before(earlier);
    }
    Ok(Timestamp::MIN)
}

fn read_berth(row: &rusqlite::Row) -> rusqlite::Result<Berth> {
    let state: String = row.get(3)?;
    let cards: String = row.get(16)?;
    let memory: Option<i64> = row.get(9)?;
    Ok(Berth {
        id: row.get(0)?,
        owner: row.get(1)?,
        name: row.get(2)?,
        state: parse_state(3, &state)?,
        cards: cards.split(',').filter_map(|card| card.parse().ok().map(CardId)).collect(),
        port: row.get(4)?,
        ssh_user: row.get(5)?,
        image: row.get(6)?,
        image_id: row.get(7)?,
        container_id: row.get(8)?,
        memory: memory.and_then(|bytes| u64::try_from(bytes).ok()).map(Size),
        cpus: row.get(10)?,
        host_key: row.get(11)?,
        created_at: time_at(row, 12)?,
        until: optional_time_at(row, 13)?,
        ended_at: optional_time_at(row, 14)?,
        note: row.get(15)?,
        conditions: conditions::read(row, 17)?,
        size: row.get(18)?,
        lease: row.get::<_, Option<i64>>(19)?.and_then(|seconds| u64::try_from(seconds).ok()),
        unattended: row.get(20)?,
        stop: read_stop(row, 21)?,
        stops_at: optional_time_at(row, 24)?,
        stops_for: read_stops_for(row)?,
        condition: None,
        deadline: None,
        lock: optional_json(row, 25)?,
        next_cards: optional_json(row, 28)?,
    })
}

fn read_stops_for(row: &rusqlite::Row) -> rusqlite::Result<Option<StopReason>> {
    let reason: Option<String> = row.get(21)?;
    let is_announced = optional_time_at(row, 24)?.is_some();
    Ok(reason.as_deref().and_then(StopReason::parse).filter(|_| is_announced))
}

fn optional_json<T: DeserializeOwned>(row: &rusqlite::Row, column: usize) -> rusqlite::Result<Option<T>> {
    let text: Option<String> = row.get(column)?;
    text.map(|text| parse_json(column, &text)).transpose()
}

/// Why and when a berth was stopped; `None` until it is stopped.
fn read_stop(row: &rusqlite::Row, first: usize) -> rusqlite::Result<Option<Stop>> {
    let reason: Option<String> = row.get(first)?;
    let Some(at) = optional_time_at(row, first + 1)? else { return Ok(None) };
    let reason = reason.as_deref().and_then(StopReason::parse).unwrap_or(StopReason::Asked);
    let (kept_until, release_at) = (optional_time_at(row, first + 2)?, optional_time_at(row, 26)?);
    Ok(Some(Stop { reason, at, kept_until, release_at, kept: row.get(27)? }))
}
