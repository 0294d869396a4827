//! Serves the gateway for as long as the agent runs.

use crate::ops::{Node, supervise};
use crate::ssh::gateway::{Api, Gateway};
use anyhow::{Context as _, Result};
use std::convert::Infallible;
use std::sync::Arc;

const NAME: &str = "gateway";

/// Serves `opened`, the gateway that listens already. When it ends, opens a new one.
pub(super) async fn keep(node: Arc<Node>, opened: Gateway, api: Arc<dyn Api>) -> Infallible {
    let mut opened = Some(opened);
    let telling = node.clone();
    supervise::keep(
        || serve(node.clone(), opened.take(), api.clone()),
        move |why| {
            let node = telling.clone();
            async move { node.task_ended(NAME, why).await }
        },
    )
    .await
}

async fn serve(node: Arc<Node>, opened: Option<Gateway>, api: Arc<dyn Api>) -> Result<()> {
    let gateway = match opened {
        Some(gateway) => gateway,
        None => Gateway::open(&node).await?.context("the config switches the gateway off")?,
    };
    // It ends with the agent; what else ends it is told.
    gateway.serve(api).await
}
