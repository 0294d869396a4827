//! What a look into an image found, kept by the image's id: an image never changes under its id.

use super::Ledger;
use crate::error::Fault;
use jiff::Timestamp;
use rusqlite::{OptionalExtension, params};

impl Ledger {
    pub fn image_probe(&self, image_id: &str) -> Result<Option<String>, Fault> {
        self.read(|connection| {
            connection
                .prepare_cached("SELECT probe FROM image_probes WHERE image_id = ?1")?
                .query_row([image_id], |row| row.get(0))
                .optional()
        })
    }

    pub fn keep_image_probe(&self, image_id: &str, probe: &str, now: Timestamp) -> Result<(), Fault> {
        self.alter(None, |transaction| {
            transaction.execute(
                "INSERT INTO image_probes (image_id, probe, probed_at) VALUES (?1, ?2, ?3)
                 ON CONFLICT (image_id) DO UPDATE SET probe = ?2, probed_at = ?3",
                params![image_id, probe, now.to_string()],
            )
        })
    }
}
