//! What a running engine says of itself: where its data really are, and how it stores them. Its config files and
//! flags only say what it was told.

use super::client::{Engine, SHORT};
use super::inventory::Inventory;
use crate::facts::docker::above_remapped;
use crate::host::tree;
use crate::model::docker_seen::EngineSaid;
use anyhow::{Context as _, Result};
use bollard::models::SystemInfo;
use std::path::Path;

/// The key in the engine's driver status whose value names a snapshotter of containerd.
const DRIVER_TYPE: &str = "driver-type";
const SNAPSHOTTER: &str = "io.containerd.snapshotter";

impl Engine {
    pub async fn said(&self) -> Result<EngineSaid> {
        let info =
            self.call(SHORT, self.docker().info()).await.context("asking the Docker Engine about itself")?;
        Ok(read(&info, &self.inventory().await?))
    }
}

fn read(info: &SystemInfo, inventory: &Inventory) -> EngineSaid {
    let has_option = |name: &str| {
        let options = info.security_options.iter().flatten();
        options.flat_map(|option| option.split(',')).any(|part| part.strip_prefix("name=") == Some(name))
    };
    let mut status = info.driver_status.iter().flatten();
    let has_containerd_store = status.any(|pair| match pair.as_slice() {
        [key, value, ..] => key == DRIVER_TYPE && value.starts_with(SNAPSHOTTER),
        _ => false,
    });
    let is_remapped = has_option("userns");
    let root = Path::new(info.docker_root_dir.as_deref().unwrap_or_default());
    let root = if is_remapped { above_remapped(root) } else { root };
    EngineSaid {
        root: tree::real_path(root).display().to_string(),
        driver: info.driver.clone(),
        is_remapped,
        is_rootless: has_option("rootless"),
        has_containerd_store,
        // What containerd keeps is not below the root.
        holds: !inventory.containers.is_empty() || !(has_containerd_store || inventory.images.is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remapped_root_and_a_store_of_containerd_are_known() {
        let some = |text: &str| Some(text.to_owned());
        let options = |list: &[&str]| Some(list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        let plain = SystemInfo {
            docker_root_dir: some("/none/docker"),
            driver: some("overlay2"),
            security_options: options(&["name=apparmor", "name=seccomp,profile=builtin"]),
            driver_status: Some(vec![vec!["Backing Filesystem".into(), "xfs".into()], vec![]]),
            ..SystemInfo::default()
        };
        let images = Inventory { images: vec!["i".into()], ..Inventory::default() };
        let said = read(&plain, &images);
        assert_eq!((said.root.as_str(), said.driver.as_deref()), ("/none/docker", Some("overlay2")));
        assert!(said.holds && !said.is_remapped && !said.is_rootless && !said.has_containerd_store);
        assert!(!read(&plain, &Inventory::default()).holds);

        let remapped = SystemInfo {
            docker_root_dir: some("/none/docker/165536.165536"),
            security_options: options(&["name=userns"]),
            ..plain.clone()
        };
        let said = read(&remapped, &images);
        assert!(said.is_remapped && said.root == "/none/docker", "{said:?}");
        let rootless = SystemInfo { security_options: options(&["name=rootless"]), ..plain.clone() };
        assert!(read(&rootless, &images).is_rootless);

        let containerd = SystemInfo {
            driver_status: Some(vec![vec!["driver-type".into(), "io.containerd.snapshotter.v1".into()]]),
            ..plain
        };
        let said = read(&containerd, &images);
        assert!(said.has_containerd_store && !said.holds);
        let containers = Inventory { containers: vec!["c".into()], ..Inventory::default() };
        assert!(read(&containerd, &containers).holds);
    }
}
