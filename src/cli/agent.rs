//! `berth agent`: the daemon.

use super::{Global, logging};
use crate::agent;
use crate::host::RealHost;
use crate::profile::load_config;
use anyhow::{Context, Result};
use std::path::Path;
use std::process::ExitCode;

/// Run the daemon: ledger, reconciler, unix-socket API
#[derive(clap::Args)]
#[command(after_long_help = "\
It runs in the foreground and logs to standard error; systemd starts it on a
server. Containers go on when it stops. BERTH_LOG=debug shows its decisions.

Example:
  sudo berth agent --config /etc/berth/berth.toml")]
pub(crate) struct Args {}

pub(crate) fn run(global: &Global, _args: Args) -> Result<ExitCode> {
    let config = global.config()?;
    let named = global.config.clone();
    let reread = move || {
        let named = named.as_ref().filter(|path| !path.is_empty()).map(Path::new);
        load_config(&RealHost::default(), named)
    };
    logging::start();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        // Ledger, npu-smi and /proc; each waits for a disk or a program, not for a CPU. Twice as many as cards can hang
        // on somebody's storage at once; more of them only cost memory, which glibc keeps for each thread.
        .max_blocking_threads(16)
        .enable_all()
        .build()
        .context("starting the runtime")?
        .block_on(agent::run(config, Box::new(reread)))?;
    Ok(ExitCode::SUCCESS)
}
