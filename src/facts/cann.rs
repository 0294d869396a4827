//! The CANN version of this node, and those that the names of the catalogue's images contain.

use crate::host::{Host, read_text};
use crate::model::check_facts::CannSeen;
use crate::profile::CatalogueImage;
use std::path::Path;

/// Directories of the toolkit; CANN 8.5 has another name. The version is in a subdirectory for the architecture.
const TOOLKITS: [&str; 2] = ["/usr/local/Ascend/ascend-toolkit/latest", "/usr/local/Ascend/cann"];

pub fn gather(host: &dyn Host, images: &[CatalogueImage]) -> Vec<CannSeen> {
    let of_node = TOOLKITS.iter().filter_map(|dir| installed(host, Path::new(dir)));
    let of_images = images.iter().filter_map(|image| {
        let version = in_reference(&image.reference)?;
        Some(CannSeen { place: format!("image {}: CANN", image.name), version })
    });
    of_node.chain(of_images).collect()
}

fn installed(host: &dyn Host, dir: &Path) -> Option<CannSeen> {
    let arch = std::env::consts::ARCH;
    let text = [format!("{arch}-linux"), String::new()]
        .iter()
        .find_map(|part| read_text(host, &dir.join(part).join("ascend_toolkit_install.info")).ok())?;
    let version = text.lines().find_map(|line| line.trim().strip_prefix("version="))?.trim();
    bounded(version).map(|version| CannSeen { place: "this node: CANN".into(), version })
}

/// `…-cann_8.2.rc1-py_3.11-…` and `…/cann:8.2.rc1-910b-…`, as those who build them name their images.
pub fn in_reference(reference: &str) -> Option<String> {
    let lower = reference.to_ascii_lowercase();
    let rest = ["cann_", "/cann:"].iter().find_map(|mark| lower.split_once(mark)).map(|(_, rest)| rest)?;
    let mut parts = rest.split('-');
    let first = parts.next()?;
    // `9.1.0-beta.3-910b`
    let next = parts.next().filter(|part| ["alpha", "beta", "rc"].iter().any(|word| part.starts_with(word)));
    bounded(&next.map_or_else(|| first.to_owned(), |next| format!("{first}-{next}")))
}

fn bounded(version: &str) -> Option<String> {
    let fits = version.starts_with(|c: char| c.is_ascii_digit())
        && version.len() <= 40
        && version.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    fits.then(|| version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::FakeHost;

    #[test]
    fn references_name_it() {
        let ours = "swr.example.com/atelier/pytorch:pytorch_2.5.1-cann_8.2.rc1-py_3.11-hce_2.0-aarch64-snt9b";
        assert_eq!(in_reference(ours).as_deref(), Some("8.2.rc1"));
        assert_eq!(
            in_reference("quay.example.com/ascend/cann:9.1.0-beta.3-910b-ubuntu22.04").as_deref(),
            Some("9.1.0-beta.3")
        );
        assert_eq!(in_reference("ascend/cann:8.0.0-910b").as_deref(), Some("8.0.0"));
        for other in ["debian:12", "x/cann:latest", "cann_", "x/cann:9\u{1b}[1m"] {
            assert_eq!(in_reference(other), None, "{other}");
        }
    }

    #[test]
    fn the_node_s_own_is_read() {
        let path =
            format!("/usr/local/Ascend/cann/{}-linux/ascend_toolkit_install.info", std::env::consts::ARCH);
        let host = FakeHost::default().with_file(&path, "package_name=Ascend-cann-toolkit\nversion=8.5.0\n");
        assert_eq!(gather(&host, &[])[0].version, "8.5.0");
        assert!(gather(&FakeHost::default(), &[]).is_empty());
    }
}
