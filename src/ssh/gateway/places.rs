//! Limits on what one user may have at a time over all of their connections, and what all users may have together.
//! So no user can fill the gateway, and the gateway cannot fill the node.

use crate::model::places::{Full, Place, Places as Of};
use std::sync::Arc;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Connection,
    /// A process each.
    Command,
    Jump,
}

impl Kind {
    const fn each(self) -> usize {
        match self {
            Self::Connection | Self::Command => 32,
            Self::Jump => 512,
        }
    }

    const fn all(self) -> usize {
        match self {
            Self::Connection => 1024,
            Self::Command => 256,
            Self::Jump => 8192,
        }
    }
}

/// One of them; given back when it is dropped.
pub(super) type Taken = Place<String>;

#[derive(Debug)]
pub(super) struct Places {
    connections: Arc<Of<String>>,
    commands: Arc<Of<String>>,
    jumps: Arc<Of<String>>,
}

impl Default for Places {
    fn default() -> Self {
        let of = |kind: Kind| Of::new(kind.each(), kind.all());
        Self { connections: of(Kind::Connection), commands: of(Kind::Command), jumps: of(Kind::Jump) }
    }
}

impl Places {
    pub(super) fn take(&self, user: &str, kind: Kind) -> Result<Taken, Full> {
        let places = match kind {
            Kind::Connection => &self.connections,
            Kind::Command => &self.commands,
            Kind::Jump => &self.jumps,
        };
        places.take(&user.to_owned())
    }
}

/// For the events: who has how many of what.
pub(super) fn reason(user: &str, full: Full, what: &str) -> String {
    match full {
        Full::Own(most) => format!("{user} has {most} {what} already"),
        Full::All(most) => format!("all users together have {most} {what} already"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_user_takes_the_whole_gateway() {
        let places = Places::default();
        let all: Vec<Taken> =
            (0..Kind::Command.each()).filter_map(|_| places.take("a", Kind::Command).ok()).collect();
        assert_eq!(all.len(), Kind::Command.each());
        let full = places.take("a", Kind::Command).unwrap_err();
        assert_eq!(reason("a", full, "commands"), "a has 32 commands already");
        assert!(places.take("a", Kind::Jump).is_ok() && places.take("b", Kind::Command).is_ok());
        drop(all);
        assert!(places.take("a", Kind::Command).is_ok());
    }
}
