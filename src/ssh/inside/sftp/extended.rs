//! The answers to requests that OpenSSH added.

use super::copy::copy;
use super::failure::{Failure, Status};
use super::files::{self, FileSystemOf};
use super::longname::{Names, home_of};
use super::paths::{expand, own_home, real_path};
use super::request::Extended;
use super::serve::{Answer, Sftp};
use super::wire::{ANNOUNCED_PACKET, Fields, LONGEST_DATA, LONGEST_PACKET, kind};
use rustix::fs::fsync;

impl Sftp {
    pub(super) fn extended(&mut self, id: u32, request: Extended<'_>) -> Answer {
        match request {
            Extended::FileSystem { path } => {
                self.numbers(id, &files::file_system(FileSystemOf::Path(path))?);
            }
            Extended::HandleFileSystem { handle } => {
                let file = self.handles.any(handle)?;
                self.numbers(id, &files::file_system(FileSystemOf::File(file))?);
            }
            Extended::Limits => {
                let handles = u64::try_from(self.handles.limit()).unwrap_or(u64::MAX);
                let limits = [ANNOUNCED_PACKET, LONGEST_DATA, LONGEST_DATA].map(u64::from);
                self.numbers(id, &[limits.as_slice(), &[handles]].concat());
            }
            Extended::ExpandPath { path } => self.name(id, &real_path(&expand(path, home_of)?)?),
            Extended::HomeDirectory { user } => {
                let unknown = || Failure::new(Status::NoSuchFile, "there is no such user");
                let home = if user.is_empty() { own_home() } else { home_of(user).ok_or_else(unknown)? };
                self.name(id, &real_path(&home)?);
            }
            Extended::NamesOf { users, groups } => self.names_of(id, users, groups)?,
            change => {
                self.change_extended(change)?;
                self.done(id);
            }
        }
        Ok(())
    }

    /// Requests that are answered with no more than a status.
    fn change_extended(&self, request: Extended<'_>) -> Answer {
        match request {
            Extended::RenameOver { from, to } => files::rename_over(from, to),
            Extended::HardLink { from, to } => files::hard_link(from, to),
            Extended::Sync { handle } => Ok(fsync(self.handles.file(handle)?)?),
            Extended::SetLinkStatus { path, attributes } => attributes.set_on_link(path),
            Extended::CopyData(wanted) => copy(&self.handles, &wanted),
            _ => Err(Failure::new(Status::Unsupported, "this extension is not supported")),
        }
    }

    fn numbers(&mut self, id: u32, numbers: &[u64]) {
        let begun = self.outlet.begin(kind::EXTENDED_REPLY, id);
        for number in numbers {
            self.outlet.u64(*number);
        }
        self.outlet.finish(begun);
    }

    /// Two lists of names, each as long as that of its numbers; an empty name for a number that has none.
    fn names_of(&mut self, id: u32, users: &[u8], groups: &[u8]) -> Answer {
        let names = self.names.get_or_insert_with(Names::read);
        let outlet = &mut self.outlet;
        let before = outlet.position();
        let begun = outlet.begin(kind::EXTENDED_REPLY, id);
        for (numbers, is_user) in [(users, true), (groups, false)] {
            let length_at = outlet.position();
            outlet.u32(0);
            let start = outlet.position();
            let mut numbers = Fields::new(numbers);
            while let Ok(number) = numbers.u32() {
                let name = if is_user { names.user(number) } else { names.group(number) };
                outlet.string(name.unwrap_or_default().as_bytes());
                if outlet.position() - before > LONGEST_PACKET {
                    outlet.take_back(before);
                    return Err(Failure::new(Status::BadMessage, "too many names for one answer"));
                }
            }
            let length = outlet.position() - start;
            outlet.overwrite(length_at, u32::try_from(length).unwrap_or(u32::MAX));
        }
        outlet.finish(begun);
        Ok(())
    }
}
