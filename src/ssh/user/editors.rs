//! Links the node's editors' servers into the user's home, where editors look for them before they download one.
//!
//! It runs as the session user, after the last privilege was given up. It never keeps a session from starting, and
//! must not replace anything that exists.

use super::image;
use crate::model::editors::{EDITORS_INSIDE, EditorLink, EditorLinks, LINKS_FILE, LINKS_SCHEMA, LinkKind};
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Component, Path};

const LINKS_LIMIT: u64 = 1 << 20;
/// More than a server has at its top.
const MOST_ENTRIES: usize = 256;
/// Made last: when it is there, all of a server is.
const LAST: &str = "bin";

/// Makes what is missing. A home that cannot be written has no editors, and nobody else to tell.
pub(in crate::ssh) fn link_home(home: &Path) {
    link_from(Path::new(EDITORS_INSIDE), home);
}

fn link_from(editors: &Path, home: &Path) {
    let Ok(text) = image::read_regular(&editors.join(LINKS_FILE), LINKS_LIMIT) else { return };
    let Ok(wanted) = serde_json::from_slice::<EditorLinks>(&text) else { return };
    if wanted.schema != LINKS_SCHEMA || !home.is_dir() {
        return;
    }
    for link in wanted.links.iter().filter(|link| is_plain(&link.path) && is_plain(&link.target)) {
        // Somebody else's file in the way is theirs to keep.
        let _ = make(editors, home, link);
    }
}

fn is_plain(path: &str) -> bool {
    !path.is_empty() && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
}

fn make(editors: &Path, home: &Path, link: &EditorLink) -> io::Result<()> {
    let (path, target) = (home.join(&link.path), editors.join(&link.target));
    let done = match link.kind {
        LinkKind::Whole => path.clone(),
        LinkKind::Entries => path.join(LAST),
    };
    if fs::symlink_metadata(&done).is_ok() || !target.exists() {
        return Ok(());
    }
    match link.kind {
        LinkKind::Whole => {
            fs::create_dir_all(path.parent().unwrap_or(home))?;
            symlink(target, path)
        }
        LinkKind::Entries => link_entries(&target, &path),
    }
}

fn link_entries(target: &Path, path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)?;
    let mut names = Vec::new();
    for entry in fs::read_dir(target)?.take(MOST_ENTRIES) {
        names.push(entry?.file_name());
    }
    names.sort_by_key(|name| name == LAST);
    for name in names {
        match symlink(target.join(&name), path.join(&name)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn editors() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for name in ["server-1/bin/code-server", "server-1/node", "cli-1/code"] {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        let link =
            |path: &str, target: &str, kind| EditorLink { path: path.into(), target: target.into(), kind };
        let links = EditorLinks {
            schema: LINKS_SCHEMA,
            links: vec![
                link(".vscode-server/bin/1", "server-1", LinkKind::Entries),
                link(".vscode-server/cli/servers/Stable-1/server", "server-1", LinkKind::Whole),
                link(".vscode-server/code-1", "cli-1/code", LinkKind::Whole),
                link("../outside", "cli-1/code", LinkKind::Whole),
                link(".vscode-server/gone", "server-2", LinkKind::Whole),
            ],
        };
        fs::write(dir.path().join(LINKS_FILE), serde_json::to_vec(&links).unwrap()).unwrap();
        dir
    }

    #[test]
    fn a_home_gets_what_is_missing_and_keeps_what_it_has() {
        let (editors, outer) = (editors(), tempfile::tempdir().unwrap());
        let home = outer.path().join("home");
        link_from(editors.path(), &home);
        assert!(!home.exists(), "no home is made");
        fs::create_dir_all(home.join(".vscode-server/bin/1")).unwrap();
        fs::write(home.join(".vscode-server/bin/1/node"), "mine").unwrap();
        for _ in 0..2 {
            link_from(editors.path(), &home);
        }
        let read = |path: &str| fs::read_to_string(home.join(".vscode-server").join(path)).unwrap();
        assert_eq!(read("bin/1/bin/code-server"), "server-1/bin/code-server");
        assert_eq!(read("bin/1/node"), "mine");
        assert_eq!(read("cli/servers/Stable-1/server/node"), "server-1/node");
        assert_eq!(read("code-1"), "cli-1/code");
        assert!(!home.join(".vscode-server/gone").exists());
        assert!(!outer.path().join("outside").exists());
        // Editors write beside it.
        fs::write(home.join(".vscode-server/bin/1/lock"), "").unwrap();
    }

    #[test]
    fn nonsense_changes_nothing() {
        let (editors, home) = (editors(), tempfile::tempdir().unwrap());
        fs::write(editors.path().join(LINKS_FILE), r#"{"schema": 9, "links": []}"#).unwrap();
        link_from(editors.path(), home.path());
        fs::write(editors.path().join(LINKS_FILE), "{").unwrap();
        link_from(editors.path(), home.path());
        link_from(&editors.path().join("none"), home.path());
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    }
}
