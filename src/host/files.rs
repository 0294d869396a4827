//! Small files that berth writes in its own directories; several of them are made durable together.

use crate::error::Fault;
use crate::model::observed::Presence;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// A file to write: name, content, mode.
pub struct NewFile {
    pub name: &'static str,
    pub content: Vec<u8>,
    pub mode: u32,
}

/// Writes new files; durable only after [`sync_files`], which may run beside other work.
pub fn write_files(dir: &Path, files: &[NewFile]) -> Result<(), Fault> {
    for file in files {
        let path = dir.join(file.name);
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(file.mode)
            .open(&path)
            .and_then(|mut open| {
                open.write_all(&file.content)?;
                // The agent's umask takes bits away that a berth's user needs.
                open.set_permissions(fs::Permissions::from_mode(file.mode))
            })
            .map_err(|error| Fault::host(format!("writing {}: {error}", path.display())))?;
    }
    Ok(())
}

/// Everything in the directory, and the directory itself, is on the disk when this returns.
pub fn sync_files(dir: &Path) -> Result<(), Fault> {
    let sync = || -> std::io::Result<()> {
        for entry in fs::read_dir(dir)? {
            File::open(entry?.path())?.sync_all()?;
        }
        sync_dir(dir)
    };
    sync().map_err(|error| Fault::host(format!("writing {}: {error}", dir.display())))
}

/// A new name in this directory survives a power cut when this returns.
pub fn sync_dir(dir: &Path) -> std::io::Result<()> {
    File::open(dir)?.sync_all()
}

/// What root may still write there.
pub fn free_bytes(path: &Path) -> Result<u64, Fault> {
    let stat = rustix::fs::statvfs(path)
        .map_err(|errno| Fault::host(format!("asking how full {} is: {errno}", path.display())))?;
    Ok(stat.f_bfree.saturating_mul(stat.f_frsize))
}

/// How many more files a file system takes; `None` where it keeps no count.
pub fn free_inodes(path: &Path) -> Result<Option<u64>, Fault> {
    let stat = rustix::fs::statvfs(path)
        .map_err(|errno| Fault::host(format!("asking how full {} is: {errno}", path.display())))?;
    Ok((stat.f_files > 0).then_some(stat.f_ffree))
}

/// Whether a file is this very program.
pub fn compare_with_self(path: &Path) -> std::io::Result<Presence> {
    let mut other = match File::open(path) {
        Ok(file) => BufReader::new(file),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Presence::Absent),
        Err(error) => return Err(error),
    };
    let mut own = BufReader::new(File::open("/proc/self/exe")?);
    loop {
        let (a, b) = (own.fill_buf()?, other.fill_buf()?);
        let length = a.len().min(b.len());
        if a.get(..length) != b.get(..length) || (length == 0 && a.len() != b.len()) {
            return Ok(Presence::Other);
        }
        if length == 0 {
            return Ok(Presence::Same);
        }
        own.consume(length);
        other.consume(length);
    }
}

/// Copies this program, so that there is the old one or the new one at every moment.
pub fn install_self(to: &Path) -> Result<(), Fault> {
    let install = || -> std::io::Result<()> {
        let dir = to.parent().unwrap_or(Path::new("/"));
        let mut temporary = tempfile::Builder::new().prefix(".berth-").tempfile_in(dir)?;
        std::io::copy(&mut File::open("/proc/self/exe")?, temporary.as_file_mut())?;
        temporary.as_file().set_permissions(fs::Permissions::from_mode(0o755))?;
        temporary.as_file().sync_all()?;
        temporary.persist(to)?;
        sync_dir(dir)
    };
    install().map_err(|error| Fault::host(format!("installing {}: {error}", to.display())))
}

/// Mode, owner and group of a file that is there.
pub fn rights(path: &Path) -> std::io::Result<Option<(u32, u32, u32)>> {
    match fs::metadata(path) {
        Ok(meta) => Ok(Some((meta.mode() & 0o7777, meta.uid(), meta.gid()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The mode of a directory, where it is there.
pub fn directory_mode(path: &Path) -> std::io::Result<Option<u32>> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => Ok(Some(meta.permissions().mode() & 0o7777)),
        Ok(_) => Err(std::io::ErrorKind::NotADirectory.into()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether there is anything of that name, be it a link to nothing.
pub fn has_name(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Whether a directory is as mkfs or mkdir of root left it: root's, and empty.
pub fn is_new_directory(path: &Path) -> bool {
    let is_roots =
        fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir() && meta.uid() == 0 && meta.gid() == 0);
    let is_of_mkfs =
        |entry: std::io::Result<fs::DirEntry>| entry.is_ok_and(|it| it.file_name() == "lost+found");
    is_roots && fs::read_dir(path).is_ok_and(|mut entries| entries.all(is_of_mkfs))
}

/// Adds a line to a file of ours; it is on the disk when this returns.
pub fn append_durably(path: &Path, line: &str) -> Result<(), Fault> {
    let append = || -> std::io::Result<()> {
        let is_new = !path.exists();
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(nix::libc::O_NOFOLLOW)
            .open(path)?;
        file.write_all(format!("{line}\n").as_bytes())?;
        file.sync_data()?;
        if is_new { path.parent().map_or(Ok(()), sync_dir) } else { Ok(()) }
    };
    append().map_err(|error| Fault::host(format!("writing {}: {error}", path.display())))
}

/// Removes what stands behind the last newline: a line that a power cut tore.
pub fn cut_torn_line(path: &Path) -> Result<(), Fault> {
    let cut = || -> std::io::Result<()> {
        let content = fs::read(path)?;
        let whole = content.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        if whole == content.len() {
            return Ok(());
        }
        let file = OpenOptions::new().write(true).custom_flags(nix::libc::O_NOFOLLOW).open(path)?;
        file.set_len(whole as u64)?;
        file.sync_all()
    };
    match cut() {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Fault::host(format!("mending {}: {error}", path.display())))
        }
        _ => Ok(()),
    }
}

/// Opens a plain file for reading; a pipe or a device at that path is refused, not waited for.
pub fn open_regular(path: &Path) -> Result<File, Fault> {
    let wrong = |error: std::io::Error| Fault::host(format!("opening {}: {error}", path.display()));
    let file = OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path).map_err(wrong)?;
    if file.metadata().map_err(wrong)?.is_file() {
        return Ok(file);
    }
    Err(Fault::usage(format!("{} is not a plain file", path.display())))
}

/// Reads a small text file that a person named on the command line.
pub fn read_user_file(path: &Path, what: &str) -> Result<String, Fault> {
    read_small_text(open_regular(path)?, &path.display().to_string(), what)
}

/// Reads a small text from standard input.
pub fn read_input(what: &str) -> Result<String, Fault> {
    read_small_text(std::io::stdin().lock(), "standard input", what)
}

fn read_small_text(from: impl Read, name: &str, what: &str) -> Result<String, Fault> {
    const LIMIT: u64 = 64 << 10;
    let mut text = Vec::new();
    from.take(LIMIT + 1)
        .read_to_end(&mut text)
        .map_err(|error| Fault::host(format!("reading {name}: {error}")))?;
    if text.len() as u64 > LIMIT {
        return Err(Fault::usage(format!("{name} is too long for {what}")));
    }
    decode(&text).ok_or_else(|| Fault::usage(format!("{name} is not {what}: it is not text")))
}

/// UTF-8, or what Windows writes: UTF-16 of either order, with or without its mark.
fn decode(bytes: &[u8]) -> Option<String> {
    let units = |bytes: &[u8], read: fn([u8; 2]) -> u16| -> Option<String> {
        let (pairs, []) = bytes.as_chunks::<2>() else { return None };
        String::from_utf16(&pairs.iter().copied().map(read).collect::<Vec<_>>()).ok()
    };
    match bytes {
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8(rest.to_vec()).ok(),
        [0xff, 0xfe, rest @ ..] => units(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => units(rest, u16::from_be_bytes),
        // Without the mark: a letter of ASCII has a zero beside it, which no other text has.
        [first, 0, ..] if first.is_ascii_graphic() => units(bytes, u16::from_le_bytes),
        [0, second, ..] if second.is_ascii_graphic() => units(bytes, u16::from_be_bytes),
        _ => String::from_utf8(bytes.to_vec()).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_windows_writes_is_text() {
        let text = "ssh-ed25519 AAAA müller@büro 😀\r\n";
        let mark = "\u{feff}";
        let utf16 =
            |text: &str, bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
        let marked = format!("{mark}{text}");
        for bytes in [
            text.as_bytes().to_vec(),
            marked.as_bytes().to_vec(),
            utf16(&marked, u16::to_le_bytes),
            utf16(&marked, u16::to_be_bytes),
            utf16(text, u16::to_le_bytes),
            utf16(text, u16::to_be_bytes),
        ] {
            assert_eq!(decode(&bytes).as_deref(), Some(text), "{bytes:?}");
        }
        assert_eq!(decode(b"").as_deref(), Some(""));
        for bytes in [&[0xff, 0xfe, b'a'][..], &[0xff, 0xfe, 0, 0xd8], &[0, 159, 146, 150], &[0xc3, 0x28]] {
            assert_eq!(decode(bytes), None, "{bytes:?}");
        }
    }
}
