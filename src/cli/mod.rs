//! The command line: one file for each verb (arguments, call, rendering). It parses and renders, and decides
//! nothing.

mod agent;
mod berths;
mod bootstrap;
mod call;
mod card;
mod cards;
mod check;
mod events;
mod facts;
mod gateway;
mod idle;
mod image;
mod inside;
mod keep;
mod logging;
mod logs;
mod menu;
mod progress;
mod queue;
mod remote;
mod rename;
mod render;
mod renew;
mod request;
mod reserve;
mod resize;
mod sim;
mod snapshot;
mod ssh;
mod ssh_config;
mod start;
mod usage;
mod user;
mod waiting;

pub use inside::run_as_scp;

use crate::accel::{self, Accelerator};
use crate::error::{ErrorClass, Fault, flatten};
use crate::host::RealHost;
use crate::profile::{Config, DEFAULT_CONFIG, Profile, load_config};
use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
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
    // As text, because an empty variable means that it is not set.
    #[arg(long, global = true, env = "BERTH_CONFIG", value_name = "FILE", hide_env_values = true)]
    #[arg(value_parser = clap::builder::OsStringValueParser::new())]
    config: Option<OsString>,
    /// Print the result as JSON
    #[arg(long, global = true)]
    json: bool,
    /// The user at the gateway for whom this command runs; `None` on the node itself.
    #[arg(skip)]
    visit: Option<gateway::Visit>,
}

impl Global {
    /// The global options of a command that runs for a user at the gateway.
    fn of_visit(visit: gateway::Visit, json: bool) -> Self {
        Self { config: None, json, visit: Some(visit) }
    }

    /// The path of the config file, whether or not it exists.
    pub(crate) fn config_path(&self) -> PathBuf {
        let named = self.config.as_ref().filter(|path| !path.is_empty());
        let path = named.map_or_else(|| PathBuf::from(DEFAULT_CONFIG), PathBuf::from);
        // Fails only without a current directory, where a relative path leads nowhere anyway.
        std::path::absolute(&path).unwrap_or(path)
    }

    pub(crate) fn config(&self) -> Result<Config> {
        if self.visit.is_some() {
            // A command that is offered at the gateway reads no file of the node.
            return Err(Fault::bug("a command of the gateway asked for the config").into());
        }
        let named = self.config.as_ref().filter(|path| !path.is_empty()).map(Path::new);
        load_config(&RealHost::default(), named)
    }
}

#[derive(Subcommand)]
enum Command {
    Facts(facts::Args),
    Bootstrap(bootstrap::Args),
    Check(check::Args),
    Agent(agent::Args),
    User(user::Args),
    Image(image::Args),
    Request(request::Args),
    List(berths::ListArgs),
    Show(berths::ShowArgs),
    Cards(cards::Args),
    Card(card::Args),
    Logs(logs::Args),
    Ssh(ssh::SshArgs),
    SshConfig(ssh_config::Args),
    Rename(rename::Args),
    Resize(resize::Args),
    Renew(renew::Args),
    Queue(queue::Args),
    Cancel(queue::CancelArgs),
    Reserve(reserve::Args),
    Usage(usage::Args),
    Stop(start::StopArgs),
    Start(start::StartArgs),
    Keep(keep::KeepArgs),
    Lock(keep::LockArgs),
    Unlock(keep::UnlockArgs),
    Snapshot(snapshot::Args),
    Release(berths::ReleaseArgs),
    Events(events::Args),
    Sim(sim::Args),
    /// What runs inside a berth's container
    #[command(hide = true)]
    Inside(inside::Args),
    /// What the gateway runs for a user
    #[command(hide = true)]
    Gateway(gateway::Args),
}

/// Parses and runs the command, and prints its error if there is one. The exit code is part of the contract with
/// scripts.
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
    end(run(cli), |fault| fault)
}

/// The exit code for this result. An error is first changed by `say`, then printed.
fn end(result: Result<ExitCode>, say: impl FnOnce(Fault) -> Fault) -> ExitCode {
    match result.and_then(|code| Ok(render::check_written().map(|()| code)?)) {
        Ok(code) => code,
        Err(error) => {
            let fault = say(flatten(&error));
            render::error(&fault);
            ExitCode::from(fault.class.exit_code())
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode> {
    let global = &cli.global;
    match cli.command {
        Command::Bootstrap(args) => bootstrap::run(global, args),
        Command::Facts(args) => facts::run(global, args),
        Command::Check(args) => check::run(global, args),
        Command::Agent(args) => agent::run(global, args),
        Command::User(args) => user::run(global, args),
        Command::Image(args) => image::run(global, args),
        Command::Request(args) => request::run(global, args),
        Command::List(args) => berths::list(global, args),
        Command::Show(args) => berths::show(global, args),
        Command::Cards(args) => cards::run(global, args),
        Command::Card(args) => card::run(global, args),
        Command::Logs(args) => logs::run(global, &args),
        Command::Ssh(args) => ssh::connect(global, args),
        Command::SshConfig(args) => ssh_config::run(global, args),
        Command::Resize(args) => resize::run(global, &args),
        Command::Rename(args) => rename::run(global, args),
        Command::Renew(args) => renew::run(global, args),
        Command::Queue(args) => queue::run(global, &args),
        Command::Cancel(args) => queue::cancel(global, &args),
        Command::Reserve(args) => reserve::run(global, args),
        Command::Keep(args) => keep::keep(global, args),
        Command::Lock(args) => keep::lock(global, args),
        Command::Unlock(args) => keep::unlock(global, args),
        Command::Usage(args) => usage::run(global, &args),
        Command::Stop(args) => start::stop(global, args),
        Command::Start(args) => start::start(global, args),
        Command::Snapshot(args) => snapshot::run(global, args),
        Command::Release(args) => berths::release(global, args),
        Command::Events(args) => events::run(global, args),
        Command::Sim(args) => sim::run(global, args),
        Command::Inside(args) => inside::run(args),
        Command::Gateway(args) => Ok(gateway::run(args)),
    }
}

/// Changes config and profile to where the node's cards are, for a command that only looks. Returns the kind of
/// card.
fn cards_of(host: &RealHost, config: &mut Config, profile: &mut Profile) -> Result<&'static dyn Accelerator> {
    let accel = accel::of(profile);
    accel::attach(accel, config, profile)?;
    if let Some(text) = accel.unprepared(host, config) {
        render::note(text);
    }
    Ok(accel)
}
