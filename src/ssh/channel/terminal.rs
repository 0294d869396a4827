//! The pseudo-terminal of a session: its two ends and its size. Starts no programs.

use super::session::Size;
use super::terminal_modes;
use crate::ssh::user::account::Account;
use crate::ssh::user::{account, image};
use russh::Pty;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, ptsname, unlockpt};
use rustix::termios::{InputModes, OptionalActions, Winsize, tcgetattr, tcsetattr, tcsetwinsize};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use tokio::net::unix::pipe;

/// An open terminal that no program uses yet.
#[derive(Debug)]
pub(in crate::ssh) struct Terminal {
    pub(in crate::ssh) control: Control,
    /// The program's end.
    pub(in crate::ssh) user_end: OwnedFd,
    /// `SSH_TTY`.
    pub(in crate::ssh) name: OsString,
}

/// Our end. The program's output is read here, and the client's input is written here.
#[derive(Debug)]
pub(in crate::ssh) struct Control(OwnedFd);

impl Terminal {
    /// Opens a terminal that belongs to the session user, as `login` would leave it.
    pub(in crate::ssh) fn open(size: Size, wanted: &[(Pty, u32)], account: &Account) -> io::Result<Self> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let control = openpt(flags)?;
        unlockpt(&control)?;
        // By descriptor, not by name: the image may have mounted something else at /dev/pts.
        let user_end = ioctl_tiocgptpeer(&control, flags)?;
        let name = ptsname(&control, Vec::new())?;
        let tty_group = account::group_id(&image::read_table(Path::new("/etc/group"))?, "tty");
        std::os::unix::fs::fchown(&user_end, Some(account.uid), Some(tty_group.unwrap_or(account.gid)))?;
        let mode = if tty_group.is_some() { 0o620 } else { 0o600 };
        rustix::fs::fchmod(&user_end, rustix::fs::Mode::from_raw_mode(mode))?;
        // So that erasing a Chinese character erases all its bytes.
        let mut modes = tcgetattr(&user_end)?;
        modes.input_modes |= InputModes::IUTF8;
        terminal_modes::apply(wanted, &mut modes);
        tcsetattr(&user_end, OptionalActions::Now, &modes)?;
        rustix::io::ioctl_fionbio(&control, true)?;
        let control = Control(control);
        control.resize(size)?;
        Ok(Self { control, user_end, name: OsStr::from_bytes(name.as_bytes()).to_owned() })
    }
}

impl Terminal {
    /// Lets only root open the terminal, for a program that gets it open already, and whose uid other users'
    /// programs have too.
    pub(in crate::ssh) fn close_to_others(&self) -> io::Result<()> {
        std::os::unix::fs::fchown(&self.user_end, Some(0), Some(0))?;
        Ok(rustix::fs::fchmod(&self.user_end, rustix::fs::Mode::from_raw_mode(0o600))?)
    }
}

impl Control {
    /// Sets the size; the kernel tells the foreground programs with SIGWINCH.
    pub(in crate::ssh) fn resize(&self, size: Size) -> io::Result<()> {
        let size = Winsize {
            ws_col: size.columns,
            ws_row: size.rows,
            ws_xpixel: size.width,
            ws_ypixel: size.height,
        };
        Ok(tcsetwinsize(&self.0, size)?)
    }

    /// Both directions as streams. To tokio a terminal is as good as a pipe: a descriptor that does not block.
    /// Linux ends the reading with EIO when the last program has closed its end and everything was read.
    pub(in crate::ssh) fn streams(&self) -> io::Result<(pipe::Sender, pipe::Receiver)> {
        let file = || Ok::<_, io::Error>(std::fs::File::from(self.0.try_clone()?));
        Ok((pipe::Sender::from_file_unchecked(file()?)?, pipe::Receiver::from_file_unchecked(file()?)?))
    }
}
