//! `scp -t`: receives files and directories.

use super::options::Options;
use super::peer::{Ended, Peer, reason, send_all};
use super::record::{Record, Refused};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Timespec, Timestamps};
use rustix::fs::{chmodat, fchmod, fstat, ftruncate, mkdirat, openat, stat, utimensat};
use rustix::io::Errno;
use rustix::process::umask;
use std::os::fd::OwnedFd;

const CHUNK: usize = 256 << 10;
/// What a sender may not set without `-p`: setuid and its like.
const SPECIAL: u32 = 0o7000;

pub(super) fn receive(peer: &mut Peer<'_>, options: &Options) -> Result<(), Ended> {
    let target = options.paths.first().map(Vec::as_slice).unwrap_or_default();
    if options.into_directory && !is_directory(target) {
        let why = stat(target).map_or_else(reason, |_| reason(Errno::NOTDIR));
        peer.complain_of(target, why)?;
        return Err(Ended);
    }
    let inherited = umask(Mode::empty());
    let hidden = if options.preserve {
        Mode::empty()
    } else {
        umask(inherited);
        inherited | Mode::from_raw_mode(SPECIAL)
    };
    Sink { peer, options, hidden }.receive_into(target, true)
}

fn is_directory(path: &[u8]) -> bool {
    stat(path).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_dir())
}

struct Sink<'a, 'b> {
    peer: &'a mut Peer<'b>,
    options: &'a Options,
    /// Bits of a mode that are not set.
    hidden: Mode,
}

impl Sink<'_, '_> {
    /// Receives what comes, to the end of the directory or of everything.
    fn receive_into(&mut self, target: &[u8], mut is_first: bool) -> Result<(), Ended> {
        self.peer.agree()?;
        let into_directory = is_directory(target);
        let mut times = None;
        while let Some(line) = self.peer.line()? {
            let record = match Record::parse(&line) {
                Ok(record) => record,
                // What a shell said before scp came to words.
                Err(Refused::Protocol(_)) if is_first => return Err(self.peer.give_up(&line)),
                Err(refused) => return Err(self.peer.give_up(&refused.message())),
            };
            is_first = false;
            match record {
                Record::Warning => self.peer.note_error(),
                Record::Fatal => return Err(Ended),
                Record::EndOfDirectory => return self.peer.agree(),
                Record::Times { changed, accessed } => {
                    times = Some(timestamps(changed, accessed));
                    self.peer.agree()?;
                }
                Record::File { mode, size, name } => {
                    let path = path_of(target, into_directory, name);
                    self.file(&path, self.visible(mode), size, times.take())?;
                }
                Record::Directory { mode, name } => {
                    let path = path_of(target, into_directory, name);
                    self.directory(&path, self.visible(mode), times.take())?;
                }
            }
        }
        Ok(())
    }

    fn visible(&self, mode: u32) -> Mode {
        Mode::from_raw_mode(mode) - self.hidden
    }

    fn directory(&mut self, path: &[u8], mode: Mode, times: Option<Timestamps>) -> Result<(), Ended> {
        if !self.options.recursive {
            return Err(self.peer.give_up(b"protocol error: received directory without -r"));
        }
        let exists = stat(path).is_ok();
        let ready = if !exists {
            // Until everything is in it, it has to be writable.
            mkdirat(CWD, path, mode | Mode::RWXU)
        } else if is_directory(path) {
            Ok(())
        } else {
            Err(Errno::NOTDIR)
        };
        if let Err(error) = ready {
            return self.peer.complain_of(path, reason(error));
        }
        self.receive_into(path, false)?;
        // As with every scp, a directory that cannot be made look right is not an error.
        if let Some(times) = times {
            let _ = utimensat(CWD, path, &times, AtFlags::empty());
        }
        if self.options.preserve || !exists {
            let _ = chmodat(CWD, path, mode, AtFlags::empty());
        }
        Ok(())
    }

    fn file(&mut self, path: &[u8], mode: Mode, size: u64, times: Option<Timestamps>) -> Result<(), Ended> {
        let before = stat(path).ok();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = match openat(CWD, path, flags, mode | Mode::WUSR) {
            Ok(file) => file,
            Err(error) => return self.peer.complain_of(path, reason(error)),
        };
        self.peer.agree()?;
        let mut wrong = self.content(&file, size)?;
        let is_new = before.is_none();
        if wrong.is_none() {
            wrong = finish(&file, is_new, self.options.preserve, mode, size).err();
        }
        if let Err(error) = nix::unistd::close(file) {
            wrong = wrong.or(Some(Errno::from_raw_os_error(error as i32)));
        }
        self.peer.accepts()?;
        if let (Some(times), None) = (times, wrong) {
            wrong = utimensat(CWD, path, &times, AtFlags::empty()).err();
        }
        match wrong {
            None => self.peer.agree(),
            Some(error) => self.peer.complain_of(path, reason(error)),
        }
    }

    /// Takes all bytes that were announced, also those that cannot be written; the first error.
    fn content(&mut self, file: &OwnedFd, size: u64) -> Result<Option<Errno>, Ended> {
        let (mut left, mut wrong) = (size, None);
        while left > 0 {
            let data = self.peer.available(usize::try_from(left).unwrap_or(CHUNK))?;
            if data.is_empty() {
                return Err(self.peer.give_up(b"dropped connection"));
            }
            left = left.saturating_sub(u64::try_from(data.len()).unwrap_or(left));
            if wrong.is_none() {
                wrong = send_all(file, data).err();
            }
        }
        Ok(wrong)
    }
}

/// The length that was announced, and the mode where it is ours to set.
fn finish(file: &OwnedFd, is_new: bool, preserve: bool, mode: Mode, size: u64) -> Result<(), Errno> {
    if FileType::from_raw_mode(fstat(file)?.st_mode).is_file() {
        ftruncate(file, size)?;
    }
    if preserve || (is_new && !mode.contains(Mode::WUSR)) { fchmod(file, mode) } else { Ok(()) }
}

fn path_of(target: &[u8], into_directory: bool, name: &[u8]) -> Vec<u8> {
    match into_directory {
        true if target.ends_with(b"/") => [target, name].concat(),
        true => [target, b"/", name].concat(),
        false => target.to_vec(),
    }
}

fn timestamps(changed: u64, accessed: u64) -> Timestamps {
    let time = |seconds| Timespec { tv_sec: i64::try_from(seconds).unwrap_or(i64::MAX), tv_nsec: 0 };
    Timestamps { last_access: time(accessed), last_modification: time(changed) }
}
