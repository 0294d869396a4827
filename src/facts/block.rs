//! Block devices, from lsblk.

use crate::host::block::names_of;
use crate::host::{Host, RunError, Tool};
use crate::model::facts::BlockDevice;
use serde_json::Value;

const COLUMNS: &str = "NAME,TYPE,SIZE,SERIAL,MODEL,FSTYPE,UUID";

pub fn gather(host: &dyn Host) -> Result<Vec<BlockDevice>, String> {
    let list = |mounts: &str| {
        let columns = format!("{COLUMNS},{mounts}");
        host.run(&Tool::Lsblk.cmd().args(["--json", "--bytes", "-o", columns.as_str()]))
    };
    // util-linux before 2.37 has only MOUNTPOINT.
    let output = match list("MOUNTPOINTS") {
        Err(RunError::Failed { .. }) => list("MOUNTPOINT"),
        other => other,
    };
    let mut devices = parse(&output.map_err(|error| error.to_string())?.stdout)?;
    for device in &mut devices {
        // The one that bootstrap knows it by.
        device.serial = names_of(host, &device.name).serial.or(device.serial.take());
    }
    Ok(devices)
}

pub fn parse(text: &str) -> Result<Vec<BlockDevice>, String> {
    let value: Value =
        serde_json::from_str(text).map_err(|error| format!("lsblk printed no JSON: {error}"))?;
    Ok(devices(value.get("blockdevices").ok_or("lsblk printed no block devices")?))
}

fn devices(value: &Value) -> Vec<BlockDevice> {
    value.as_array().into_iter().flatten().filter_map(device).collect()
}

fn device(value: &Value) -> Option<BlockDevice> {
    let text = |key: &str| {
        let text = value.get(key)?.as_str()?.trim();
        (!text.is_empty()).then(|| text.to_owned())
    };
    let mut mountpoints: Vec<String> = value
        .get("mountpoints")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|mount| mount.as_str().map(str::to_owned))
        .collect();
    mountpoints.extend(text("mountpoint"));
    Some(BlockDevice {
        name: text("name")?,
        kind: text("type").unwrap_or_default(),
        size_bytes: number(value.get("size")?)?,
        serial: text("serial"),
        model: text("model"),
        fs_type: text("fstype"),
        uuid: text("uuid"),
        mountpoints,
        children: value.get("children").map(devices).unwrap_or_default(),
    })
}

/// Old versions print numbers as text.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::FakeHost;

    const NEW: &str = r#"{"blockdevices":[{"name":"nvme0n1","type":"disk","size":3840755982336,"serial":"NV1",
        "model":"X  ","fstype":null,"uuid":null,"mountpoints":[null],"children":[{"name":"vg-data","type":"lvm",
        "size":1,"serial":null,"model":null,"fstype":"xfs","uuid":"u","mountpoints":["/data","/docker"]}]}]}"#;

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
