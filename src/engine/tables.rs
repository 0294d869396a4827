//! Whether an image's account files can be read. This is asked before anything of the image is started.
//!
//! Docker and runc open `/etc/passwd` and `/etc/group` when a container starts. If such a file is a FIFO or the
//! kernel's log, they wait for ever. So Docker is asked what these files are in a container that was only created:
//! that opens nothing.

use super::client::{Engine, SHORT};
use crate::error::Fault;
use bollard::query_parameters::ContainerArchiveInfoOptionsBuilder;
use std::collections::VecDeque;
use std::future::Future;
use std::path::{Component, Path, PathBuf};

const TABLES: [&str; 2] = ["/etc/passwd", "/etc/group"];
/// The largest account file: each start of a container reads it whole.
const SIZE_LIMIT: i64 = 4 << 20;
/// How many components and links of a path are followed: more than any real image needs.
const STEPS: usize = 64;
/// Directories that a started container gets from the kernel and not from its image.
const REPLACED: [&str; 3] = ["proc", "sys", "dev"];

/// A bit of Go's `os.FileMode`, which Docker answers with.
const DIRECTORY: u32 = 1 << 31;
const LINK: u32 = 1 << 27;
/// Every type that is no regular file: besides those two, devices, FIFOs, sockets and the irregular.
const TYPES: u32 = DIRECTORY | LINK | 1 << 26 | 1 << 25 | 1 << 24 | 1 << 21 | 1 << 19;

/// What is at a path. A link at its end is not followed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    mode: u32,
    size: i64,
    link: PathBuf,
}

/// Why a start would hang, or take long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unreadable {
    NotRegular,
    TooLarge,
    /// Its path leads into one of the directories of [`REPLACED`].
    Replaced,
    Endless,
}

impl Unreadable {
    fn what(self) -> &'static str {
        match self {
            Self::NotRegular => "is no regular file",
            Self::TooLarge => "is larger than 4 MiB",
            Self::Replaced => "leads into /proc, /sys or /dev",
            Self::Endless => "is a link that does not end",
        }
    }
}

impl Engine {
    /// An error where the account files of this created container would make its start hang.
    pub(crate) async fn check_account_tables(&self, container: &str) -> Result<(), Fault> {
        for table in TABLES {
            let looked = walk(Path::new(table), |path| self.entry(container, path)).await?;
            if let Err(why) = looked {
                return Err(Fault::docker(format!("{table} of the image {}", why.what())).help(
                    "make the image anew with a plain file there: every start of a container reads it",
                ));
            }
        }
        Ok(())
    }

    async fn entry(&self, container: &str, path: PathBuf) -> Result<Option<Entry>, Fault> {
        let options = ContainerArchiveInfoOptionsBuilder::default().path(&path.to_string_lossy()).build();
        let docker = self.docker();
        let asked = docker.get_container_archive_info(container, Some(options));
        let found = self.call_optional(SHORT, asked).await?;
        Ok(found.map(|stat| Entry { mode: stat.file_mode, size: stat.size, link: stat.link_target.into() }))
    }
}

/// Follows a path link by link. No error when the file is absent.
async fn walk<F: Future<Output = Result<Option<Entry>, Fault>>>(
    path: &Path,
    look: impl Fn(PathBuf) -> F,
) -> Result<Result<(), Unreadable>, Fault> {
    let mut rest = names(path);
    let mut at = PathBuf::from("/");
    for _ in 0..STEPS {
        let Some(name) = rest.pop_front() else { return Ok(Err(Unreadable::NotRegular)) };
        if name == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&name);
        if REPLACED.iter().any(|replaced| next.starts_with(Path::new("/").join(replaced))) {
            return Ok(Err(Unreadable::Replaced));
        }
        let Some(entry) = look(next.clone()).await? else { return Ok(Ok(())) };
        match entry.mode & TYPES {
            DIRECTORY => at = next,
            LINK => {
                if entry.link.is_absolute() {
                    at = PathBuf::from("/");
                }
                let mut through = names(&entry.link);
                through.append(&mut rest);
                rest = through;
            }
            0 if !rest.is_empty() => return Ok(Ok(())),
            0 if entry.size > SIZE_LIMIT => return Ok(Err(Unreadable::TooLarge)),
            0 => return Ok(Ok(())),
            _ => return Ok(Err(Unreadable::NotRegular)),
        }
    }
    Ok(Err(Unreadable::Endless))
}

fn names(path: &Path) -> VecDeque<String> {
    path.components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
            Component::ParentDir => Some("..".to_owned()),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    const FIFO: u32 = 1 << 25;

    fn entry(mode: u32, link: &str) -> Entry {
        Entry { mode, size: 100, link: link.into() }
    }

    async fn walked(entries: &[(&str, Entry)]) -> Result<(), Unreadable> {
        let known: HashMap<PathBuf, Entry> =
            entries.iter().map(|(path, entry)| (PathBuf::from(path), entry.clone())).collect();
        let looked = walk(Path::new("/etc/passwd"), |path| {
            let found = known.get(&path).cloned();
            async move { Ok(found) }
        });
        looked.await.unwrap()
    }

    #[tokio::test]
    async fn plain_files_and_links_to_them_are_read() {
        let etc = ("/etc", entry(DIRECTORY | 0o755, ""));
        assert_eq!(walked(&[]).await, Ok(()));
        assert_eq!(walked(&[etc.clone(), ("/etc/passwd", entry(0o644, ""))]).await, Ok(()));
        let linked = [
            etc,
            ("/etc/passwd", entry(LINK, "../usr/share/passwd")),
            ("/usr", entry(DIRECTORY, "")),
            ("/usr/share", entry(DIRECTORY, "")),
            ("/usr/share/passwd", entry(0o644, "")),
        ];
        assert_eq!(walked(&linked).await, Ok(()));
    }

    #[tokio::test]
    async fn what_would_hold_a_start_up_is_refused() {
        let etc = ("/etc", entry(DIRECTORY, ""));
        for (there, why) in [
            (vec![etc.clone(), ("/etc/passwd", entry(FIFO, ""))], Unreadable::NotRegular),
            (vec![etc.clone(), ("/etc/passwd", entry(1 << 26 | 1 << 21, ""))], Unreadable::NotRegular),
            (vec![etc.clone(), ("/etc/passwd", entry(DIRECTORY, ""))], Unreadable::NotRegular),
            (vec![etc.clone(), ("/etc/passwd", entry(LINK, "/proc/kmsg"))], Unreadable::Replaced),
            (vec![("/etc", entry(LINK, "/proc/self/cwd"))], Unreadable::Replaced),
            (vec![etc.clone(), ("/etc/passwd", entry(LINK, "passwd"))], Unreadable::Endless),
            (
                vec![etc.clone(), ("/etc/passwd", Entry { size: SIZE_LIMIT + 1, ..entry(0o644, "") })],
                Unreadable::TooLarge,
            ),
        ] {
            assert_eq!(walked(&there).await, Err(why), "{there:?}");
        }
    }
}
