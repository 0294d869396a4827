//! The cards' device nodes. It opens none: opening a card's claims it.

use crate::host::nodes::device_node;
use crate::model::check_facts::NodeFacts;
use std::path::Path;

pub fn gather(dev: &Path, cards: u32, managers: &[String]) -> Result<NodeFacts, String> {
    let mut facts = NodeFacts::default();
    for id in 0..cards {
        let path = dev.join(format!("davinci{id}"));
        match device_node(&path) {
            Ok(Some(node)) => {
                facts.cards.push(id);
                facts.gid.get_or_insert(node.gid);
            }
            Ok(None) => {}
            Err(error) => note(&mut facts, &path, &error)?,
        }
    }
    for name in managers {
        let path = dev.join(name);
        match device_node(&path) {
            Ok(Some(_)) => {}
            Ok(None) => facts.missing_managers.push(name.clone()),
            Err(error) => note(&mut facts, &path, &error)?,
        }
    }
    Ok(facts)
}

/// Something else in a node's place is a finding; not being allowed to look is none.
fn note(facts: &mut NodeFacts, path: &Path, error: &std::io::Error) -> Result<(), String> {
    if error.kind() == std::io::ErrorKind::AlreadyExists {
        facts.wrong.push(format!("{} is not a character device", path.display()));
        return Ok(());
    }
    Err(format!("device nodes cannot be looked at: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods, reason = "a test makes what is no device")]
    fn what_is_missing_and_what_is_no_device_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("davinci1"), "x").unwrap();
        let facts = gather(dir.path(), 2, &["davinci_manager".into()]).unwrap();
        assert!(facts.cards.is_empty() && facts.missing_managers == ["davinci_manager"]);
        assert!(facts.wrong[0].ends_with("davinci1 is not a character device"), "{:?}", facts.wrong);
        let real = gather(Path::new("/dev"), 0, &["null".into()]).unwrap();
        assert!(real.missing_managers.is_empty());
    }
}
