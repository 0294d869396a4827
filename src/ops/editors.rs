//! Editors' servers for nodes without internet: unpacks new archives while the agent runs.

use super::{Caller, Node};
use crate::host::editors;
use anyhow::Result;

impl Node {
    /// Looks for new archives and unpacks them. A bad archive does not affect berths.
    pub async fn prepare_editors(&self) -> Result<()> {
        let (host, dir) = (self.host(), self.settings().config.paths.editors.clone());
        let news = tokio::task::spawn_blocking(move || editors::prepare(&*host, &dir)).await??;
        for new in news {
            let (kind, text) = match new.outcome {
                Ok(tree) => ("editor.added", format!("{} is unpacked as {tree}", new.archive)),
                Err(why) => ("editor.refused", format!("{}: {why}", new.archive)),
            };
            tracing::info!(archive = new.archive, "{kind}: {text}");
            let event = self.event(kind, &Caller::agent().name, text);
            self.ledger(move |ledger| ledger.record(&event)).await?;
        }
        Ok(())
    }
}
