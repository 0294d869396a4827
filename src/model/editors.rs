//! Links to editors' servers: the node writes the list, and sessions make the links in their home.

use serde::{Deserialize, Serialize};

/// Where berths see the unpacked servers and `links.json`.
pub const EDITORS_INSIDE: &str = "/opt/berth/editors";
/// The name of [`EditorLinks`] there.
pub const LINKS_FILE: &str = "links.json";
pub const LINKS_SCHEMA: u32 = 1;

/// What sessions of all berths are to find at home.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EditorLinks {
    pub schema: u32,
    pub links: Vec<EditorLink>,
}

impl Default for EditorLinks {
    fn default() -> Self {
        Self { schema: LINKS_SCHEMA, links: Vec::new() }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EditorLink {
    /// Relative to the session user's home.
    pub path: String,
    /// Relative to [`EDITORS_INSIDE`].
    pub target: String,
    pub kind: LinkKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkKind {
    /// The path is a link to the target.
    Whole,
    /// The path is a directory of the user's with a link to each entry of the target: editors keep lock files there,
    /// and change `product.json`.
    Entries,
}
