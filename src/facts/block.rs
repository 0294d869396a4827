//! Block devices for `berth facts`, made from lsblk's rows.

use super::lsblk::{self, LsblkRow};
use crate::host::Host;
use crate::host::block::names_of;
use crate::model::facts::BlockDevice;

pub fn gather(host: &dyn Host) -> Result<Vec<BlockDevice>, String> {
    let mut devices = view(lsblk::gather_to_show(host)?);
    for device in &mut devices {
        // The one that bootstrap knows it by.
        device.serial = names_of(host, &device.name).serial.or(device.serial.take());
    }
    Ok(devices)
}

fn view(rows: Vec<LsblkRow>) -> Vec<BlockDevice> {
    let device = |row: LsblkRow| BlockDevice {
        name: row.name,
        kind: row.kind,
        size_bytes: row.size_bytes,
        serial: row.serial,
        model: row.model,
        fs_type: row.fs_type,
        uuid: row.uuid,
        mountpoints: row.mountpoints,
        children: view(row.children),
    };
    rows.into_iter().map(device).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::FakeHost;

    const NEW: &str = r#"{"blockdevices":[{"name":"nvme0n1","type":"disk","size":3840755982336,"serial":"NV1",
        "model":"X  ","fstype":null,"uuid":null,"mountpoints":[null],"children":[{"name":"vg-data","type":"lvm",
        "size":1,"serial":null,"model":null,"fstype":"xfs","uuid":"u","mountpoints":["/data","/docker"]}]}]}"#;

    fn parse(text: &str) -> Result<Vec<BlockDevice>, String> {
        lsblk::parse(text, lsblk::TO_SHOW).map(view)
    }

    #[test]
    fn a_tree_of_devices_is_read() {
        let found = parse(NEW).unwrap();
        assert_eq!((found[0].name.as_str(), found[0].model.as_deref()), ("nvme0n1", Some("X")));
        assert_eq!(found[0].children[0].mountpoints, ["/data", "/docker"]);
        assert!(found[0].mountpoints.is_empty());
    }

    #[test]
    fn an_old_lsblk_is_asked_again_without_mountpoints() {
        let command =
            |mounts| format!("lsblk --json --bytes -o NAME,TYPE,SIZE,SERIAL,MODEL,FSTYPE,UUID,{mounts}");
        let old = r#"{"blockdevices":[{"name":"sda","type":"disk","size":"5","mountpoint":"/"}]}"#;
        let host = FakeHost::default()
            .with_output(&command("MOUNTPOINTS"), 1, "", "lsblk: unknown column: MOUNTPOINTS")
            .with_output(&command("MOUNTPOINT"), 0, old, "");
        let found = gather(&host).unwrap();
        assert_eq!((found[0].size_bytes, found[0].mountpoints.as_slice()), (5, &["/".to_owned()][..]));
    }

    #[test]
    fn no_json_and_no_tool_are_reasons() {
        assert!(parse("lsblk: error").unwrap_err().contains("no JSON"));
        assert!(gather(&FakeHost::default()).is_err());
    }
}
