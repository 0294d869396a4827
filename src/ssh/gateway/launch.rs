//! Starts a command of the gateway: this same program, which becomes `nobody`, with a channel to the agent in the
//! name of the user.
//!
//! The child starts as root and gives that up before it does anything else. If it were started as `nobody`, every
//! process of that uid could look into it, and take its channel, until it had closed itself off. What the client
//! sent is one argument, which the child splits into words. It never becomes a program or a line for a shell.

use super::gate::Gate;
use super::login::Pass;
use super::places::{Kind, Taken};
use crate::host::handover::send_descriptor;
use crate::model::places::Full;
use crate::ssh::channel::launch::{Group, Launch, Launching, Program, Reader, Writer};
use crate::ssh::channel::session::{ProgramPlan, What};
use crate::ssh::channel::terminal::Terminal;
use crate::ssh::user::become_user::own_program;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::sync::Arc;
use tokio::net::unix::pipe;
use tokio::process::Command;
use tokio::sync::watch;

/// Longer than any command of ours; the kernel takes no argument beyond 128 KiB.
const COMMAND_LIMIT: usize = 16 << 10;

/// One session's command.
pub(super) struct Remote {
    pub(super) gate: Arc<Gate>,
    pub(super) pass: Pass,
    /// Closed when the connection has ended, and with it the channel.
    pub(super) connected: watch::Receiver<()>,
    /// Held as long as the session is.
    pub(super) _taken: Taken,
}

impl Remote {
    /// `Full` when there are too many of them.
    pub(super) fn new(gate: &Arc<Gate>, pass: Pass, connected: watch::Receiver<()>) -> Result<Self, Full> {
        let taken = gate.places.take(pass.user(), Kind::Command)?;
        Ok(Self { gate: Arc::clone(gate), pass, connected, _taken: taken })
    }
}

impl Launch for Remote {
    fn who(&self) -> &str {
        self.pass.user()
    }

    fn launch(&self, plan: ProgramPlan, terminal: Option<Terminal>) -> Launching<'_> {
        Box::pin(async move {
            let (channel, theirs) = UnixStream::pair()?;
            let mut command = self.command(&plan);
            command.envs(&plan.environment).stdin(OwnedFd::from(theirs));
            if let Some(terminal) = &terminal {
                terminal.close_to_others()?;
            }
            let (program, stdin) = spawn(command, terminal)?;
            send_descriptor(&channel, stdin.as_fd())?;
            self.gate.api.serve(self.pass.user(), channel, self.connected.clone());
            Ok(program)
        })
    }
}

impl Remote {
    fn command(&self, plan: &ProgramPlan) -> Command {
        let uid = self.gate.node.settings().config.ssh.gateway_uid;
        let login = format!("{}@{}", self.pass.user(), self.gate.node.ssh_host());
        #[allow(clippy::disallowed_methods, reason = "starts this program alone, which becomes nobody")]
        let mut command = Command::new(own_program());
        command.arg0("berth").env_clear().current_dir("/");
        command.args(["gateway", "--uid"]).arg(uid.to_string());
        command.arg("--login").arg(login).arg("--port").arg(self.gate.port.to_string()).args(words(plan));
        command
    }
}

/// What the child is to do.
fn words(plan: &ProgramPlan) -> Vec<OsString> {
    match &plan.what {
        What::LoginShell if plan.has_terminal => vec!["menu".into()],
        What::LoginShell => vec!["help".into()],
        What::Command(line) if line.len() <= COMMAND_LIMIT && !line.contains(&0) => {
            vec!["run".into(), "--".into(), OsString::from_vec(line.clone())]
        }
        What::Command(_) | What::Sftp => vec!["unusable".into()],
    }
}

/// Starts it; the descriptor is its standard input, which goes over the channel.
fn spawn(mut command: Command, terminal: Option<Terminal>) -> io::Result<(Program, OwnedFd)> {
    let Some(terminal) = terminal else {
        let (stdin, input) = io::pipe()?;
        let input: Writer = Box::new(pipe::Sender::from_owned_fd(input.into())?);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let missing = || io::Error::other("a stream is missing");
        let output: Reader = Box::new(child.stdout.take().ok_or_else(missing)?);
        let errors: Reader = Box::new(child.stderr.take().ok_or_else(missing)?);
        let group = Group::of(&child);
        let program = Program { child, input, output, errors: Some(errors), terminal: None, group };
        return Ok((program, stdin.into()));
    };
    command.stdout(terminal.user_end.try_clone()?).stderr(terminal.user_end.try_clone()?);
    let child = command.spawn()?;
    // Our copies of the terminal's other end must go, or its end would never be seen.
    drop(command);
    let (input, output) = terminal.control.streams()?;
    let group = Group::of(&child);
    let program = Program {
        child,
        input: Box::new(input),
        output: Box::new(output),
        errors: None,
        terminal: Some(terminal.control),
        group,
    };
    Ok((program, terminal.user_end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn plan(command: Option<&[u8]>, has_terminal: bool) -> ProgramPlan {
        let what = command.map_or(What::LoginShell, |line| What::Command(line.to_vec()));
        ProgramPlan { what, has_terminal, environment: BTreeMap::default() }
    }

    #[test]
    fn what_a_client_sends_stays_one_argument() {
        assert_eq!(words(&plan(None, true)), ["menu"]);
        assert_eq!(words(&plan(None, false)), ["help"]);
        let line = b"list; rm -rf / --config /etc/shadow";
        assert_eq!(words(&plan(Some(line), true)), ["run", "--", "list; rm -rf / --config /etc/shadow"]);
        for bad in [&b"list\0x"[..], &vec![b'x'; COMMAND_LIMIT + 1]] {
            assert_eq!(words(&plan(Some(bad), false)), ["unusable"]);
        }
    }
}
