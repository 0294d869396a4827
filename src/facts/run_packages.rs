//! The `.run` files in the directory that the profile names. It runs and opens none of them.

use crate::host::{Host, trust};
use crate::model::Size;
use crate::model::driver::{PackagesSeen, RunFile};
use std::path::Path;

/// The most files that are listed: more are not the vendor's packages.
const MOST: usize = 200;

/// `top`: the root of the machine that is looked at.
pub fn gather(host: &dyn Host, top: &Path, directory: &Path) -> PackagesSeen {
    let mut seen = PackagesSeen { directory: directory.to_path_buf(), ..PackagesSeen::default() };
    let paths = match host.list(directory) {
        Ok(paths) => paths,
        Err(error) => {
            seen.error = Some(format!("{} cannot be read: {error}", directory.display()));
            return seen;
        }
    };
    let runs = paths.iter().filter(|path| path.extension().is_some_and(|ext| ext == "run"));
    seen.files = runs.take(MOST).filter_map(|path| look(top, path)).collect();
    seen
}

fn look(top: &Path, path: &Path) -> Option<RunFile> {
    let name = path.file_name()?.to_str()?.to_owned();
    Some(match trust::check_program(top, path) {
        Ok(trusted) => RunFile { name, size: Size(trusted.size), objection: None },
        Err(why) => RunFile { name, size: Size(0), objection: Some(why) },
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "the test makes its own directory")]

    use super::*;
    use crate::host::RealHost;

    #[test]
    fn run_files_are_listed_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("packages");
        std::fs::create_dir(&dir).unwrap();
        for name in ["b.run", "a.run", "readme.txt"] {
            std::fs::write(dir.join(name), "x").unwrap();
        }
        let host = RealHost::new(root.path());
        let seen = gather(&host, root.path(), Path::new("/packages"));
        let names: Vec<&str> = seen.files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!((names, seen.error), (vec!["a.run", "b.run"], None));
        assert!(seen.files.iter().all(|file| file.objection.is_some()), "they cannot be run");
        let none = gather(&host, root.path(), Path::new("/none"));
        assert!(none.error.unwrap().starts_with("/none cannot be read"));
    }
}
