//! What is said of a config that was changed under a running agent.

use super::{Caller, Node};
use crate::error::flatten;
use crate::profile::{Config, load_profile};
use anyhow::Result;

impl Node {
    /// A config that would do counts from the next start; one that would not is named, and the agent goes on with what
    /// it has.
    pub async fn look_at_config(&self, read: Result<Config>) {
        let host = self.host();
        let looked = read.and_then(|config| load_profile(&*host, &config));
        let (kind, text) = match looked {
            Ok(_) => (
                "config.read",
                "config and profile can be read; a change in them counts when the agent starts: systemctl restart \
                 berth (berths go on)"
                    .to_owned(),
            ),
            Err(error) => {
                let fault = flatten(&error);
                ("config.refused", format!("the agent goes on with the config it has: {}", fault.message))
            }
        };
        tracing::info!(kind, text);
        let event = self.event(kind, &Caller::agent().name, text);
        self.record_or_log(event).await;
    }
}
