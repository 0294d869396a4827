//! The ledger's schema: numbered migrations, each with the statements that lead to it. Old ones never change.

use super::LedgerError;
use rusqlite::{Connection, TransactionBehavior};

/// `BRTH`. SQLite's application id, which tells a ledger from another program's database.
pub(super) const APPLICATION_ID: i32 = 0x4252_5448;

/// The newest schema that this program knows.
pub(super) const VERSION: i32 = 7;

/// The migrations, each with the version that it leads to.
const MIGRATIONS: [(i32, &str); 7] = [(1, V1), (2, V2), (3, V3), (4, V4), (5, V5), (6, V6), (VERSION, V7)];

/// `held = 1` and the partial unique index make two live berths on one card impossible in the database itself;
/// the same holds for ports and names. A trigger frees cards in the transaction that ends a berth.
const V1: &str = "
CREATE TABLE meta (
  key TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT;

CREATE TABLE users (
  name TEXT PRIMARY KEY,
  uid INTEGER,
  added_at TEXT NOT NULL,
  removed_at TEXT
) STRICT;
CREATE UNIQUE INDEX one_user_per_uid ON users (uid) WHERE removed_at IS NULL;

CREATE TABLE keys (
  owner TEXT NOT NULL REFERENCES users (name),
  fingerprint TEXT NOT NULL,
  line TEXT NOT NULL,
  added_at TEXT NOT NULL,
  PRIMARY KEY (owner, fingerprint)
) STRICT;

CREATE TABLE berths (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  owner TEXT NOT NULL REFERENCES users (name),
  name TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('creating', 'live', 'releasing', 'released', 'undone')),
  port INTEGER NOT NULL CHECK (port BETWEEN 1 AND 65535),
  ssh_user TEXT NOT NULL,
  image TEXT NOT NULL,
  image_id TEXT NOT NULL,
  container_id TEXT,
  memory INTEGER,
  cpus REAL,
  host_key TEXT,
  created_at TEXT NOT NULL,
  until TEXT,
  ended_at TEXT,
  note TEXT
) STRICT;
CREATE UNIQUE INDEX one_berth_per_name ON berths (owner, name) WHERE state IN ('creating', 'live', 'releasing');
CREATE UNIQUE INDEX one_berth_per_port ON berths (port) WHERE state IN ('creating', 'live', 'releasing');

CREATE TABLE berth_cards (
  berth INTEGER NOT NULL REFERENCES berths (id),
  card INTEGER NOT NULL CHECK (card >= 0),
  held INTEGER NOT NULL DEFAULT 1 CHECK (held IN (0, 1)),
  PRIMARY KEY (berth, card)
) STRICT;
CREATE UNIQUE INDEX one_berth_per_card ON berth_cards (card) WHERE held = 1;

CREATE TRIGGER cards_follow_state AFTER UPDATE OF state ON berths
WHEN NEW.state IN ('released', 'undone')
BEGIN
  UPDATE berth_cards SET held = 0 WHERE berth = NEW.id;
END;
CREATE TRIGGER an_ended_berth_stays_ended BEFORE UPDATE OF state ON berths
WHEN OLD.state IN ('released', 'undone')
BEGIN
  SELECT RAISE(ABORT, 'this berth has ended');
END;

CREATE TABLE events (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  at TEXT NOT NULL,
  kind TEXT NOT NULL,
  actor TEXT NOT NULL,
  owner TEXT,
  berth TEXT,
  text TEXT NOT NULL
) STRICT;
CREATE TRIGGER events_are_never_changed BEFORE UPDATE ON events
BEGIN
  SELECT RAISE(ABORT, 'events are only added');
END;
CREATE TRIGGER events_are_never_removed BEFORE DELETE ON events
BEGIN
  SELECT RAISE(ABORT, 'events are only added');
END;

CREATE TABLE image_probes (
  image_id TEXT PRIMARY KEY,
  probe TEXT NOT NULL,
  probed_at TEXT NOT NULL
) STRICT;
";

/// What is wrong with a berth becomes a code with values instead of a sentence. The number of out-of-memory kills
/// is stored, so that a kill while the agent was down is reported once.
const V2: &str = "
CREATE TABLE conditions (
  berth INTEGER NOT NULL REFERENCES berths (id),
  code TEXT NOT NULL,
  since TEXT NOT NULL,
  cards TEXT NOT NULL CHECK (json_valid(cards)),
  detail TEXT,
  PRIMARY KEY (berth, code)
) STRICT;
CREATE TRIGGER an_ended_berth_has_no_conditions AFTER UPDATE OF state ON berths
WHEN NEW.state IN ('released', 'undone')
BEGIN
  DELETE FROM conditions WHERE berth = NEW.id;
END;
ALTER TABLE berths ADD COLUMN oom_kills INTEGER NOT NULL DEFAULT 0;
UPDATE berths SET note = NULL WHERE state IN ('creating', 'live', 'releasing');
";

/// What administrators decided about cards.
const V3: &str = "
CREATE TABLE rulings (
  card INTEGER PRIMARY KEY CHECK (card >= 0),
  verdict TEXT NOT NULL CHECK (verdict IN ('allow', 'block')),
  why TEXT,
  until TEXT,
  by TEXT NOT NULL,
  since TEXT NOT NULL
) STRICT;
";

/// Indexes for events. Events are never removed, so no query may read all of them. Each index ends with the id.
const V4: &str = "
CREATE INDEX events_of_owner ON events (owner) WHERE owner IS NOT NULL;
CREATE INDEX events_of_actor_about_berth ON events (owner, berth, actor) WHERE berth IS NOT NULL;
CREATE INDEX berths_requested ON events (owner, berth) WHERE kind = 'berth.requested';
";

/// Berths can be stopped and started. A CHECK of the table lists the states, so the table is made anew. `holdings`
/// says who had which card from when to when, `tickets` who waits for cards.
const V5: &str = "
CREATE TABLE berths_5 (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  owner TEXT NOT NULL REFERENCES users (name),
  name TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN
    ('creating', 'starting', 'live', 'stopping', 'stopped', 'releasing', 'released', 'undone')),
  port INTEGER NOT NULL CHECK (port BETWEEN 1 AND 65535),
  ssh_user TEXT NOT NULL,
  image TEXT NOT NULL,
  image_id TEXT NOT NULL,
  container_id TEXT,
  memory INTEGER,
  cpus REAL,
  host_key TEXT,
  created_at TEXT NOT NULL,
  until TEXT,
  ended_at TEXT,
  note TEXT,
  oom_kills INTEGER NOT NULL DEFAULT 0,
  size INTEGER NOT NULL DEFAULT 0 CHECK (size >= 0),
  lease INTEGER CHECK (lease > 0),
  unattended INTEGER NOT NULL DEFAULT 0 CHECK (unattended IN (0, 1)),
  live_at TEXT,
  told_left INTEGER,
  renewals INTEGER NOT NULL DEFAULT 0 CHECK (renewals >= 0),
  asked_at TEXT,
  stops_at TEXT,
  stop_reason TEXT,
  stopped_at TEXT,
  kept_until TEXT
) STRICT;
INSERT INTO berths_5 (id, owner, name, state, port, ssh_user, image, image_id, container_id, memory, cpus, host_key,
    created_at, until, ended_at, note, oom_kills, size, lease, live_at)
  SELECT id, owner, name, state, port, ssh_user, image, image_id, container_id, memory, cpus, host_key,
    created_at, until, ended_at, note, oom_kills,
    (SELECT count(*) FROM berth_cards WHERE berth = berths.id),
    max(1, unixepoch(until) - unixepoch(created_at)),
    CASE WHEN state = 'live' THEN created_at END
  FROM berths;
DELETE FROM sqlite_sequence WHERE name = 'berths_5';
INSERT INTO sqlite_sequence (name, seq) SELECT 'berths_5', seq FROM sqlite_sequence WHERE name = 'berths';
DROP TABLE berths;
ALTER TABLE berths_5 RENAME TO berths;
CREATE UNIQUE INDEX one_berth_per_name ON berths (owner, name) WHERE state NOT IN ('released', 'undone');
CREATE UNIQUE INDEX one_berth_per_port ON berths (port) WHERE state NOT IN ('released', 'undone');
CREATE INDEX berths_that_stand ON berths (id) WHERE state NOT IN ('released', 'undone');

CREATE TABLE holdings (
  id INTEGER PRIMARY KEY,
  berth INTEGER NOT NULL REFERENCES berths (id),
  card INTEGER NOT NULL CHECK (card >= 0),
  since TEXT NOT NULL,
  until TEXT
) STRICT;
CREATE INDEX holdings_of_berth ON holdings (berth);
CREATE UNIQUE INDEX one_holder_per_card ON holdings (card) WHERE until IS NULL;
INSERT INTO holdings (berth, card, since, until)
  SELECT berth, card, created_at, ended_at FROM berth_cards JOIN berths ON berth = berths.id ORDER BY berth, card;

CREATE TRIGGER cards_follow_state AFTER UPDATE OF state ON berths
WHEN NEW.state IN ('stopped', 'released', 'undone')
BEGIN
  UPDATE berth_cards SET held = 0 WHERE berth = NEW.id;
END;
CREATE TRIGGER an_ended_berth_stays_ended BEFORE UPDATE OF state ON berths
WHEN OLD.state IN ('released', 'undone')
BEGIN
  SELECT RAISE(ABORT, 'this berth has ended');
END;
CREATE TRIGGER a_berth_that_stands_still_has_no_conditions AFTER UPDATE OF state ON berths
WHEN NEW.state IN ('stopped', 'released', 'undone')
BEGIN
  DELETE FROM conditions WHERE berth = NEW.id;
END;
CREATE TRIGGER no_cards_without_a_holding AFTER UPDATE OF state ON berths
WHEN NEW.state IN ('stopped', 'released', 'undone')
  AND EXISTS (SELECT 1 FROM holdings WHERE berth = NEW.id AND until IS NULL)
BEGIN
  SELECT RAISE(ABORT, 'a holding of this berth was not ended');
END;

CREATE TABLE tickets (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  owner TEXT NOT NULL REFERENCES users (name),
  berth TEXT,
  wish TEXT NOT NULL CHECK (json_valid(wish)),
  lease INTEGER,
  since TEXT NOT NULL,
  overtaken INTEGER NOT NULL DEFAULT 0 CHECK (overtaken >= 0)
) STRICT;
";

/// Fair share looks at what was given back in the last days. `moves`: whose files go on in another container. A ticket
/// with a `request` waits without a connection; the berth that it becomes remembers it until it is live, and has to be
/// used by `confirm_by`. `berth logs` looks at what happened to one berth, under each of its names. `snapshots` are images
/// that users made of their berths, `user_limits` what each may have at once.
/// `usage`: milliseconds that cards were used, and idle while others waited; `holdings` has how long they were held.
/// `messages`: what the owner of each live berth was last told.
const V6: &str = "
CREATE INDEX holdings_by_end ON holdings (until);

ALTER TABLE berths ADD COLUMN keeps INTEGER NOT NULL DEFAULT 0 CHECK (keeps >= 0);
ALTER TABLE berths ADD COLUMN lock TEXT CHECK (json_valid(lock));
ALTER TABLE berths ADD COLUMN confirm INTEGER CHECK (confirm > 0);
ALTER TABLE berths ADD COLUMN confirm_by TEXT;
CREATE INDEX berths_to_confirm ON berths (confirm_by) WHERE confirm_by IS NOT NULL;
ALTER TABLE berths ADD COLUMN ticket TEXT CHECK (json_valid(ticket));
ALTER TABLE tickets ADD COLUMN unattended INTEGER NOT NULL DEFAULT 0 CHECK (unattended IN (0, 1));
ALTER TABLE tickets ADD COLUMN request TEXT CHECK (json_valid(request));

CREATE TABLE reservations (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  owner TEXT NOT NULL REFERENCES users (name),
  cards INTEGER NOT NULL CHECK (cards > 0),
  begins TEXT NOT NULL,
  ends TEXT NOT NULL,
  why TEXT NOT NULL,
  by TEXT NOT NULL
) STRICT;

CREATE TABLE moves (
  berth INTEGER PRIMARY KEY REFERENCES berths (id),
  inode INTEGER NOT NULL
) STRICT;
CREATE TRIGGER an_ended_berth_moves_no_more AFTER UPDATE OF state ON berths
WHEN NEW.state IN ('released', 'undone')
BEGIN
  DELETE FROM moves WHERE berth = NEW.id;
END;

CREATE INDEX events_of_berth ON events (owner, berth) WHERE berth IS NOT NULL;

CREATE TABLE earlier_names (
  berth INTEGER NOT NULL REFERENCES berths (id),
  name TEXT NOT NULL,
  until TEXT NOT NULL,
  PRIMARY KEY (berth, name)
) STRICT;

CREATE TABLE snapshots (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  owner TEXT NOT NULL REFERENCES users (name),
  name TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('making', 'ready', 'removing')),
  berth INTEGER NOT NULL REFERENCES berths (id),
  image_id TEXT,
  made_at TEXT NOT NULL,
  sudo INTEGER NOT NULL CHECK (sudo IN (0, 1)),
  users TEXT CHECK (users IS NULL OR json_valid(users)),
  image_user TEXT NOT NULL,
  entrypoint TEXT NOT NULL CHECK (json_valid(entrypoint)),
  UNIQUE (owner, name)
) STRICT;

CREATE TABLE user_limits (
  owner TEXT PRIMARY KEY REFERENCES users (name),
  unlimited INTEGER NOT NULL CHECK (unlimited IN (0, 1)),
  cards INTEGER CHECK (cards >= 0),
  berths INTEGER CHECK (berths >= 0),
  lease INTEGER CHECK (lease > 0),
  memory INTEGER CHECK (memory >= 0),
  by TEXT NOT NULL,
  since TEXT NOT NULL
) STRICT;

CREATE TABLE usage (
  day TEXT NOT NULL,
  owner TEXT NOT NULL REFERENCES users (name),
  image TEXT NOT NULL,
  card INTEGER NOT NULL CHECK (card >= 0),
  used INTEGER NOT NULL CHECK (used >= 0),
  idle_wanted INTEGER NOT NULL CHECK (idle_wanted >= 0),
  PRIMARY KEY (day, owner, image, card)
) STRICT, WITHOUT ROWID;

CREATE TABLE messages (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  berth INTEGER NOT NULL UNIQUE REFERENCES berths (id),
  at TEXT NOT NULL,
  text TEXT NOT NULL
) STRICT;
CREATE TRIGGER a_berth_that_stands_still_has_no_message AFTER UPDATE OF state ON berths
WHEN NEW.state IN ('stopped', 'released', 'undone')
BEGIN
  DELETE FROM messages WHERE berth = NEW.id;
END;
";

/// `early_releases`: stopped berths whose owners were told that they go because the disk runs full, and when; without a
/// time, those that their owners keep.
/// `next_cards`: exactly these are asked for at the next start of a stopped berth.
/// `told_at`: when a berth told something last, of the events that are gone.
/// `event_summary`: how many events of each kind a month had, for those that are no longer there one by one. Only events
/// up to the mark `events_compacted` of `meta` may be removed, and the mark only rises, with its sums, in one transaction.
const V7: &str = "
CREATE TABLE early_releases (
  berth INTEGER PRIMARY KEY REFERENCES berths (id),
  release_at TEXT
) STRICT;
CREATE TRIGGER an_early_release_is_of_a_stopped_berth AFTER UPDATE OF state ON berths
WHEN NEW.state <> 'stopped'
BEGIN
  DELETE FROM early_releases WHERE berth = NEW.id;
END;
ALTER TABLE berths ADD COLUMN next_cards TEXT CHECK (json_valid(next_cards));
ALTER TABLE berths ADD COLUMN told_at TEXT;

CREATE TABLE event_summary (
  month TEXT NOT NULL,
  owner TEXT NOT NULL,
  actor TEXT NOT NULL,
  kind TEXT NOT NULL,
  count INTEGER NOT NULL CHECK (count > 0),
  PRIMARY KEY (month, owner, actor, kind)
) STRICT, WITHOUT ROWID;
DROP TRIGGER events_are_never_removed;
CREATE TRIGGER events_are_removed_when_they_are_counted BEFORE DELETE ON events
WHEN OLD.id > coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'events_compacted'), 0)
BEGIN
  SELECT RAISE(ABORT, 'events are only added');
END;
CREATE TRIGGER a_summary_is_never_removed BEFORE DELETE ON event_summary
BEGIN
  SELECT RAISE(ABORT, 'what was counted stays');
END;
CREATE TRIGGER a_summary_only_grows BEFORE UPDATE ON event_summary
WHEN NEW.count < OLD.count
BEGIN
  SELECT RAISE(ABORT, 'what was counted stays');
END;
";

/// Brings a ledger to [`VERSION`], or refuses one that is newer than this program.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), LedgerError> {
    let found = refuse_newer(connection)?;
    // A table that others refer to is made anew in some migrations; inside a transaction this cannot be switched.
    connection.pragma_update(None, "foreign_keys", false)?;
    for (version, statements) in MIGRATIONS.iter().filter(|(version, _)| *version > found) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(statements)?;
        if transaction.prepare("PRAGMA foreign_key_check")?.exists([])? {
            return Err(LedgerError::Corrupt(format!(
                "schema {version} would leave a reference that leads nowhere"
            )));
        }
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
    }
    connection.pragma_update(None, "foreign_keys", true)?;
    Ok(())
}

/// The version of the ledger's schema. An error when it is newer than [`VERSION`].
pub(super) fn refuse_newer(connection: &Connection) -> Result<i32, LedgerError> {
    let found: i32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > VERSION { Err(LedgerError::Newer { found, known: VERSION }) } else { Ok(found) }
}
