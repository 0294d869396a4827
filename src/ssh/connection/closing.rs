//! Ends one connection from our side: the reasons, and how the connection's task is told.

use russh::Disconnect;
use std::fmt;
use std::time::Duration;
use tokio::sync::mpsc;

/// Why a connection is ended from our side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ssh) enum Why {
    Crowded,
    NoLogin(Duration),
    Full(u32),
    KeyRemoved,
    Unused(Duration),
    Idle(Duration),
    Silent(Duration),
    /// A new connection needed its place.
    MadeRoom(Duration),
    /// The process has no more room for data that waits for readers, and most of it waits here.
    MostWaits,
    /// The server ends.
    Stopped,
}

impl Why {
    pub(in crate::ssh) fn code(&self) -> Disconnect {
        match self {
            Self::Crowded | Self::Full(_) => Disconnect::TooManyConnections,
            Self::KeyRemoved => Disconnect::NoMoreAuthMethodsAvailable,
            Self::NoLogin(_)
            | Self::Unused(_)
            | Self::Idle(_)
            | Self::Silent(_)
            | Self::MadeRoom(_)
            | Self::MostWaits
            | Self::Stopped => Disconnect::ByApplication,
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = humantime::format_duration;
        match self {
            Self::Crowded => f.write_str("too many connections have not logged in yet: try again"),
            Self::NoLogin(limit) => write!(f, "no login within {}", time(*limit)),
            Self::Full(most) => {
                write!(f, "{most} connections are logged in already: close one and try again")
            }
            Self::KeyRemoved => f.write_str("the key that this connection logged in with was removed"),
            Self::Unused(limit) => write!(f, "no session or forward for {}", time(*limit)),
            Self::Idle(limit) => write!(f, "nothing happened for {}", time(*limit)),
            Self::Silent(limit) => write!(f, "the client did not answer for {}", time(*limit)),
            Self::MadeRoom(silence) => {
                write!(f, "the client did not answer for {}, and another needed its place", time(*silence))
            }
            Self::MostWaits => f.write_str(
                "too much waits for programs that do not read it, and most of it on this connection",
            ),
            Self::Stopped => {
                f.write_str("this berth stops: it was stopped or released, or its node goes down")
            }
        }
    }
}

/// Ends one connection, once.
#[derive(Debug, Clone)]
pub(in crate::ssh) struct Closer(mpsc::Sender<Why>);

impl Closer {
    pub(in crate::ssh) fn new() -> (Self, mpsc::Receiver<Why>) {
        let (sender, told) = mpsc::channel(1);
        (Self(sender), told)
    }

    pub(in crate::ssh) fn end(&self, why: Why) {
        // It is being ended, or has ended: the first reason counts.
        let _ = self.0.try_send(why);
    }
}
