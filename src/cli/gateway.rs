//! `berth gateway …`: what the gateway starts for a user who logged in there. People do not call it.
//!
//! It changes to the account `nobody` before it does anything else. It splits what the user sent into words and
//! parses them as a command of this program. What the user sent never becomes a program, a path or a line for a
//! shell.

use super::{end, menu, remote};
use crate::error::Fault;
use crate::host::handover;
use crate::model::ports::jump_word;
use crate::ssh::become_nobody;
use anyhow::{Context as _, Result};
use std::ffi::OsString;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;

#[derive(clap::Args)]
#[command(disable_help_subcommand = true)]
pub(crate) struct Args {
    /// Which uid to take, and the group of the same number
    #[arg(long)]
    uid: u32,
    /// As whom and where, as a person types it: USER@NODE
    #[arg(long)]
    login: String,
    /// The gateway's port
    #[arg(long)]
    port: u16,
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Say what can be done
    Help,
    /// Ask what is to be done
    Menu,
    /// Say that the command was no text, or too long
    Unusable,
    /// Run one command
    Run {
        #[arg(allow_hyphen_values = true)]
        line: OsString,
    },
}

/// A user who is logged in at the gateway, for the command that runs for them.
#[derive(Clone)]
pub(crate) struct Visit {
    /// The socket over which the command asks for connections to the agent.
    pub(crate) channel: Arc<UnixStream>,
    login: String,
    port: u16,
}

impl Visit {
    pub(crate) fn user(&self) -> &str {
        self.login.split('@').next().unwrap_or_default()
    }

    /// What a person types to run a command here, such as `ssh USER@NODE`.
    pub(crate) fn prefix(&self) -> String {
        match self.port {
            22 => format!("ssh {}", self.login),
            port => format!("ssh -p {port} {}", self.login),
        }
    }

    /// What goes after `ssh -J`.
    pub(crate) fn jump(&self) -> String {
        let (user, host) = self.login.split_once('@').unwrap_or_default();
        jump_word(user, host, self.port)
    }

    #[cfg(test)]
    pub(crate) fn of(login: &str, port: u16) -> Self {
        let (channel, _) = UnixStream::pair().unwrap();
        Self { channel: Arc::new(channel), login: login.to_owned(), port }
    }
}

pub(crate) fn run(args: Args) -> ExitCode {
    match enter(&args) {
        Ok(visit) => match args.what {
            What::Help => remote::run(&visit, vec!["--help".to_owned()]),
            What::Menu => end(Ok(menu::run(&visit)), |fault| fault),
            What::Unusable => refuse("the command is too long, or no text"),
            What::Run { line } => match words(line) {
                Ok(words) => remote::run(&visit, words),
                Err(fault) => end(Err(fault.into()), |fault| fault),
            },
        },
        Err(error) => end(Err(error), |fault| fault),
    }
}

fn refuse(why: &str) -> ExitCode {
    end(Err(Fault::usage(why).into()), |fault| fault)
}

fn enter(args: &Args) -> Result<Visit> {
    // What only root may do to itself.
    handover::stay_small().context("limiting this process")?;
    become_nobody(args.uid).context("giving up root")?;
    handover::confine().context("giving up rights")?;
    let channel = handover::exchange_stdin().context("taking the session's input")?;
    Ok(Visit { channel: Arc::new(channel), login: args.login.clone(), port: args.port })
}

/// Splits a line into words as a shell would, with quotes and backslashes and nothing else.
fn words(line: OsString) -> Result<Vec<String>, Fault> {
    let line = line.into_string().map_err(|_| Fault::usage("the command is not UTF-8"))?;
    shlex::split(&line).ok_or_else(|| {
        Fault::usage("the command cannot be split into words: a quote or a backslash has no end")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_becomes_words_and_nothing_happens_in_between() {
        let split = |line: &str| words(line.into()).unwrap();
        assert_eq!(split("request --name 'a b' \"c;d\""), ["request", "--name", "a b", "c;d"]);
        assert_eq!(
            split("list; rm -rf / $(id) `id` > x *"),
            ["list;", "rm", "-rf", "/", "$(id)", "`id`", ">", "x", "*"]
        );
        assert_eq!(split(""), Vec::<String>::new());
        for open in ["list 'x", "list \"x", "list \\"] {
            assert!(words(open.into()).unwrap_err().message.contains("has no end"), "{open}");
        }
    }

    #[test]
    fn how_to_get_here() {
        let visit = Visit::of("alice@node1", 2222);
        assert_eq!((visit.user(), visit.prefix().as_str()), ("alice", "ssh -p 2222 alice@node1"));
        assert_eq!(visit.jump(), "alice@node1:2222");
        let other = Visit::of("a@::1", 22);
        assert_eq!((other.prefix().as_str(), other.jump().as_str()), ("ssh a@::1", "a@[::1]"));
    }
}
