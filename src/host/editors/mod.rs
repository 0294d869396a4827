//! The directory of editors' servers: archives that an admin puts there, and in `ready` the unpacked servers that
//! berths see.
//!
//! It unpacks an archive once, and never removes an unpacked server: berths may be running it.

mod product;

use super::{Host, dirs, unpack};
use crate::error::Fault;
use crate::model::editors::{EDITORS_INSIDE, EditorLink, EditorLinks, LINKS_FILE};
use anyhow::{Context as _, Result};
use object::elf::{EM_AARCH64, EM_X86_64, FileHeader64};
use object::read::elf::FileHeader as _;
use object::{Endianness, read::ReadCache};
use product::{Product, commit_in, links_of_cli, tree_of_cli};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

const INDEX: &str = ".berth-index.json";
const PRODUCT_LIMIT: u64 = 4 << 20;
/// A file that changed this lately may still be on its way.
const SETTLED: Duration = Duration::from_secs(5);

/// What became of a new archive.
#[derive(Debug)]
pub struct NewEditor {
    pub archive: String,
    /// The name of what was unpacked, or why not.
    pub outcome: Result<String, String>,
}

/// What is known of an archive; another size or time is another archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    size: u64,
    changed: i64,
    /// Empty: it was refused.
    links: Vec<EditorLink>,
}

type Index = BTreeMap<String, Known>;

/// What berths see, if this node has servers for editors.
pub fn ready_dir(dir: &Path) -> Option<PathBuf> {
    let ready = dir.join("ready");
    ready.join(LINKS_FILE).is_file().then_some(ready)
}

/// Where berths see it.
pub fn inside() -> &'static Path {
    Path::new(EDITORS_INSIDE)
}

/// Unpacks what is new. Without the directory there is nothing to do.
pub fn prepare(host: &dyn Host, dir: &Path) -> Result<Vec<NewEditor>> {
    let Ok(meta) = fs::metadata(dir) else { return Ok(Vec::new()) };
    if meta.uid() != rustix::process::geteuid().as_raw() || meta.mode() & 0o002 != 0 {
        let message = format!("{} is not root's alone: what is in it runs in all berths", dir.display());
        return Err(Fault::host(message)
            .help(format!("chown root {0} && chmod o-w {0}", dir.display()))
            .into());
    }
    let ready = dir.join("ready");
    dirs::make_dir(&ready, 0o755)?;
    let old: Index = host
        .read(&dir.join(INDEX))
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok())
        .unwrap_or_default();
    let mut index = Index::new();
    let mut news = Vec::new();
    for (name, path, meta) in archives(dir)? {
        let mut known = Known { size: meta.len(), changed: meta.mtime(), links: Vec::new() };
        if let Some(same) =
            old.get(&name).filter(|old| (old.size, old.changed) == (known.size, known.changed))
        {
            index.insert(name, same.clone());
            continue;
        }
        if !has_settled(&meta) {
            continue;
        }
        let outcome = add(&path, &name, &ready);
        let outcome = outcome.map(|(tree, links)| {
            known.links = links;
            tree
        });
        index.insert(name.clone(), known);
        let outcome = outcome.map_err(|error| format!("{error:#}"));
        news.push(NewEditor { archive: name, outcome });
    }
    if index != old || !ready.join(LINKS_FILE).exists() {
        let links = index.values().flat_map(|known| known.links.clone()).collect();
        let links = serde_json::to_vec_pretty(&EditorLinks { links, ..EditorLinks::default() })?;
        host.write_atomic(&ready.join(LINKS_FILE), &links, 0o644).context("writing the editors' links")?;
        host.write_atomic(&dir.join(INDEX), &serde_json::to_vec_pretty(&index)?, 0o644)
            .context("writing what is known of the editors' archives")?;
    }
    Ok(news)
}

fn archives(dir: &Path) -> Result<Vec<(String, PathBuf, fs::Metadata)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("listing {}", dir.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let meta = entry.metadata()?;
        let lower = name.to_ascii_lowercase();
        if meta.is_file() && [".tar.gz", ".tgz"].iter().any(|end| lower.ends_with(end)) {
            found.push((name, entry.path(), meta));
        }
    }
    found.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(found)
}

fn has_settled(meta: &fs::Metadata) -> bool {
    let age = meta.modified().ok().and_then(|at| SystemTime::now().duration_since(at).ok());
    // A time in the future says nothing.
    age.is_none_or(|age| age >= SETTLED)
}

/// Unpacks one archive beside the others and puts it in place.
fn add(archive: &Path, name: &str, ready: &Path) -> Result<(String, Vec<EditorLink>)> {
    let new = tempfile::Builder::new().prefix(".new-").tempdir_in(ready).context("making a directory")?;
    unpack::unpack(archive, new.path())?;
    let root = sole_directory(new.path())?.unwrap_or_else(|| new.path().to_path_buf());
    let (tree, links) = recognise(&root, name)?;
    fs::set_permissions(&root, fs::Permissions::from_mode(0o755))?;
    unpack::sync(&root)?;
    let place = ready.join(&tree);
    if place.exists() {
        // Berths that run it keep what they have open; it goes with the temporary directory.
        let aside = tempfile::Builder::new().prefix(".old-").tempdir_in(ready)?;
        fs::rename(&place, aside.path().join("old"))?;
    }
    fs::rename(&root, &place).context("putting it in place")?;
    if new.path().exists() {
        new.close()?;
    } else {
        // It is the tree itself that was moved.
        let _ = new.keep();
    }
    Ok((tree, links))
}

/// The directory that holds all there is, as most archives have one.
fn sole_directory(dir: &Path) -> Result<Option<PathBuf>> {
    let mut entries = fs::read_dir(dir)?;
    let first = entries.next().transpose()?;
    let alone = entries.next().is_none();
    Ok(first.filter(|entry| alone && entry.path().is_dir()).map(|entry| entry.path()))
}

fn recognise(root: &Path, name: &str) -> Result<(String, Vec<EditorLink>), Fault> {
    let refused = |why: String| Fault::refused(why);
    if root.join("product.json").exists() {
        let text = super::files::open_regular(&root.join("product.json")).and_then(|file| {
            let mut text = Vec::new();
            std::io::Read::read_to_end(&mut std::io::Read::take(file, PRODUCT_LIMIT), &mut text)
                .map_err(|error| Fault::host(format!("reading its product.json: {error}")))?;
            Ok(text)
        })?;
        let product = Product::parse(&text).map_err(refused)?;
        let program = root.join("bin").join(&product.application);
        if !program.is_file() {
            return Err(refused(format!("it has no bin/{}: is it a server?", product.application)));
        }
        check_machine(&root.join("node"))?;
        return Ok((product.tree(), product.links()));
    }
    for program in ["code", "code-insiders"] {
        if root.join(program).is_file() {
            let commit = commit_in(name).ok_or_else(|| {
                refused("it is VS Code's command line, and its name does not say which".into())
                    .help(format!("put the 40 digits of the commit into its name: {program}-COMMIT.tar.gz"))
            })?;
            check_machine(&root.join(program))?;
            return Ok((tree_of_cli(commit), links_of_cli(program, commit)));
        }
    }
    Err(refused("it is neither a server (no product.json) nor VS Code's command line (no code)".into()))
}

/// A program for another machine helps nobody here. A script, or none, says nothing.
fn check_machine(program: &Path) -> Result<(), Fault> {
    let Ok(file) = super::files::open_regular(program) else { return Ok(()) };
    let data = &ReadCache::new(file);
    let Ok(header) = FileHeader64::<Endianness>::parse(data) else { return Ok(()) };
    let wanted = if cfg!(target_arch = "aarch64") { EM_AARCH64 } else { EM_X86_64 };
    match header.endian().map(|endian| header.e_machine(endian)) {
        Ok(machine) if machine != wanted => Err(Fault::refused(format!(
            "it is for another machine than this one, which is {}",
            std::env::consts::ARCH
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::RealHost;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn archive(at: &Path, files: &[(&str, &str)]) {
        let gz = flate2::write::GzEncoder::new(fs::File::create(at).unwrap(), flate2::Compression::fast());
        let mut tar = tar::Builder::new(gz);
        for (name, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o755);
            header.set_size(content.len() as u64);
            tar.append_data(&mut header, name, content.as_bytes()).unwrap();
        }
        let file = tar.into_inner().unwrap().finish().unwrap();
        file.set_modified(SystemTime::now() - Duration::from_mins(1)).unwrap();
    }

    fn product() -> String {
        format!(
            r#"{{"commit": "{COMMIT}", "serverDataFolderName": ".vscode-server", "serverApplicationName": "code-server"}}"#
        )
    }

    fn prepared(dir: &Path) -> Vec<NewEditor> {
        prepare(&RealHost::default(), dir).unwrap()
    }

    #[test]
    fn archives_are_unpacked_once_and_linked() {
        let dir = tempfile::tempdir().unwrap();
        let server = dir.path().join("vscode-server-linux-x64.tar.gz");
        archive(&server, &[("top/product.json", &product()), ("top/bin/code-server", "#!/bin/sh")]);
        archive(&dir.path().join(format!("cli-{COMMIT}.tgz")), &[("code", "#!/bin/sh")]);
        assert!(ready_dir(dir.path()).is_none());
        let news = prepared(dir.path());
        assert!(news.iter().all(|new| new.outcome.is_ok()), "{news:?}");
        assert!(prepared(dir.path()).is_empty());
        let ready = ready_dir(dir.path()).unwrap();
        assert!(ready.join(format!("server-{COMMIT}/bin/code-server")).is_file());
        assert!(ready.join(format!("cli-{COMMIT}/code")).is_file());
        let links: EditorLinks = serde_json::from_slice(&fs::read(ready.join(LINKS_FILE)).unwrap()).unwrap();
        assert_eq!(links.links.len(), 3);
        // Without its archive it is found by nobody new, and stays for those who run it.
        fs::remove_file(server).unwrap();
        assert!(prepared(dir.path()).is_empty());
        let links: EditorLinks = serde_json::from_slice(&fs::read(ready.join(LINKS_FILE)).unwrap()).unwrap();
        assert_eq!(links.links.len(), 1);
        let left: Vec<_> = fs::read_dir(ready).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 3, "{left:?}");
    }

    #[test]
    fn what_is_no_server_is_refused_once() {
        let dir = tempfile::tempdir().unwrap();
        archive(&dir.path().join("a.tar.gz"), &[("top/readme", "")]);
        archive(&dir.path().join("b.tar.gz"), &[("top/product.json", &product())]);
        archive(&dir.path().join("c.tar.gz"), &[("code", "")]);
        fs::write(dir.path().join("notes.txt"), "").unwrap();
        let news = prepared(dir.path());
        let why: Vec<String> = news.into_iter().map(|new| new.outcome.unwrap_err()).collect();
        assert!(why[0].contains("neither a server"), "{why:?}");
        assert!(why[1].contains("no bin/code-server"), "{why:?}");
        assert!(why[2].contains("does not say which"), "{why:?}");
        assert!(prepared(dir.path()).is_empty());
    }

    #[test]
    fn no_directory_is_no_feature_and_an_open_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(prepared(&dir.path().join("none")).is_empty());
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(prepare(&RealHost::default(), dir.path()).is_err());
    }
}
