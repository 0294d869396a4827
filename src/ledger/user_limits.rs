//! What administrators said each user may have at once.

use super::{Ledger, NewEvent, find};
use crate::error::Fault;
use crate::model::{LimitChange, OwnLimit, Size, UserLimit};
use rusqlite::params;

impl Ledger {
    /// `None` where nobody said anything about this user.
    pub fn user_limit(&self, owner: &str) -> Result<Option<OwnLimit>, Fault> {
        let sql = "SELECT unlimited, cards, berths, lease, memory FROM user_limits WHERE owner = ?1";
        self.read(|connection| find(connection, sql, [owner], read))
    }

    pub fn set_user_limit(&self, owner: &str, change: LimitChange, event: &NewEvent) -> Result<(), Fault> {
        self.change(event, |transaction| match change {
            LimitChange::Default => {
                transaction.execute("DELETE FROM user_limits WHERE owner = ?1", [owner]).map(drop)
            }
            LimitChange::None => {
                let sql =
                    "INSERT OR REPLACE INTO user_limits (owner, unlimited, by, since) VALUES (?1, 1, ?2, ?3)";
                transaction.execute(sql, params![owner, event.actor, event.at.to_string()]).map(drop)
            }
            LimitChange::Set(limit) => {
                let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
                transaction
                    .execute(
                        "INSERT INTO user_limits (owner, unlimited, cards, berths, lease, memory, by, since)
                         VALUES (?1, 0, ?2, ?3, ?4, ?5, ?6, ?7)
                         ON CONFLICT (owner) DO UPDATE SET unlimited = 0, cards = coalesce(?2, cards),
                           berths = coalesce(?3, berths), lease = coalesce(?4, lease),
                           memory = coalesce(?5, memory), by = ?6, since = ?7",
                        params![
                            owner,
                            limit.cards,
                            limit.berths,
                            limit.lease.map(signed),
                            limit.memory.map(|memory| signed(memory.0)),
                            event.actor,
                            event.at.to_string()
                        ],
                    )
                    .map(drop)
            }
        })
    }
}

fn read(row: &rusqlite::Row) -> rusqlite::Result<OwnLimit> {
    if row.get(0)? {
        return Ok(OwnLimit::None);
    }
    Ok(OwnLimit::Some(UserLimit {
        cards: row.get(1)?,
        berths: row.get(2)?,
        lease: row.get::<_, Option<i64>>(3)?.map(i64::unsigned_abs),
        memory: row.get::<_, Option<i64>>(4)?.map(|bytes| Size(bytes.unsigned_abs())),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::tests::{event, open};

    #[test]
    fn limits_are_changed_one_by_one() {
        let (_dir, ledger) = open();
        let limit = || ledger.user_limit("alice").unwrap();
        let set = |change: LimitChange| ledger.set_user_limit("alice", change, &event("user.limit")).unwrap();
        assert_eq!(limit(), None);
        let four = UserLimit { cards: Some(4), ..UserLimit::default() };
        set(LimitChange::Set(four));
        let memory = Some(Size::gib(64));
        set(LimitChange::Set(UserLimit { lease: Some(3600), memory, ..UserLimit::default() }));
        let both = UserLimit { lease: Some(3600), memory, ..four };
        assert_eq!(limit(), Some(OwnLimit::Some(both)));
        set(LimitChange::None);
        assert_eq!(limit(), Some(OwnLimit::None));
        set(LimitChange::Set(UserLimit { berths: Some(0), ..UserLimit::default() }));
        assert_eq!(
            limit(),
            Some(OwnLimit::Some(UserLimit { berths: Some(0), ..UserLimit::default() })),
            "what counted before `none` is gone"
        );
        set(LimitChange::Default);
        assert_eq!(limit(), None);
        assert!(ledger.set_user_limit("nobody", LimitChange::None, &event("user.limit")).is_err());
    }
}
