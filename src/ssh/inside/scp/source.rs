//! `scp -f`: sends files and directories.

use super::options::Options;
use super::peer::{Ended, Peer, reason};
use super::record::sendable;
use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, Stat, fstat, openat};
use rustix::io::{read, retry_on_intr};
use std::os::fd::OwnedFd;

const BUFFER: usize = 256 << 10;
const MODE: u32 = 0o7777;

pub(super) fn send(peer: &mut Peer<'_>, options: &Options) -> Result<(), Ended> {
    peer.accepts()?;
    let mut source = Source { peer, options, buffer: vec![0; BUFFER] };
    options.paths.iter().try_for_each(|path| source.send(path))
}

struct Source<'a, 'b> {
    peer: &'a mut Peer<'b>,
    options: &'a Options,
    buffer: Vec<u8>,
}

impl Source<'_, '_> {
    fn send(&mut self, path: &[u8]) -> Result<(), Ended> {
        let path = without_slashes(path);
        // A FIFO must not be waited for; it is refused when it is seen.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let opened = openat(CWD, path, flags, Mode::empty()).and_then(|file| Ok((fstat(&file)?, file)));
        let (stat, file) = match opened {
            Ok(opened) => opened,
            Err(error) => return self.peer.complain_of(path, reason(error)),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => self.send_file(path, &stat, file),
            FileType::Directory if self.options.recursive => self.send_directory(path, &stat, file),
            _ => self.peer.complain_of(path, "not a regular file"),
        }
    }

    /// Announces what comes next. `false`: the peer does not want it.
    fn announce(&mut self, kind: char, path: &[u8], stat: &Stat, size: i64) -> Result<bool, Ended> {
        if self.options.preserve {
            let times = format!("T{} 0 {} 0\n", stat.st_mtime.max(0), stat.st_atime.max(0));
            self.peer.send(times.as_bytes())?;
            if !self.peer.accepts()? {
                return Ok(false);
            }
        }
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
        let mut line = format!("{kind}{:04o} {size} ", stat.st_mode & MODE).into_bytes();
        line.extend(sendable(name));
        line.push(b'\n');
        self.peer.send(&line)?;
        self.peer.accepts()
    }

    fn send_file(&mut self, path: &[u8], stat: &Stat, file: OwnedFd) -> Result<(), Ended> {
        if !self.announce('C', path, stat, stat.st_size)? {
            return Ok(());
        }
        match self.send_content(&file, u64::try_from(stat.st_size).unwrap_or(0))? {
            None => self.peer.agree()?,
            Some(why) => self.peer.complain_of(path, why)?,
        }
        self.peer.accepts().map(drop)
    }

    /// As many bytes as were announced, whatever happens to the file; and what happened.
    fn send_content(&mut self, file: &OwnedFd, size: u64) -> Result<Option<&'static str>, Ended> {
        let (mut left, mut wrong) = (size, None);
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(BUFFER).min(BUFFER);
            let room = self.buffer.get_mut(..want).unwrap_or_default();
            let count = match wrong {
                None => retry_on_intr(|| read(file, &mut *room)),
                Some(_) => Ok(0),
            };
            let count = match count {
                Ok(count @ 1..) => count,
                other => {
                    wrong = wrong.or(Some(other.map_or_else(reason, |_| "file became shorter")));
                    room.fill(0);
                    want
                }
            };
            self.peer.send(self.buffer.get(..count).unwrap_or_default())?;
            left = left.saturating_sub(u64::try_from(count).unwrap_or(left));
        }
        Ok(wrong)
    }

    fn send_directory(&mut self, path: &[u8], stat: &Stat, directory: OwnedFd) -> Result<(), Ended> {
        let entries = match Dir::new(directory) {
            Ok(entries) => entries,
            Err(error) => return self.peer.complain_of(path, reason(error)),
        };
        if !self.announce('D', path, stat, 0)? {
            return Ok(());
        }
        for entry in entries {
            match entry {
                Ok(entry) if [b".".as_slice(), b".."].contains(&entry.file_name().to_bytes()) => {}
                Ok(entry) => self.send(&[path, b"/", entry.file_name().to_bytes()].concat())?,
                Err(error) => {
                    self.peer.complain_of(path, reason(error))?;
                    break;
                }
            }
        }
        self.peer.send(b"E\n")?;
        self.peer.accepts().map(drop)
    }
}

fn without_slashes(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|byte| *byte != b'/').map_or(1, |last| last + 1);
    path.get(..end).unwrap_or(path)
}
