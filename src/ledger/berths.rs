//! Berths and their cards: claim, commit, release. Order for every change: intent, act, commit.

use super::{Ledger, LedgerError, NewEvent, conditions, find, list, optional_time_at, time_at};
use crate::error::Fault;
use crate::model::{Berth, BerthState, CardId, Size};
use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, Transaction, params};

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
    pub until: Option<Timestamp>,
}

/// What clients may have seen on a port: the host key of berths of one name that were live there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortUse {
    pub port: u16,
    pub owner: String,
    pub name: String,
    /// OpenSSH public key line.
    pub host_key: String,
    /// The newest of those berths.
    pub last: i64,
}

#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// The database itself refused: the card is held.
    #[error("a card of {0:?} is held by another berth")]
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
    (SELECT coalesce(group_concat(card), '') FROM (SELECT card FROM berth_cards WHERE berth = berths.id ORDER BY card)),
    (SELECT json_group_array(json_object('code', code, 'since', since, 'cards', json(cards), 'detail', detail))
     FROM conditions WHERE berth = berths.id)
    FROM berths";

impl Ledger {
    /// The intent: cards, port and name are taken from here on.
    pub fn claim(&self, berth: &NewBerth, event: &NewEvent) -> Result<Berth, ClaimError> {
        let id =
            self.write(Some(event), |transaction| insert(transaction, berth, event.at)).map_err(|error| {
                let text = error.to_string();
                if text.contains("berth_cards.card") {
                    ClaimError::CardTaken(berth.cards.clone())
                } else if text.contains("berths.port") {
                    ClaimError::PortTaken(berth.port)
                } else if text.contains("berths.name") {
                    ClaimError::NameTaken { owner: berth.owner.clone(), name: berth.name.clone() }
                } else {
                    ClaimError::Ledger(LedgerError::from(error).into_fault(&self.path))
                }
            })?;
        self.berth_by_id(id).map_err(ClaimError::Ledger)
    }

    /// The berth's container was verified and answers.
    pub fn commit_live(&self, id: i64, host_key: &str, event: &NewEvent) -> Result<Berth, Fault> {
        self.change(event, |transaction| {
            set_state(transaction, id, BerthState::Live)?;
            transaction.execute("UPDATE berths SET host_key = ?2 WHERE id = ?1", params![id, host_key])
        })?;
        self.berth_by_id(id)
    }

    /// Another host key for live berths; returns them as they are then.
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

    /// Which container is the berth's, known before it starts.
    pub fn note_container(&self, id: i64, container_id: &str) -> Result<(), Fault> {
        self.write(None, |transaction| {
            transaction
                .prepare_cached("UPDATE berths SET container_id = ?2 WHERE id = ?1")?
                .execute(params![id, container_id])
        })
        .map(|_| ())
        .map_err(|error| LedgerError::from(error).into_fault(&self.path))
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
        self.write(None, |transaction| {
            transaction.execute("DELETE FROM sqlite_sequence WHERE name = 'berths'", [])?;
            transaction.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('berths', ?1)", [highest])
        })
        .map(|_| ())
        .map_err(|error| LedgerError::from(error).into_fault(&self.path))
    }

    /// The lease of a live berth ends at another time.
    pub fn renew(&self, id: i64, until: Timestamp, event: &NewEvent) -> Result<Berth, Fault> {
        self.change(event, |transaction| {
            let changed = transaction
                .prepare_cached("UPDATE berths SET until = ?2 WHERE id = ?1 AND state = 'live'")?
                .execute(params![id, until.to_string()])?;
            if changed == 1 { Ok(()) } else { Err(rusqlite::Error::StatementChangedRows(changed)) }
        })?;
        self.berth_by_id(id)
    }

    pub fn begin_release(&self, id: i64, event: &NewEvent) -> Result<(), Fault> {
        self.change(event, |transaction| set_state(transaction, id, BerthState::Releasing))
    }

    /// Nothing of the berth is left on the machine: its cards, port and name are free again.
    pub fn end(&self, id: i64, state: BerthState, note: &str, event: &NewEvent) -> Result<(), Fault> {
        self.change(event, |transaction| {
            set_state(transaction, id, state)?;
            transaction.execute(
                "UPDATE berths SET ended_at = ?2, note = ?3 WHERE id = ?1",
                params![id, event.at.to_string(), note],
            )
        })
        .map(|_| ())
    }

    /// Berths that hold cards, oldest first.
    pub fn held_berths(&self) -> Result<Vec<Berth>, Fault> {
        let sql = format!("{COLUMNS} WHERE state IN ('creating', 'live', 'releasing') ORDER BY id");
        self.read(|connection| list(connection, &sql, [], read_berth))
    }

    /// All berths that ever were, or one owner's, newest first, at most `limit`.
    pub fn all_berths(&self, limit: u32, owner: Option<&str>) -> Result<Vec<Berth>, Fault> {
        let sql = format!("{COLUMNS} WHERE ?2 IS NULL OR owner = ?2 ORDER BY id DESC LIMIT ?1");
        self.read(|connection| list(connection, &sql, params![limit, owner], read_berth))
    }

    /// The berth of that name that holds cards, if there is one.
    pub fn held_berth(&self, owner: &str, name: &str) -> Result<Option<Berth>, Fault> {
        let sql = format!(
            "{COLUMNS} WHERE owner = ?1 AND name = ?2 AND state IN ('creating', 'live', 'releasing')"
        );
        self.read(|connection| find(connection, &sql, [owner, name], read_berth))
    }

    /// Also a berth that has ended.
    pub fn berth_by_id(&self, id: i64) -> Result<Berth, Fault> {
        self.find_berth(id)?.ok_or_else(|| Fault::bug(format!("berth {id} is not in the ledger")))
    }

    pub fn find_berth(&self, id: i64) -> Result<Option<Berth>, Fault> {
        let sql = format!("{COLUMNS} WHERE id = ?1");
        self.read(|connection| find(connection, &sql, [id], read_berth))
    }

    /// The past and the present of all ports, as this name of this owner with this key needs to know it: of each port
    /// the last use by the name, by another name with the key, and by another key. So it grows with the ports alone.
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

    /// Cards of the owner's berths that ended while this one was there, and so may have handed something to it; or
    /// to one that was there until then, which handed it on.
    pub fn cards_given_back(&self, berth: &Berth) -> Result<Vec<CardId>, Fault> {
        self.read(|connection| {
            let since = first_of_chain(connection, berth)?;
            list(
                connection,
                "SELECT DISTINCT card FROM berth_cards JOIN berths ON berth = id
                 WHERE owner = ?1 AND id <> ?2 AND held = 0 AND ended_at >= ?3 ORDER BY card",
                params![berth.owner, berth.id, since.to_string()],
                |row| row.get(0).map(CardId),
            )
        })
    }

    /// Cards of the owner's last berth that ended: caches are warm there.
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

fn insert(transaction: &Transaction, berth: &NewBerth, now: Timestamp) -> rusqlite::Result<i64> {
    transaction
        .prepare_cached(
            "INSERT INTO berths (owner, name, state, port, ssh_user, image, image_id, memory, cpus, created_at, until)
             VALUES (?1, ?2, 'creating', ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
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
            berth.until.map(|until| until.to_string()),
        ])?;
    let id = transaction.last_insert_rowid();
    let mut add = transaction.prepare_cached("INSERT INTO berth_cards (berth, card) VALUES (?1, ?2)")?;
    for card in &berth.cards {
        add.execute(params![id, card.0])?;
    }
    Ok(id)
}

fn set_state(transaction: &Transaction, id: i64, state: BerthState) -> rusqlite::Result<()> {
    let changed = transaction
        .prepare_cached("UPDATE berths SET state = ?2 WHERE id = ?1")?
        .execute(params![id, state.as_str()])?;
    if changed == 1 { Ok(()) } else { Err(rusqlite::Error::QueryReturnedNoRows) }
}

/// When the first of the owner's berths began of those that were there one after the other, each with the next, up to
/// this one.
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
        state: BerthState::parse(&state).ok_or(rusqlite::Error::IntegralValueOutOfRange(3, 0))?,
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
    })
}
