//! Starting the program of a session inside a berth, as the session user.

use super::auth::Grant;
use super::berth::{InsideBerth, base_environment, home_of};
use super::greeting;
use super::shell::Shell;
use crate::ssh::channel::environment::{self, Environment};
use crate::ssh::channel::launch::{Launch, Launching, Program, spawn};
use crate::ssh::channel::session::{ProgramPlan, What};
use crate::ssh::channel::terminal::Terminal;
use crate::ssh::connection::client::Ends;
use crate::ssh::user::account::Account;
use crate::ssh::user::become_user::{self, Become};
use bytes::Bytes;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;

/// Starts shells and commands inside a berth, as the user of the grant.
pub(in crate::ssh) struct Inside {
    pub(in crate::ssh) grant: Grant,
    pub(in crate::ssh) berth: Arc<InsideBerth>,
    pub(in crate::ssh) ends: Ends,
}

impl Launch for Inside {
    fn who(&self) -> &str {
        &self.grant.account().name
    }
    fn keys_file(&self) -> Option<PathBuf> {
        Some(home_of(self.grant.account()).join(".ssh/authorized_keys"))
    }
    fn notices(&self) -> Option<watch::Receiver<Bytes>> {
        Some(self.berth.notices.subscribe())
    }
    fn launch(&self, plan: ProgramPlan, terminal: Option<Terminal>) -> Launching<'_> {
        Box::pin(start(&self.grant, &self.berth, self.ends, plan, terminal))
    }
}

async fn start(
    grant: &Grant,
    berth: &InsideBerth,
    ends: Ends,
    plan: ProgramPlan,
    terminal: Option<Terminal>,
) -> io::Result<Program> {
    let account = grant.account();
    let terminal = terminal.filter(|_| plan.has_terminal);
    let mut environment = match plan.what {
        // No script of the image stands before it, nor can one break it.
        What::Sftp => base_environment(berth, account),
        What::LoginShell | What::Command(_) => berth.script_environment(account).await,
    };
    let greeting = match plan.what {
        What::LoginShell if terminal.is_some() => greeting::for_shell(berth, &home_of(account)).await,
        _ => None,
    };
    environment::append_to_path(&mut environment, &berth.programs);
    environment.extend(plan.environment);
    environment.extend(connection_variables(ends, terminal.as_ref()));
    let mut command = become_for(plan.what, account).with_terminal(terminal.is_some()).command();
    command.envs(&environment);
    let mut program = spawn(command, terminal)?;
    if let Some(leader) = program.group.leader() {
        berth.sessions.add(leader.as_raw());
    }
    if let Some(text) = greeting {
        program = program.after(text);
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
