//! Ends the connections of a removed key: the keys are read again at intervals while somebody is logged in.
//!
//! When the keys cannot be read, no connection is ended.

use super::auth;
use super::berth::InsideBerth;
use super::stamp::Stamp;
use crate::ssh::connection::live::Live;
use std::sync::Arc;
use std::time::Duration;

/// One `stat` each.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Watches for ever.
pub(in crate::ssh) async fn watch(berth: Arc<InsideBerth>, live: Arc<Live>) {
    let path = berth.authorized_keys_path();
    let mut seen = None;
    loop {
        live.somebody().await;
        // Before the keys are read: who logs in with older ones is looked at next time.
        let now = (Stamp::of(&path), live.newest());
        if seen != Some(now) {
            match berth.authorized_keys() {
                Ok(text) => {
                    let valid = auth::fingerprints(&text);
                    live.end_invalid(|_, key| valid.contains(key));
                    seen = Some(now);
                }
                Err(error) => tracing::error!("a removed key may still be connected: {error:#}"),
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
