//! Keeps a task running for as long as the process runs. When it ends or panics, that is reported and the task is
//! restarted.
//!
//! Without this, a task whose handle nobody reads would end unnoticed, and what it watched would no longer be
//! watched.

use crate::model::text::clean_to;
use anyhow::Result;
use futures_util::FutureExt as _;
use std::any::Any;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

/// The pause before the first restart. It doubles with each further restart,
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// up to this one.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// After the task ran this long, the pauses start from the shortest again.
const CALM: Duration = Duration::from_mins(5);

/// The pauses between restarts.
#[derive(Debug, Clone, Copy)]
struct Pauses(Duration);

impl Pauses {
    /// The pause after a task that ran this long.
    fn after(&mut self, lasted: Duration) -> Duration {
        if lasted >= CALM {
            self.0 = FIRST_PAUSE;
        }
        let pause = self.0;
        self.0 = (pause * 2).min(LONGEST_PAUSE);
        pause
    }
}

/// Makes the task and runs it, again and again. `told` gets the reason each time it has ended, before the pause.
///
/// What the task keeps in memory is made anew each time, because a panic may leave it in any state.
pub async fn keep<Work, Told>(
    mut make: impl FnMut() -> Work,
    mut told: impl FnMut(String) -> Told,
) -> Infallible
where
    Work: Future<Output = Result<()>>,
    Told: Future<Output = ()>,
{
    let mut pauses = Pauses(FIRST_PAUSE);
    loop {
        // Only how long to wait: no decision is counted on this clock.
        let began = tokio::time::Instant::now();
        let ended = caught(async { make().await }).await;
        told(why(ended)).await;
        tokio::time::sleep(pauses.after(began.elapsed())).await;
    }
}

/// The result of the work; an error with the panic's message when it panicked.
pub async fn caught<T>(work: impl Future<Output = T>) -> Result<T, String> {
    let ended = AssertUnwindSafe(work).catch_unwind().await;
    ended.map_err(|panic| format!("it panicked: {}", said(&*panic)))
}

fn why(ended: Result<Result<()>, String>) -> String {
    match ended {
        Ok(Ok(())) => "it ended".into(),
        Ok(Err(error)) => format!("it ended: {error:#}"),
        Err(panicked) => panicked,
    }
}

/// The message of a panic, shortened: it may quote anything.
fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without words");
    clean_to(text, 300)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[test]
    fn pauses_grow_to_a_limit_and_shrink_after_a_calm_time() {
        let mut pauses = Pauses(FIRST_PAUSE);
        let soon = Duration::from_secs(1);
        let first: Vec<u128> = (0..11).map(|_| pauses.after(soon).as_millis()).collect();
        assert_eq!(first, [200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 60_000, 60_000]);
        assert_eq!((pauses.after(CALM), pauses.after(soon)), (FIRST_PAUSE, FIRST_PAUSE * 2));
    }

    #[tokio::test]
    async fn an_end_an_error_and_a_panic_are_told_and_the_work_begins_anew() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let (heard, mut turn) = (told.clone(), 0);
        let (done, finished) = tokio::sync::oneshot::channel::<()>();
        let mut done = Some(done);
        let work = keep(
            move || {
                turn += 1;
                let (turn, done) = (turn, if turn == 4 { done.take() } else { None });
                async move {
                    assert!(turn != 2, "turn {turn}\n\u{1b}[31m");
                    match turn {
                        1 => Ok(()),
                        3 => anyhow::bail!("nobody tells any more"),
                        _ => {
                            drop(done);
                            std::future::pending().await
                        }
                    }
                }
            },
            move |why| {
                heard.lock().unwrap().push(why);
                std::future::ready(())
            },
        );
        tokio::select! {
            never = work => match never {},
            _ = finished => {}
        }
        let told = told.lock().unwrap();
        assert_eq!(
            *told,
            ["it ended", "it panicked: turn 2\u{fffd}\u{fffd}[31m", "it ended: nobody tells any more"]
        );
    }
}
