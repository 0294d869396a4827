//! One session channel as a state machine: a client's request goes in, an answer and orders come out. Pure: no I/O.
//!
//! A second machine, [`Ending`], says when the output of a program that has exited is complete.

use super::environment::{Environment, client_may_set};
use std::path::PathBuf;
use std::time::Duration;

/// The size of a terminal, in characters and pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::ssh) struct Size {
    pub(in crate::ssh) columns: u16,
    pub(in crate::ssh) rows: u16,
    pub(in crate::ssh) width: u16,
    pub(in crate::ssh) height: u16,
}

/// What a client asks of its channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ssh) enum ChannelEvent {
    /// A terminal was asked for and could, or could not, be opened.
    Terminal {
        opened: bool,
        term: String,
    },
    Variable {
        name: String,
        value: String,
    },
    Shell,
    Command(Vec<u8>),
    /// A subsystem by its name.
    Subsystem(String),
    Resize(Size),
    /// A signal by its name, without `SIG`.
    Signal(String),
    /// The client no longer reads the program's output.
    OutputUnread,
    EndOfData,
    /// A socket that leads to the client's agent was made.
    Agent(PathBuf),
}

/// What the channel's task has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ssh) enum Order {
    Start(ProgramPlan),
    Resize(Size),
    Signal(String),
    CloseOutput,
    EndInput,
}

/// What a session runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ssh) enum What {
    LoginShell,
    /// For the shell to run.
    Command(Vec<u8>),
    /// The SFTP server. It runs without a shell, and without a terminal, which would change bytes.
    Sftp,
}

/// The program of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ssh) struct ProgramPlan {
    pub(in crate::ssh) what: What,
    pub(in crate::ssh) has_terminal: bool,
    /// What the client set, and `TERM`.
    pub(in crate::ssh) environment: Environment,
}

/// An answer to the client, and at most one order.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::ssh) struct Reply {
    pub(in crate::ssh) accepted: bool,
    pub(in crate::ssh) order: Option<Order>,
}

const NO: Reply = Reply { accepted: false, order: None };
const YES: Reply = Reply { accepted: true, order: None };

fn order(order: Order) -> Reply {
    Reply { accepted: true, order: Some(order) }
}

#[derive(Debug, Default)]
pub(in crate::ssh) struct Session {
    phase: Phase,
    has_terminal: bool,
    environment: Environment,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Preparing,
    Running,
    InputEnded,
}

impl Session {
    /// Whether a terminal may be opened now: once, and before the program starts.
    pub(in crate::ssh) fn wants_terminal(&self) -> bool {
        self.phase == Phase::Preparing && !self.has_terminal
    }

    /// Whether no program runs yet.
    pub(in crate::ssh) fn is_preparing(&self) -> bool {
        self.phase == Phase::Preparing
    }

    /// Whether data from the client goes to a program.
    pub(in crate::ssh) fn takes_input(&self) -> bool {
        self.phase == Phase::Running
    }

    pub(in crate::ssh) fn on(&mut self, event: ChannelEvent) -> Reply {
        match self.phase {
            Phase::Preparing => self.prepare(event),
            Phase::Running | Phase::InputEnded => self.run(event),
        }
    }

    fn prepare(&mut self, event: ChannelEvent) -> Reply {
        match event {
            ChannelEvent::Terminal { opened, term } if opened && !self.has_terminal => {
                self.has_terminal = true;
                if client_may_set("TERM", &term, &self.environment).is_ok() && !term.is_empty() {
                    self.environment.insert("TERM".into(), term.into());
                }
                YES
            }
            ChannelEvent::Variable { name, value }
                if client_may_set(&name, &value, &self.environment).is_ok() =>
            {
                self.environment.insert(name.into(), value.into());
                YES
            }
            ChannelEvent::Agent(socket) => {
                self.environment.insert("SSH_AUTH_SOCK".into(), socket.into());
                YES
            }
            ChannelEvent::Resize(size) if self.has_terminal => order(Order::Resize(size)),
            ChannelEvent::Shell => self.start(What::LoginShell),
            ChannelEvent::Command(command) => self.start(What::Command(command)),
            ChannelEvent::Subsystem(name) if name == "sftp" => self.start(What::Sftp),
            _ => NO,
        }
    }

    fn start(&mut self, what: What) -> Reply {
        self.phase = Phase::Running;
        let environment = std::mem::take(&mut self.environment);
        self.has_terminal &= what != What::Sftp;
        order(Order::Start(ProgramPlan { what, has_terminal: self.has_terminal, environment }))
    }

    fn run(&mut self, event: ChannelEvent) -> Reply {
        match event {
            ChannelEvent::Resize(size) if self.has_terminal => order(Order::Resize(size)),
            ChannelEvent::Signal(name) => order(Order::Signal(name)),
            ChannelEvent::OutputUnread => order(Order::CloseOutput),
            ChannelEvent::EndOfData if self.phase == Phase::Running => {
                self.phase = Phase::InputEnded;
                order(Order::EndInput)
            }
            _ => NO,
        }
    }
}

/// When the output of a terminal whose shell has exited is done.
///
/// A child that it left in the background may hold the terminal open for days. Everything that was in it at the
/// exit is delivered, however slow the client; then it is given up when it has been quiet for [`Ending::QUIET`],
/// or, if it never is, after [`Ending::LIMIT`] and more bytes than it can hold.
#[derive(Debug, Default)]
pub(in crate::ssh) struct Ending {
    after_exit: usize,
}

impl Ending {
    pub(in crate::ssh) const QUIET: Duration = Duration::from_millis(300);
    pub(in crate::ssh) const LIMIT: Duration = Duration::from_secs(2);
    /// The most that a pipe holds (`/proc/sys/fs/pipe-max-size` as it comes).
    const PIPE: usize = 1 << 20;

    /// Counts output. `since_exit` is `None` while the program runs. Returns whether to go on reading.
    pub(in crate::ssh) fn goes_on(&mut self, bytes: usize, since_exit: Option<Duration>) -> bool {
        let Some(since_exit) = since_exit else { return true };
        self.after_exit = self.after_exit.saturating_add(bytes);
        self.after_exit <= Self::PIPE || since_exit < Self::LIMIT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terminal() -> ChannelEvent {
        ChannelEvent::Terminal { opened: true, term: "xterm".into() }
    }

    #[test]
    fn a_shell_with_a_terminal() {
        let mut session = Session::default();
        assert!(session.wants_terminal());
        assert_eq!(session.on(terminal()), YES);
        assert!(!session.wants_terminal());
        assert_eq!(session.on(ChannelEvent::Variable { name: "LANG".into(), value: "C".into() }), YES);
        let Some(Order::Start(plan)) = session.on(ChannelEvent::Shell).order else { panic!("no start") };
        assert!(plan.has_terminal && plan.what == What::LoginShell);
        assert_eq!(plan.environment.len(), 2);
        let size = Size { columns: 100, rows: 40, ..Size::default() };
        assert_eq!(session.on(ChannelEvent::Resize(size)).order, Some(Order::Resize(size)));
        assert!(session.takes_input());
    }

    #[test]
    fn sftp_gets_no_terminal_and_nothing_else_is_a_subsystem() {
        let mut session = Session::default();
        assert_eq!(session.on(terminal()), YES);
        assert_eq!(session.on(ChannelEvent::Subsystem("netconf".into())), NO);
        let Some(Order::Start(plan)) = session.on(ChannelEvent::Subsystem("sftp".into())).order else {
            panic!("no start")
        };
        assert!(!plan.has_terminal && plan.what == What::Sftp);
        assert_eq!(session.on(ChannelEvent::Resize(Size::default())), NO);
    }

    #[test]
    fn only_one_program_a_channel() {
        let mut session = Session::default();
        assert!(session.on(ChannelEvent::Command(b"id".to_vec())).accepted);
        for again in [ChannelEvent::Shell, ChannelEvent::Command(b"id".to_vec()), terminal()] {
            assert_eq!(session.on(again), NO);
        }
    }

    #[test]
    fn nothing_runs_before_its_start() {
        let mut session = Session::default();
        let signal = ChannelEvent::Signal("TERM".into());
        for early in [
            ChannelEvent::EndOfData,
            ChannelEvent::OutputUnread,
            signal,
            ChannelEvent::Resize(Size::default()),
        ] {
            assert_eq!(session.on(early), NO);
        }
        assert_eq!(session.on(ChannelEvent::Terminal { opened: false, term: "x".into() }), NO);
        assert!(session.wants_terminal());
    }

    #[test]
    fn input_ends_once() {
        let mut session = Session::default();
        session.on(ChannelEvent::Command(b"cat".to_vec()));
        assert_eq!(session.on(ChannelEvent::EndOfData).order, Some(Order::EndInput));
        assert_eq!(session.on(ChannelEvent::EndOfData), NO);
        assert!(!session.takes_input());
        assert_eq!(session.on(ChannelEvent::Signal("TERM".into())).order, Some(Order::Signal("TERM".into())));
        assert_eq!(session.on(ChannelEvent::OutputUnread).order, Some(Order::CloseOutput));
    }

    #[test]
    fn forbidden_variables_are_refused() {
        let mut session = Session::default();
        assert_eq!(session.on(ChannelEvent::Variable { name: "LD_PRELOAD".into(), value: "x".into() }), NO);
    }

    #[test]
    fn what_was_in_the_pipe_is_read_however_long_it_takes() {
        let mut ending = Ending::default();
        assert!(ending.goes_on(usize::MAX, None));
        assert!(ending.goes_on(1 << 20, Some(Duration::from_hours(1))));
        assert!(!ending.goes_on(1, Some(Ending::LIMIT)));
        assert!(ending.goes_on(1, Some(Duration::ZERO)));
    }
}
