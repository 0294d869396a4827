//! Logs of the long-running commands, to standard error.

use crate::host::terminal;
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Starts logging. `BERTH_LOG` takes the usual filters; `info` is one line for each step, berth and login.
pub(crate) fn start() {
    let filter = EnvFilter::try_from_env("BERTH_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let color = std::io::stderr().is_terminal() && terminal::takes_codes();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(color)
        .with_target(false)
        .with_writer(std::io::stderr)
        .finish();
    // A second call finds the first one's subscriber in place, which is as good.
    let _ = tracing::subscriber::set_global_default(subscriber);
}
