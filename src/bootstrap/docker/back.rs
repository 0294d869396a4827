//! Going back: if Docker does not start with a new configuration, berth restores the previous one and starts the
//! containers again. Only the run that made the change takes it back: after that, users may have worked with it.

use super::apply::{fresh, inventory, restart_all, start, stop_all, stop_docker, wait_for_engine};
use crate::bootstrap::{Context, Operator, files};
use crate::error::{Fault, flatten};
use crate::host::tree;
use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};

/// daemon.json as it was before this run changed it.
pub(in crate::bootstrap) struct Before {
    pub(in crate::bootstrap) file: PathBuf,
    /// `None`: there was no daemon.json.
    pub(in crate::bootstrap) text: Option<String>,
    /// A copy of Docker's data that was made for the new configuration.
    pub(in crate::bootstrap) copy: Option<PathBuf>,
}

/// Goes back. Returns `error`, which made that necessary, together with the result of going back.
pub(in crate::bootstrap) fn take_back(
    context: &Context,
    before: &Before,
    operator: &dyn Operator,
    error: anyhow::Error,
) -> anyhow::Error {
    operator.says("going back to the configuration before");
    let kept = match go_back(context, before) {
        Ok(kept) => kept,
        Err(other) => {
            return error.context(format!(
                "Docker did not come up with its new configuration, and going back to the one before failed too ({})",
                flatten(&other).message
            ));
        }
    };
    let ran = match restart_all(context, operator) {
        Ok(()) => "and so does what ran in it".to_owned(),
        Err(other) => format!("but not all that ran in it ({})", flatten(&other).message),
    };
    error.context(match kept {
        None => format!(
            "Docker did not come up with its new configuration; it runs again with the one before, {ran}"
        ),
        Some(kept) => format!(
            "Docker did not come up with its data moved; it runs again with the old ones, {ran}; the copy is kept in {} \
             (remove it when nothing in it is needed)",
            kept.display()
        ),
    })
}

/// Restores the file only, for when Docker was not stopped yet.
pub(in crate::bootstrap) fn put_back(
    context: &Context,
    before: &Before,
    error: anyhow::Error,
) -> anyhow::Error {
    match restore(context, before) {
        Ok(()) => error,
        Err(other) => error.context(format!(
            "{} is changed, and could not be changed back ({})",
            before.file.display(),
            flatten(&other).message
        )),
    }
}

fn restore(context: &Context, before: &Before) -> Result<()> {
    if let Some(text) = &before.text {
        return files::replace(context, &before.file, text);
    }
    let file = tree::real_path(&before.file);
    context.host.remove(&file).with_context(|| format!("removing {}", file.display()))
}

/// Restores the configuration and starts Docker. Returns where the copy of the data is kept, if there was one.
fn go_back(context: &Context, before: &Before) -> Result<Option<PathBuf>> {
    let seen = fresh(context)?;
    // It may have started some of what ran, which must not go on in a copy. Asking one that is down would start it again.
    let unstopped = if before.copy.is_some()
        && seen.service.is_some_and(|service| service.is_active)
        && let Ok(now) = inventory(context)
    {
        stop_all(context, &now).err()
    } else {
        None
    };
    let stopped = stop_docker(context, seen.has_socket_unit);
    // Whatever could not be stopped: the next start is one with the old data.
    restore(context, before)?;
    stopped.map_err(|error| {
        unstopped.into_iter().fold(error, |error, why| error.context(flatten(&why).message))
    })?;
    let kept = before.copy.as_deref().map(|copy| set_aside(context, copy)).transpose()?;
    start(context, "start")?;
    wait_for_engine(context)?;
    Ok(kept)
}

/// Renames the copy, because containers may have written to it and the next run needs its place. Returns the new path.
fn set_aside(context: &Context, copy: &Path) -> Result<PathBuf> {
    const MOST: u32 = 20;
    let name = |number: u32| {
        let mut name = copy.as_os_str().to_owned();
        name.push(format!(".berth-failed-{number}"));
        PathBuf::from(name)
    };
    let free = (1..=MOST).map(name).find(|path| !context.host.exists(path)).ok_or_else(|| {
        Fault::refused(format!("{MOST} copies of Docker's data lie beside {}", copy.display()))
            .help("remove them, when nothing in them is needed")
    })?;
    tree::settle(copy, &free).with_context(|| format!("renaming {}", copy.display()))?;
    Ok(free)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "the test makes a root of its own")]
mod tests {
    use super::*;
    use crate::host::RealHost;

    #[test]
    fn a_copy_that_failed_is_kept_beside_the_ones_before() {
        let dir = tempfile::tempdir().unwrap();
        let copy = dir.path().join("docker");
        for number in ["1", "2"] {
            std::fs::create_dir(&copy).unwrap();
            std::fs::write(copy.join("file"), number).unwrap();
            let kept = Context::of_sim(&RealHost::default(), |context| set_aside(context, &copy)).unwrap();
            assert!(kept.ends_with(format!("docker.berth-failed-{number}")) && !copy.exists());
            assert_eq!(std::fs::read_to_string(kept.join("file")).unwrap(), number);
        }
    }
}
