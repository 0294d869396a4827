//! The program of a session: starting it as the session user, its streams, its signals.

use super::Account;
use super::auth::Grant;
use super::become_user::Become;
use super::environment::{self, Environment};
use super::server::Berth;
use super::session::Plan;
use super::shell::Shell;
use super::terminal::{Control, Terminal};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::process::Child;

type Reader = Box<dyn AsyncRead + Send + Unpin>;
type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// A running program with its streams.
pub(super) struct Program {
    pub(super) child: Child,
    pub(super) input: Writer,
    pub(super) output: Reader,
    /// Apart from the output, unless there is a terminal.
    pub(super) errors: Option<Reader>,
    pub(super) terminal: Option<Control>,
    pub(super) group: Group,
}

/// The program's process group. Valid until the program was waited for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Group(Option<Pid>);

impl Group {
    pub(super) fn signal(self, signal: Signal) {
        if let Some(pid) = self.0 {
            // It may just have ended; then there is nobody to tell.
            let _ = killpg(pid, signal);
        }
    }
}

/// The two ends of the connection, for `SSH_CONNECTION`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
}

/// Starts what the plan says, as the user of the grant.
pub(super) async fn start(
    grant: &Grant,
    berth: &Berth,
    ends: Ends,
    plan: Plan,
    terminal: Option<Terminal>,
) -> io::Result<Program> {
    let account = grant.account();
    let shell = Shell::of(account);
    let home = home_of(account);
    let mut environment = berth.script_environment(account).await;
    environment.extend(plan.environment);
    environment.extend(connection_variables(ends, terminal.as_ref()));
    let wanted = Become::new(account, &home, &shell.path).with_terminal(terminal.is_some());
    let wanted = match plan.command {
        None => wanted.called(Some(shell.login_name())),
        Some(command) => wanted.arguments(shell.command_arguments(OsString::from_vec(command))),
    };
    let program = spawn(&wanted, &environment, terminal)?;
    if let Group(Some(leader)) = program.group {
        berth.sessions.add(leader.as_raw());
    }
    Ok(program)
}

/// Where the session starts; an image without `/etc/passwd` says nothing of homes.
pub(super) fn home_of(account: &Account) -> PathBuf {
    account.home.clone().unwrap_or_else(|| {
        let root_home = Path::new("/root");
        if account.uid == 0 && root_home.is_dir() { root_home.into() } else { "/".into() }
    })
}

/// What a session of this account starts from, before any script.
pub(super) fn base_environment(berth: &Berth, account: &Account) -> Environment {
    environment::base(
        &berth.container,
        &berth.config.environment,
        account,
        &home_of(account),
        &Shell::of(account).path,
    )
}

fn connection_variables(ends: Ends, terminal: Option<&Terminal>) -> Environment {
    let (peer, local) = (ends.peer, ends.local);
    let client = format!("{} {} {}", peer.ip().to_canonical(), peer.port(), local.port());
    let connection = format!(
        "{} {} {} {}",
        peer.ip().to_canonical(),
        peer.port(),
        local.ip().to_canonical(),
        local.port()
    );
    let mut variables = Environment::new();
    variables.insert("SSH_CLIENT".into(), client.into());
    variables.insert("SSH_CONNECTION".into(), connection.into());
    if let Some(terminal) = terminal {
        variables.insert("SSH_TTY".into(), terminal.name.clone());
    }
    variables
}

fn spawn(wanted: &Become, environment: &Environment, terminal: Option<Terminal>) -> io::Result<Program> {
    let mut command = wanted.command();
    command.envs(environment);
    let control = if let Some(terminal) = terminal {
        command.stdin(terminal.user_end.try_clone()?).stdout(terminal.user_end.try_clone()?);
        command.stderr(terminal.user_end);
        Some(terminal.control)
    } else {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        None
    };
    let mut child = command.spawn()?;
    // Our copies of the terminal's other end must go, or its end would never be seen.
    drop(command);
    let group = Group(child.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw));
    let missing = || io::Error::other("a stream is missing");
    let (input, output, errors): (Writer, Reader, Option<Reader>) = if let Some(control) = &control {
        let (input, output) = control.streams()?;
        (Box::new(input), Box::new(output), None)
    } else {
        (
            Box::new(child.stdin.take().ok_or_else(missing)?),
            Box::new(child.stdout.take().ok_or_else(missing)?),
            Some(Box::new(child.stderr.take().ok_or_else(missing)?)),
        )
    };
    Ok(Program { child, input, output, errors, terminal: control, group })
}
