//! Lists a directory: one answer has the entries that one call of the kernel returns, with the attributes of each.

use super::buffers::Outlet;
use super::failure::Failure;
use super::longname::Names;
use super::wire::kind;
use rustix::fs::{AtFlags, FileType, RawDir, Stat, statat};
use rustix::io::Errno;
use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

/// What the kernel fills at once: some 340 of the shortest names, whose answer has less than 64 KiB.
const BUFFER: usize = 8 << 10;

/// One answer with the next entries of the directory. `Err`: the end of it, or a reason.
pub(super) fn list(outlet: &mut Outlet, id: u32, names: &Names, directory: &OwnedFd) -> Result<(), Failure> {
    let before = outlet.position();
    let begun = outlet.begin(kind::NAME, id);
    let count_at = outlet.position();
    outlet.u32(0);
    let mut buffer = [MaybeUninit::uninit(); BUFFER];
    let mut entries = RawDir::new(directory, &mut buffer);
    let mut count = 0;
    // The answer ends with the kernel's buffer, unless everything in it has vanished meanwhile.
    while count == 0 || !entries.is_buffer_empty() {
        match entries.next() {
            Some(Ok(entry)) => {
                let (name, kind) = (entry.file_name(), entry.file_type());
                count += u32::from(put_entry(outlet, names, directory, name, kind));
            }
            Some(Err(error)) => {
                outlet.take_back(before);
                return Err(error.into());
            }
            None if count == 0 => {
                outlet.take_back(before);
                return Err(Failure::end_of_file());
            }
            None => break,
        }
    }
    outlet.overwrite(count_at, count);
    outlet.finish(begun);
    Ok(())
}

/// `false`: it has gone.
fn put_entry(outlet: &mut Outlet, names: &Names, directory: &OwnedFd, name: &CStr, kind: FileType) -> bool {
    match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => put_known(outlet, names, name.to_bytes(), &stat),
        Err(Errno::NOENT) => return false,
        // A directory that may be listed but not entered tells names and kinds all the same.
        Err(_) => {
            outlet.string(name.to_bytes());
            outlet.string(name.to_bytes());
            match kind {
                FileType::Unknown => outlet.no_attributes(),
                known => outlet.only_mode(known.as_raw_mode()),
            }
        }
    }
    true
}

fn put_known(outlet: &mut Outlet, names: &Names, name: &[u8], stat: &Stat) {
    outlet.string(name);
    outlet.string(&names.line(name, stat));
    outlet.attributes(stat);
}
