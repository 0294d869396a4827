//! `berth inside …`: what runs inside a berth's container. Not for people: the agent and the server call it.

use super::render;
use crate::model::session::SessionConfig;
use crate::ssh::{Become, ServeOptions, become_and_run, environment_as_bytes, probe, serve};
use anyhow::Result;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Serve SSH
    Serve(Serve),
    /// Become the session user and run a program
    Session(Become),
    /// Print this process' environment, separated by NUL
    PrintEnv,
    /// Print what the image has, as JSON
    Probe(Probe),
}

#[derive(clap::Args)]
struct Serve {
    /// Where host_key, authorized_keys and session.json are
    #[arg(long, default_value = "/opt/berth/etc", value_name = "DIR")]
    etc: PathBuf,
    /// Port 0: any, said on standard error
    #[arg(long, default_value = "0.0.0.0:22", value_name = "ADDR:PORT")]
    listen: SocketAddr,
}

#[derive(clap::Args)]
struct Probe {
    /// Session users, in order of preference
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    users: Vec<String>,
    /// The image's USER
    #[arg(long, value_name = "USER")]
    image_user: Option<String>,
}

pub(crate) fn run(args: Args) -> Result<ExitCode> {
    match args.command {
        Command::Serve(args) => {
            log_to_stderr();
            serve(&ServeOptions { etc: args.etc, listen: args.listen })?;
        }
        Command::Session(wanted) => {
            let (status, message) = become_and_run(wanted);
            render::note(&render::printable(&message));
            return Ok(ExitCode::from(status));
        }
        Command::PrintEnv => render::bytes(&environment_as_bytes()),
        Command::Probe(args) => {
            let config =
                SessionConfig { users: args.users, image_user: args.image_user, ..SessionConfig::default() };
            render::json(&probe(&config))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// `BERTH_LOG`, not `RUST_LOG`: the image's environment is here, and people set the latter for their own programs.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("BERTH_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
}
