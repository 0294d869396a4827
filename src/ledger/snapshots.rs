//! Images that users made of their berths. A row is written before the image is made, and stays until it is removed.

use super::{Ledger, LedgerError, NewEvent, find, list, time_at};
use crate::error::Fault;
use jiff::Timestamp;
use rusqlite::{OptionalExtension as _, params};

/// Where a snapshot is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotState {
    /// Its image is being made; a crash leaves it so.
    Making,
    Ready,
    /// Its image is being removed.
    Removing,
}

impl SnapshotState {
    fn parse(text: &str) -> Self {
        match text {
            "ready" => Self::Ready,
            "removing" => Self::Removing,
            _ => Self::Making,
        }
    }
}

/// What sessions in berths of it need to know of the image that its berth was made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotBase {
    pub sudo: bool,
    /// The accounts that sessions run as, in the catalogue's words; `None` for the profile's.
    pub users: Option<Vec<String>>,
    /// The `USER` and the entrypoint of that image. The snapshot's own are those of berth's server.
    pub image_user: String,
    pub entrypoint: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSnapshot {
    pub owner: String,
    pub name: String,
    /// The berth that it is made of.
    pub berth: i64,
    pub base: SnapshotBase,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Never used again, also after its removal.
    pub id: i64,
    pub berth_id: i64,
    pub owner: String,
    pub name: String,
    pub state: SnapshotState,
    /// The name of the berth that it was made of, and that of the image which that was made of.
    pub berth: String,
    pub image: String,
    /// `None` until it is made.
    pub image_id: Option<String>,
    pub made_at: Timestamp,
    pub base: SnapshotBase,
}

#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("{owner} has an image {name} already")]
    NameTaken { owner: String, name: String },
    /// With the names of those that there are.
    #[error("{owner} has {} of {most} images: {}", .names.len(), .names.join(", "))]
    TooMany { owner: String, names: Vec<String>, most: u32 },
    #[error("{0}")]
    Ledger(Fault),
}

const COLUMNS: &str =
    "SELECT snapshots.id, snapshots.owner, snapshots.name, snapshots.state, berths.name, berths.image,
    snapshots.image_id, made_at, sudo, users, image_user, entrypoint, snapshots.berth
    FROM snapshots JOIN berths ON berths.id = snapshots.berth";

impl Ledger {
    /// Writes the intent. Fails where the owner has one of that name, or as many as they may have.
    pub fn begin_snapshot(
        &self,
        new: &NewSnapshot,
        most: u32,
        event: &NewEvent,
    ) -> Result<Snapshot, SnapshotError> {
        let sql =
            |error: rusqlite::Error| SnapshotError::Ledger(LedgerError::from(error).into_fault(&self.path));
        let mut refused = None;
        let begun = self.write(Some(event), |transaction| {
            let names: Vec<String> = list(
                transaction,
                "SELECT name FROM snapshots WHERE owner = ?1 ORDER BY name",
                [&new.owner],
                |row| row.get(0),
            )?;
            let (owner, name) = (new.owner.clone(), new.name.clone());
            if names.contains(&name) {
                refused = Some(SnapshotError::NameTaken { owner, name });
            } else if names.len() >= usize::try_from(most).unwrap_or(usize::MAX) {
                refused = Some(SnapshotError::TooMany { owner, names, most });
            }
            if refused.is_some() {
                return Err(rusqlite::Error::StatementChangedRows(0));
            }
            let base = &new.base;
            transaction.execute(
                "INSERT INTO snapshots (owner, name, state, berth, made_at, sudo, users, image_user, entrypoint)
                 VALUES (?1, ?2, 'making', ?3, ?4, ?5, ?6, ?7, ?8)",
                params![
                    new.owner,
                    new.name,
                    new.berth,
                    event.at.to_string(),
                    base.sudo,
                    base.users.as_ref().map(json),
                    base.image_user,
                    json(&base.entrypoint)
                ],
            )?;
            Ok(transaction.last_insert_rowid())
        });
        let id = begun.map_err(|error| refused.unwrap_or_else(|| sql(error)))?;
        let made = self.snapshot_by_id(id).map_err(SnapshotError::Ledger)?;
        made.ok_or_else(|| SnapshotError::Ledger(Fault::bug("a snapshot was begun and is not there")))
    }

    /// Its image is made.
    pub fn finish_snapshot(&self, id: i64, image_id: &str, event: &NewEvent) -> Result<(), Fault> {
        self.change(event, |transaction| {
            let sql =
                "UPDATE snapshots SET state = 'ready', image_id = ?2 WHERE id = ?1 AND state = 'making'";
            match transaction.execute(sql, params![id, image_id])? {
                1 => Ok(()),
                rows => Err(rusqlite::Error::StatementChangedRows(rows)),
            }
        })
    }

    /// Writes the intent of a removal. An error where a berth that stands is made of it, whose name is returned.
    pub fn begin_snapshot_removal(&self, id: i64, event: &NewEvent) -> Result<Option<String>, Fault> {
        let mut used_by = None;
        let begun = self.write_if(event, |transaction| {
            let sql = format!(
                "SELECT owner || '/' || name FROM berths WHERE {} AND
                 image_id = (SELECT image_id FROM snapshots WHERE id = ?1) LIMIT 1",
                super::berths::STANDING
            );
            used_by = transaction.prepare_cached(&sql)?.query_row([id], |row| row.get(0)).optional()?;
            if used_by.is_some() {
                return Ok(false);
            }
            let sql = "UPDATE snapshots SET state = 'removing' WHERE id = ?1";
            Ok(transaction.execute(sql, [id])? == 1)
        });
        begun.map_err(|error| LedgerError::from(error).into_fault(&self.path))?;
        Ok(used_by)
    }

    /// Nothing of it is left.
    pub fn forget_snapshot(&self, id: i64, event: &NewEvent) -> Result<(), Fault> {
        self.write_if(event, |transaction| {
            Ok(transaction.execute("DELETE FROM snapshots WHERE id = ?1", [id])? == 1)
        })
        .map(drop)
        .map_err(|error| LedgerError::from(error).into_fault(&self.path))
    }

    /// All of them, or one owner's, by owner and name.
    pub fn snapshots(&self, owner: Option<&str>) -> Result<Vec<Snapshot>, Fault> {
        let sql = format!(
            "{COLUMNS} WHERE ?1 IS NULL OR snapshots.owner = ?1 ORDER BY snapshots.owner, snapshots.name"
        );
        self.read(|connection| list(connection, &sql, params![owner], read))
    }

    pub fn snapshot(&self, owner: &str, name: &str) -> Result<Option<Snapshot>, Fault> {
        let sql = format!("{COLUMNS} WHERE snapshots.owner = ?1 AND snapshots.name = ?2");
        self.read(|connection| find(connection, &sql, [owner, name], read))
    }

    pub fn snapshot_by_id(&self, id: i64) -> Result<Option<Snapshot>, Fault> {
        let sql = format!("{COLUMNS} WHERE snapshots.id = ?1");
        self.read(|connection| find(connection, &sql, [id], read))
    }
}

fn json(words: &Vec<String>) -> String {
    serde_json::json!(words).to_string()
}

fn words(text: Option<&str>) -> Option<Vec<String>> {
    text.and_then(|text| serde_json::from_str(text).ok())
}

fn read(row: &rusqlite::Row) -> rusqlite::Result<Snapshot> {
    let (state, users): (String, Option<String>) = (row.get(3)?, row.get(9)?);
    let entrypoint: String = row.get(11)?;
    Ok(Snapshot {
        id: row.get(0)?,
        berth_id: row.get(12)?,
        owner: row.get(1)?,
        name: row.get(2)?,
        state: SnapshotState::parse(&state),
        berth: row.get(4)?,
        image: row.get(5)?,
        image_id: row.get(6)?,
        made_at: time_at(row, 7)?,
        base: SnapshotBase {
            sudo: row.get(8)?,
            users: words(users.as_deref()),
            image_user: row.get(10)?,
            entrypoint: words(Some(&entrypoint)).unwrap_or_default(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::tests::{event, new_berth, open};
    use crate::model::BerthState;

    fn new(name: &str, berth: i64) -> NewSnapshot {
        let base = SnapshotBase {
            sudo: true,
            users: Some(vec!["ma-user".into()]),
            image_user: "1000:100".into(),
            entrypoint: vec!["/bin/sh".into(), "-c".into()],
        };
        NewSnapshot { owner: "alice".into(), name: name.into(), berth, base }
    }

    #[test]
    fn so_many_and_one_of_each_name() {
        let (_dir, ledger) = open();
        let berth = ledger.claim(&new_berth("dev", &[], 20000), &event("x")).unwrap();
        let begin = |name: &str| ledger.begin_snapshot(&new(name, berth.id), 2, &event("x"));
        let first = begin("one").unwrap();
        assert_eq!(
            (first.state, first.berth.as_str(), first.image.as_str()),
            (SnapshotState::Making, "dev", "i")
        );
        assert_eq!(first.base, new("one", berth.id).base);
        let events = || ledger.events(0, 100, None).unwrap().len();
        let before = events();
        assert_eq!(begin("one").unwrap_err().to_string(), "alice has an image one already");
        begin("two").unwrap();
        assert_eq!(begin("three").unwrap_err().to_string(), "alice has 2 of 2 images: one, two");
        assert_eq!(events(), before + 1, "what is refused is no event");
        ledger.finish_snapshot(first.id, "sha256:2", &event("x")).unwrap();
        assert!(ledger.finish_snapshot(first.id, "sha256:3", &event("x")).is_err());
        let ready = ledger.snapshot("alice", "one").unwrap().unwrap();
        assert_eq!((ready.state, ready.image_id.as_deref()), (SnapshotState::Ready, Some("sha256:2")));
        assert!(ledger.snapshot("bob", "one").unwrap().is_none());
    }

    #[test]
    fn what_a_berth_is_made_of_stays() {
        let (_dir, ledger) = open();
        let berth = ledger.claim(&new_berth("dev", &[], 20000), &event("x")).unwrap();
        let made = ledger.begin_snapshot(&new("one", berth.id), 5, &event("x")).unwrap();
        // That berth's image is the one of the fixture.
        ledger.finish_snapshot(made.id, "sha256:1", &event("x")).unwrap();
        let used_by = ledger.begin_snapshot_removal(made.id, &event("x")).unwrap();
        assert_eq!(used_by.as_deref(), Some("alice/dev"));
        assert_eq!(ledger.snapshot_by_id(made.id).unwrap().unwrap().state, SnapshotState::Ready);
        ledger.end(berth.id, BerthState::Undone, "x", &event("x")).unwrap();
        assert_eq!(ledger.begin_snapshot_removal(made.id, &event("x")).unwrap(), None);
        assert_eq!(ledger.snapshots(Some("alice")).unwrap()[0].state, SnapshotState::Removing);
        ledger.forget_snapshot(made.id, &event("x")).unwrap();
        assert_eq!(ledger.snapshots(None).unwrap(), []);
        let next = ledger.begin_snapshot(&new("one", berth.id), 5, &event("x")).unwrap();
        assert!(next.id > made.id, "no id is used again");
    }
}
