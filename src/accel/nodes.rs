//! The one scan of the cards' device nodes: which exist, with which device number, and which paths have something else.
//! It opens no node: opening a card's node claims the card.

use super::{Accelerator, Named};
use crate::host::namespaces::HostNode;
use crate::host::nodes::{self, DeviceNode};
use crate::model::CardId;
use crate::model::check_facts::NodeFacts;
use crate::profile::Devices;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Device numbers of cards.
pub type Numbers = Vec<(CardId, (u32, u32))>;

/// What is at the path of a device node.
#[derive(Debug, Clone, PartialEq, Eq)]
enum At {
    Nothing,
    Node(DeviceNode),
    /// Something else, and what it is.
    NoDevice(String),
    NotLooked(String),
}

/// A symbolic link is not followed, and is no device node.
fn at(path: &Path) -> At {
    match nodes::device_node(path) {
        Ok(Some(node)) => At::Node(node),
        Ok(None) => At::Nothing,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => At::NoDevice(error.to_string()),
        Err(error) => At::NotLooked(error.to_string()),
    }
}

/// A node of a card: its own, or one of its virtual parts'.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CardNode {
    pub id: CardId,
    /// `None` while the node is missing.
    pub number: Option<(u32, u32)>,
    /// The part's own number, as its node is called.
    pub part: Option<u32>,
}

/// The nodes of the cards, as they are in the host's dev directory.
#[derive(Debug, Clone, Default)]
pub struct Nodes {
    /// Those that have one.
    pub whole: Numbers,
    /// Those of virtual parts, with the parts' numbers.
    pub parts: Vec<(CardId, u32, (u32, u32))>,
    /// What is in the place of a node, and is none.
    pub bad: Vec<(CardId, String)>,
    paths: Vec<PathBuf>,
}

impl Nodes {
    /// Each number that is a card's, its parts' too.
    pub fn numbers(&self) -> Numbers {
        let parts = self.parts.iter().map(|(card, _, number)| (*card, *number));
        self.whole.iter().copied().chain(parts).collect()
    }

    /// Owner and mode of each node. Nodes that have gone since are left out.
    pub fn on_host(&self) -> Vec<HostNode> {
        self.paths.iter().filter_map(|path| HostNode::at(path).ok()).collect()
    }

    /// Each by itself, for whoever compares it with what a container was given.
    pub fn each(&self) -> Vec<CardNode> {
        let whole = self.whole.iter().map(|(id, number)| (*id, *number, None));
        let parts = self.parts.iter().map(|(id, part, number)| (*id, *number, Some(*part)));
        whole.chain(parts).map(|(id, number, part)| CardNode { id, number: Some(number), part }).collect()
    }
}

/// The nodes of as many cards as the node should have, and of all virtual parts.
pub fn scan(accel: &dyn Accelerator, dev: &Path, cards: u32) -> Nodes {
    let mut found = Nodes::default();
    for (card, path, at) in whole(accel, dev, cards) {
        match at {
            At::Node(node) => {
                found.whole.push((card, (node.major, node.minor)));
                found.paths.push(path);
            }
            At::Nothing => {}
            // One bad path is one bad card.
            At::NoDevice(why) | At::NotLooked(why) => found.bad.push((card, why)),
        }
    }
    let part = |name: &str| accel.named(name).and_then(|Named { card, part }| Some((part?, card)));
    match nodes::nodes_called(dev, &part) {
        Ok(parts) => {
            for ((part, card), path, node) in parts {
                found.parts.push((card, part, (node.major, node.minor)));
                found.paths.push(path);
            }
        }
        // Any of them may be cut.
        Err(error) => {
            let reason = format!("nodes of vNPUs in {}: {error}", dev.display());
            found.bad.extend((0..cards).map(|id| (CardId(id), reason.clone())));
        }
    }
    found
}

fn whole<'a>(
    accel: &'a dyn Accelerator,
    dev: &'a Path,
    cards: u32,
) -> impl Iterator<Item = (CardId, PathBuf, At)> + 'a {
    (0..cards).map(CardId).map(move |card| {
        let path = dev.join(accel.node_name(card));
        let at = at(&path);
        (card, path, at)
    })
}

/// The nodes as `berth check` judges them, those that every berth needs included.
pub fn examine(accel: &dyn Accelerator, dev: &Path, devices: &Devices) -> Result<NodeFacts, String> {
    let mut facts = NodeFacts::default();
    for (card, path, at) in whole(accel, dev, devices.cards) {
        if let Some(node) = node_of(at, &path, &mut facts.wrong)? {
            facts.cards.push(card.0);
            facts.gid.get_or_insert(node.gid);
        }
    }
    for name in &devices.manager {
        let path = dev.join(name);
        match at(&path) {
            At::Nothing => facts.missing_managers.push(name.clone()),
            there => {
                node_of(there, &path, &mut facts.wrong)?;
            }
        }
    }
    Ok(facts)
}

/// The node at a path. Something else at the path is added to `wrong`. Fails only if it could not be looked at.
fn node_of(at: At, path: &Path, wrong: &mut Vec<String>) -> Result<Option<DeviceNode>, String> {
    match at {
        At::Node(node) => return Ok(Some(node)),
        At::Nothing => {}
        At::NoDevice(_) => wrong.push(format!("{} is not a character device", path.display())),
        At::NotLooked(why) => return Err(format!("device nodes cannot be looked at: {why}")),
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accel::Ascend;

    #[test]
    #[allow(clippy::disallowed_methods, reason = "a test makes what is no device")]
    fn what_is_missing_and_what_is_no_device_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("davinci1"), "x").unwrap();
        let devices = |cards, manager: &str| Devices {
            cards,
            pci_ids: Vec::new(),
            manager: vec![manager.into()],
            optional: Vec::new(),
            groups: Vec::new(),
        };
        let facts = examine(&Ascend, dir.path(), &devices(2, "davinci_manager")).unwrap();
        assert!(facts.cards.is_empty() && facts.missing_managers == ["davinci_manager"]);
        assert!(facts.wrong[0].ends_with("davinci1 is not a character device"), "{:?}", facts.wrong);
        let real = examine(&Ascend, Path::new("/dev"), &devices(0, "null")).unwrap();
        assert!(real.missing_managers.is_empty());
    }
}
