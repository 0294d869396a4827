//! `berth inside …`: what runs inside a berth's container. The agent and the server call it; people do not.

use super::render;
use crate::model::inside_event::InsideEvent;
use crate::model::inside_traffic::InsideTraffic;
use crate::model::session::SessionConfig;
use crate::ssh::{Become, ServeOptions, SocketOrder, serve_socket};
use crate::ssh::{become_and_run, environment_as_bytes, probe, run_scp, scp_arguments, serve, serve_sftp};
use anyhow::Result;
use std::ffi::OsString;
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
    /// Serve SFTP on standard input and output
    Sftp,
    /// Be the far end of the old scp protocol
    Scp {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARG")]
        arguments: Vec<OsString>,
    },
    /// Make a unix socket and hand it over on standard input
    Socket {
        #[command(subcommand)]
        order: SocketOrder,
    },
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
    /// Programs for images that lack them: the end of the sessions' PATH
    #[arg(long, default_value = "/opt/berth/info/bin", value_name = "DIR")]
    programs: PathBuf,
    /// Where lease.json is
    #[arg(long, default_value = "/opt/berth/info", value_name = "DIR")]
    info: PathBuf,
    /// Where groups of sessions get a name that the image has none for
    #[arg(long, value_name = "FILE", default_value = "/etc/group")]
    group_file: PathBuf,
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
            serve(&ServeOptions {
                etc: args.etc,
                listen: args.listen,
                programs: args.programs,
                info: args.info,
                group_file: args.group_file,
                events: tell,
                traffic: tell_traffic,
            })?;
        }
        Command::Session(wanted) => {
            let (status, message) = become_and_run(wanted);
            render::note(&render::printable(&message));
            return Ok(ExitCode::from(status));
        }
        Command::Sftp => serve_sftp()?,
        Command::Scp { arguments } => return Ok(scp(arguments)),
        Command::Socket { order } => serve_socket(order)?,
        Command::PrintEnv => render::bytes(&environment_as_bytes()),
        Command::Probe(args) => {
            let config =
                SessionConfig { users: args.users, image_user: args.image_user, ..SessionConfig::default() };
            render::json(&probe(&config))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes the event to standard output, where the agent reads it.
fn tell(event: &InsideEvent) {
    if let Some(line) = event.line() {
        render::line(&line);
    }
}

fn tell_traffic(traffic: &InsideTraffic) {
    if let Some(line) = traffic.line() {
        render::line(&line);
    }
}

/// Acts as scp when the program was started under that name.
pub fn run_as_scp() -> Option<ExitCode> {
    scp_arguments().map(scp)
}

fn scp(arguments: Vec<OsString>) -> ExitCode {
    let (status, message) = run_scp(arguments);
    if let Some(message) = message {
        render::note(&render::printable(&message));
    }
    ExitCode::from(status)
}

/// Logs to standard error. It reads `BERTH_LOG` and not `RUST_LOG`, because the image's environment may set
/// `RUST_LOG` for other programs.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("BERTH_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
}
