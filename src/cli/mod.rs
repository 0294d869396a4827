//! The command line: one file a verb (arguments, call, rendering). Parses and renders, nothing else.

mod facts;
mod inside;
mod render;
mod sim;

use crate::error::{ErrorClass, flatten};
use crate::host::RealHost;
use crate::profile::{Config, load_config};
use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "berth", version, about, max_term_width = 80)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command understands.
#[derive(Args, Clone)]
pub(crate) struct Global {
    /// The agent's config file [default: /etc/berth/berth.toml]
    #[arg(long, global = true, env = "BERTH_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long, global = true)]
    json: bool,
}

impl Global {
    pub(crate) fn config(&self) -> Result<Config> {
        load_config(&RealHost::default(), self.config.as_deref())
    }
}

#[derive(Subcommand)]
enum Command {
    /// Show what is on this host: cards, disks, memory, Docker
    Facts(facts::Args),
    /// Switch faults of the simulated node
    Sim(sim::Args),
    /// What runs inside a berth's container
    #[command(hide = true)]
    Inside(inside::Args),
}

/// Parses, runs, prints an error if there is one; the exit code is part of the contract.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() { ErrorClass::Usage.exit_code() } else { 0 };
            // Nothing can be said about a standard error that is closed.
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            let fault = flatten(&error);
            render::error(&fault);
            ExitCode::from(fault.class.exit_code())
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        Command::Facts(args) => facts::run(&cli.global, args),
        Command::Sim(args) => sim::run(&cli.global, args),
        Command::Inside(args) => inside::run(args),
    }
}
