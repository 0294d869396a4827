//! Calls that may wait for cards. Where the agent goes away meanwhile, as at an upgrade, the wait goes on with the next one.

use super::progress::Shown;
use crate::agent::client::Client;
use crate::error::{FaultKind, kind_of};
use crate::ops::Progress;
use anyhow::Result;
use hyper::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long an agent may be away. The next one keeps the place in the queue for a minute after it came.
const PATIENCE: Duration = Duration::from_mins(2);
const PAUSE: Duration = Duration::from_millis(500);

/// `body` makes the call's body from how many seconds are left to wait, and the ticket that it waits with by now.
pub(super) async fn in_queue<T: DeserializeOwned, B: Serialize>(
    client: &Client,
    path: &str,
    wait: u64,
    body: impl Fn(u64, Option<i64>) -> B,
) -> Result<T> {
    let deadline = Instant::now() + Duration::from_secs(wait);
    let (mut shown, mut ticket) = (Shown::new(), None);
    let mut away_since = None;
    loop {
        let mut is_heard = false;
        // Rounded up: a second too many waits, one too few does not.
        let left = deadline.duration_since(Instant::now()) + Duration::from_millis(999);
        let asked = body(left.as_secs(), ticket);
        let answer = client.stream(Method::POST, path, Some(&asked), |progress| {
            is_heard = true;
            if let Progress::Step { ticket: Some(id), .. } = &progress {
                ticket = Some(*id);
            }
            shown.show(progress);
        });
        let error = match answer.await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        if is_heard {
            away_since = None;
        }
        let now = Instant::now();
        let since = *away_since.get_or_insert(now);
        if ticket.is_none()
            || kind_of(&error) != FaultKind::AgentAway
            || now >= deadline
            || now - since > PATIENCE
        {
            return Err(error);
        }
        shown.show(Progress::Step {
            text: "the agent is away; waiting goes on when it is back".into(),
            ticket,
        });
        sleep(PAUSE).await;
    }
}
