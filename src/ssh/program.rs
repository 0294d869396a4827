//! The program of a session: starting it as the session user, its streams, its signals.

use super::Account;
use super::auth::Grant;
use super::become_user::{self, Become};
use super::environment::{self, Environment};
use super::server::Berth;
use super::session::{Plan, What};
use super::shell::Shell;
use super::terminal::{Control, Terminal};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Stdio;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::process::Child;

pub(super) type Reader = Box<dyn AsyncRead + Send + Unpin>;
pub(super) type Writer = Box<dyn AsyncWrite + Send + Unpin>;

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
    pub(super) fn of(leader: &Child) -> Self {
        Self(leader.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw))
    }

    pub(super) fn signal(self, signal: Signal) {
        if let Some(pid) = self.0 {
            // It has no group of its own yet, or has just ended; then there is nobody to tell.
            let _ = killpg(pid, signal).or_else(|_| kill(pid, signal));
        }
    }
}

/// The two ends of the connection, for `SSH_CONNECTION`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
}

/// What a session's program is and how it starts: a server inside a berth and the gateway differ in nothing else.
pub(super) trait Launch: Send + Sync + 'static {
    /// Whose session it is, for the log.
    fn who(&self) -> &str;
    /// A file of keys that the program may write to and that opens nothing here.
    fn keys_file(&self) -> Option<PathBuf> {
        None
    }
    fn launch(&self, plan: Plan, terminal: Option<Terminal>) -> Launching<'_>;
}

pub(super) type Launching<'a> = Pin<Box<dyn Future<Output = io::Result<Program>> + Send + 'a>>;

/// Starts shells and commands inside a berth, as the user of the grant.
pub(super) struct Inside {
    pub(super) grant: Grant,
    pub(super) berth: Arc<Berth>,
    pub(super) ends: Ends,
}

impl Launch for Inside {
    fn who(&self) -> &str {
        &self.grant.account().name
    }
    fn keys_file(&self) -> Option<PathBuf> {
        Some(home_of(self.grant.account()).join(".ssh/authorized_keys"))
    }
    fn launch(&self, plan: Plan, terminal: Option<Terminal>) -> Launching<'_> {
        Box::pin(start(&self.grant, &self.berth, self.ends, plan, terminal))
    }
}

async fn start(
    grant: &Grant,
    berth: &Berth,
    ends: Ends,
    plan: Plan,
    terminal: Option<Terminal>,
) -> io::Result<Program> {
    let account = grant.account();
    let terminal = terminal.filter(|_| plan.has_terminal);
    let mut environment = match plan.what {
        // No script of the image stands before it, nor can one break it.
        What::Sftp => base_environment(berth, account),
        What::LoginShell | What::Command(_) => berth.script_environment(account).await,
    };
    environment::append_to_path(&mut environment, &berth.programs);
    environment.extend(plan.environment);
    environment.extend(connection_variables(ends, terminal.as_ref()));
    let mut command = become_for(plan.what, account).with_terminal(terminal.is_some()).command();
    command.envs(&environment);
    let program = spawn(command, terminal)?;
    if let Group(Some(leader)) = program.group {
        berth.sessions.add(leader.as_raw());
    }
    Ok(program)
}

fn become_for(what: What, account: &Account) -> Become {
    let home = home_of(account);
    let shell = Shell::of(account);
    let wanted = match what {
        What::LoginShell => Become::new(account, &home, &shell.path).called(Some(shell.login_name())),
        What::Command(command) => {
            let arguments = shell.command_arguments(OsString::from_vec(command));
            Become::new(account, &home, &shell.path).arguments(arguments)
        }
        What::Sftp => Become::new(account, &home, &become_user::own_program())
            .arguments(["inside", "sftp"].map(Into::into)),
    };
    wanted.with_editors()
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

fn spawn(mut command: tokio::process::Command, terminal: Option<Terminal>) -> io::Result<Program> {
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
    let group = Group::of(&child);
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
