//! Passes open descriptors from one process to another over a socket, and takes rights from the own process.
//!
//! A program can only inherit standard input, output and errors without unsafe code. So the gateway's commands are
//! started with a socket as their standard input; the first descriptor that comes over it is the real one.

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use rustix::process::{Resource, Rlimit, setrlimit};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// Descriptors that a confined process may have open.
const DESCRIPTORS: u64 = 64;

/// Sends one descriptor.
pub fn send_descriptor(socket: impl AsFd, descriptor: BorrowedFd<'_>) -> io::Result<()> {
    send_with(socket, &[&[0]], Some(descriptor))
}

/// Sends a message, and a descriptor with it.
pub fn send_with(socket: impl AsFd, message: &[&[u8]], descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors: Vec<_> = descriptor.into_iter().collect();
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::other("no room for a descriptor"));
    }
    let parts: Vec<_> = message.iter().map(|part| IoSlice::new(part)).collect();
    sendmsg(socket, &parts, &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Waits for one descriptor. Any further ones in the same message are closed.
pub fn receive_descriptor(socket: impl AsFd) -> io::Result<OwnedFd> {
    let (count, descriptor) = receive_with(socket, &mut [0])?;
    if count == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    descriptor.ok_or_else(|| io::Error::other("no descriptor came"))
}

/// Receives a message into `buffer`, and the first descriptor that came with it; further ones are closed.
pub fn receive_with(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let descriptor = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    Ok((received.bytes, descriptor))
}

/// Takes the socket that is this process' standard input away, and puts the real one there, which comes over it.
pub fn exchange_stdin() -> io::Result<UnixStream> {
    let socket = UnixStream::from(rustix::stdio::stdin().try_clone_to_owned()?);
    let real = receive_descriptor(&socket)?;
    rustix::stdio::dup2_stdin(&real)?;
    if rustix::termios::isatty(&real) {
        // So that Ctrl-C and a new window size reach this process.
        rustix::process::ioctl_tiocsctty(&real)?;
    }
    Ok(socket)
}

/// Of a process like any other; the agent's children begin with the agent's protection.
const OOM_SCORE: &str = "0";

/// As a process of root: what this process may use, and that it is not spared when memory runs out.
pub fn stay_small() -> io::Result<()> {
    // Where there is no such file, there is nothing to give up.
    let _ = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE);
    let limit = |most| Rlimit { current: Some(most), maximum: Some(most) };
    setrlimit(Resource::Nofile, limit(DESCRIPTORS))?;
    setrlimit(Resource::Core, limit(0))?;
    Ok(())
}

/// Nothing that this process starts gets more rights, and no other process of its uid gets at its memory or its
/// descriptors from now on; signals still reach it. In the time before this call, the second is true only where the
/// kernel saw to it: after a change from root to another uid, for as long as no program was executed since.
pub fn confine() -> io::Result<()> {
    nix::sys::prctl::set_no_new_privs()?;
    nix::sys::prctl::set_dumpable(false)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};

    #[test]
    fn a_descriptor_goes_over_and_works() {
        let (here, there) = UnixStream::pair().unwrap();
        let (mut writer, reader) = UnixStream::pair().unwrap();
        send_descriptor(&here, reader.as_fd()).unwrap();
        drop(reader);
        let mut received = UnixStream::from(receive_descriptor(&there).unwrap());
        writer.write_all(b"x").unwrap();
        drop(writer);
        let mut text = String::new();
        received.read_to_string(&mut text).unwrap();
        assert_eq!(text, "x");
    }

    #[test]
    fn an_end_or_a_message_without_a_descriptor_is_an_error() {
        let (mut here, there) = UnixStream::pair().unwrap();
        here.write_all(b"x").unwrap();
        assert!(receive_descriptor(&there).is_err());
        drop(here);
        assert_eq!(receive_descriptor(&there).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
