//! Servers of editors: what their archives say of themselves, and where in a home editors look for them. Pure.

use crate::model::editors::{EditorLink, LinkKind};
use serde::{Deserialize, Serialize};

/// What `product.json` says of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Product {
    pub(super) commit: String,
    #[serde(rename = "serverDataFolderName")]
    data_folder: String,
    #[serde(rename = "serverApplicationName")]
    pub(super) application: String,
    #[serde(default)]
    quality: String,
}

impl Product {
    /// Reads `product.json`. All of it becomes part of paths, so all of it is checked.
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        let product: Self =
            serde_json::from_slice(text).map_err(|error| format!("its product.json: {error}"))?;
        if !is_commit(&product.commit) {
            return Err("the commit in its product.json is not 40 hexadecimal digits".into());
        }
        let folder = product.data_folder.strip_prefix('.').unwrap_or_default();
        if !is_name(folder) || !is_name(&product.application) {
            return Err("the names in its product.json are not those of a server".into());
        }
        Ok(product)
    }

    /// The directory of the unpacked server.
    pub(super) fn tree(&self) -> String {
        format!("server-{}", self.commit)
    }

    /// The classic place, which open-remote-ssh has, too, and that of the command line's server.
    pub(super) fn links(&self) -> Vec<EditorLink> {
        let quality = match self.quality.as_str() {
            "insider" | "insiders" => "Insiders",
            "exploration" => "Exploration",
            _ => "Stable",
        };
        let (folder, commit) = (&self.data_folder, &self.commit);
        vec![
            EditorLink {
                path: format!("{folder}/bin/{commit}"),
                target: self.tree(),
                kind: LinkKind::Entries,
            },
            EditorLink {
                path: format!("{folder}/cli/servers/{quality}-{commit}/server"),
                target: self.tree(),
                kind: LinkKind::Whole,
            },
        ]
    }
}

/// VS Code's command line, which starts its server: an archive of this one file. Its archive's name has the commit.
pub(super) fn links_of_cli(program: &str, commit: &str) -> Vec<EditorLink> {
    let folder = if program.ends_with("insiders") { ".vscode-server-insiders" } else { ".vscode-server" };
    vec![EditorLink {
        path: format!("{folder}/{program}-{commit}"),
        target: format!("{}/{program}", tree_of_cli(commit)),
        kind: LinkKind::Whole,
    }]
}

pub(super) fn tree_of_cli(commit: &str) -> String {
    format!("cli-{commit}")
}

/// The commit in an archive's name.
pub(super) fn commit_in(name: &str) -> Option<&str> {
    name.split(|c: char| !c.is_ascii_hexdigit()).find(|part| is_commit(part))
}

fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// One component of a path that is nothing but a plain name.
fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn product(folder: &str, commit: &str) -> Result<Product, String> {
        let text = format!(
            r#"{{"nameShort": "Code", "commit": "{commit}", "quality": "insider",
                 "serverDataFolderName": "{folder}", "serverApplicationName": "code-server"}}"#
        );
        Product::parse(text.as_bytes())
    }

    #[test]
    fn a_server_says_where_it_is_looked_for() {
        let links = product(".vscode-server", COMMIT).unwrap().links();
        assert_eq!(links[0].path, format!(".vscode-server/bin/{COMMIT}"));
        assert_eq!(links[0].kind, LinkKind::Entries);
        assert_eq!(links[1].path, format!(".vscode-server/cli/servers/Insiders-{COMMIT}/server"));
        assert_eq!(links_of_cli("code", COMMIT)[0].path, format!(".vscode-server/code-{COMMIT}"));
    }

    #[test]
    fn names_that_are_paths_are_refused() {
        for (folder, commit) in [
            ("vscode-server", COMMIT),
            ("..", COMMIT),
            ("./../../etc", COMMIT),
            (".ssh/x", COMMIT),
            (".vscode-server", "0123"),
            (".vscode-server", "../../../../../../../../../../../../aaaa"),
        ] {
            assert!(product(folder, commit).is_err(), "{folder} {commit}");
        }
        assert!(Product::parse(b"{}").is_err());
    }

    #[test]
    fn a_commit_is_found_in_a_name() {
        assert_eq!(commit_in(&format!("vscode_cli_alpine_x64_cli-{COMMIT}.tar.gz")), Some(COMMIT));
        assert_eq!(commit_in(&format!("{COMMIT}0.tar.gz")), None);
        assert_eq!(commit_in("vscode_cli.tar.gz"), None);
    }
}
