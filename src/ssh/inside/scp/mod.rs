//! `berth inside scp`: the far end of the old scp protocol, for images that have no `scp`.
//!
//! New clients copy over SFTP; `scp -O`, OpenSSH before 9.0 and dropbear run `scp -t` or `scp -f` on the other side.
//! Under the name `scp`, in a directory at the end of the sessions' `PATH`, this program answers them; an image's
//! own scp comes first. It is no client: it opens no connection.
//!
//! [`record`] and [`options`] are pure. Names are bytes. What the peer sends is hostile: lines are bounded, and a
//! name never leads out of the directory that it was sent for.

mod options;
mod peer;
mod record;
mod sink;
mod source;

use options::{Options, Role};
use peer::{Ended, Peer};
use std::ffi::OsString;
use std::os::fd::AsFd as _;
use std::path::Path;

/// The arguments after the program's name, when it was started as `scp`.
pub fn scp_arguments() -> Option<Vec<OsString>> {
    let mut words = std::env::args_os();
    let name = words.next()?;
    (Path::new(&name).file_name()? == "scp").then(|| words.collect())
}

/// Serves standard input and output; returns the exit status and what to say on standard error.
pub fn run_scp(arguments: Vec<OsString>) -> (u8, Option<String>) {
    let options = match Options::parse(arguments) {
        Ok(options) => options,
        Err(why) => return (1, Some(format!("scp: {why}"))),
    };
    let (input, output) = (std::io::stdin(), std::io::stdout());
    super::streams::widen([input.as_fd(), output.as_fd()]);
    let mut peer = Peer::new(input.as_fd(), output.as_fd());
    let done = match options.role {
        Role::Source => source::send(&mut peer, &options),
        Role::Sink => sink::receive(&mut peer, &options),
    };
    match done {
        Ok(()) => (u8::from(peer.had_errors()), None),
        // The peer was told, or has told us, or is gone.
        Err(Ended) => (1, None),
    }
}
