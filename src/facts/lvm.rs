//! LVM's physical volumes, groups and logical volumes.

use crate::host::{Cmd, Host, RunError, Tool};
use crate::model::disk::PhysicalVolume;
use crate::model::observed::{LogicalVolume, VolumeGroup};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Lvm {
    /// By device path.
    pub physical: BTreeMap<String, PhysicalVolume>,
    pub groups: Vec<VolumeGroup>,
}

const TIMEOUT: Duration = Duration::from_mins(1);

/// `Ok(None)`: LVM's programs are not installed.
pub fn gather(host: &dyn Host) -> Result<Option<Lvm>, String> {
    let ask = |tool: Tool, fields: &str| host.run(&report(tool, fields)).map(|output| output.stdout);
    let physical = match ask(Tool::Pvs, "pv_name,pv_uuid,vg_name") {
        Err(RunError::Missing { .. }) => return Ok(None),
        other => other.map_err(|error| error.to_string())?,
    };
    let groups = ask(Tool::Vgs, "vg_name,vg_uuid,vg_tags,vg_missing_pv_count,pv_count,vg_free")
        .map_err(|error| error.to_string())?;
    let volumes = ask(Tool::Lvs, "vg_uuid,lv_name,lv_tags,lv_size,lv_active,stripes")
        .map_err(|error| error.to_string())?;
    parse(&physical, &groups, &volumes).map(Some)
}

fn report(tool: Tool, fields: &str) -> Cmd {
    let plain = ["--reportformat", "json", "--units", "b", "--nosuffix", "-o", fields];
    // Groups with missing disks make it exit with 5, and are told all the same.
    tool.cmd().args(plain).timeout(TIMEOUT).allow_exits(&[5])
}

pub fn parse(physical: &str, groups: &str, volumes: &str) -> Result<Lvm, String> {
    let mut lvm = Lvm::default();
    for row in rows(physical, "pv")? {
        let volume = PhysicalVolume { uuid: text(&row, "pv_uuid"), group: some(text(&row, "vg_name")) };
        lvm.physical.insert(text(&row, "pv_name"), volume);
    }
    for row in rows(groups, "vg")? {
        lvm.groups.push(VolumeGroup {
            name: text(&row, "vg_name"),
            uuid: text(&row, "vg_uuid"),
            tags: list(&text(&row, "vg_tags")),
            missing_disks: number(&row, "vg_missing_pv_count")?,
            disks: number(&row, "pv_count")?,
            free_bytes: number(&row, "vg_free")?,
            volumes: Vec::new(),
        });
    }
    for row in rows(volumes, "lv")? {
        let volume = LogicalVolume {
            name: text(&row, "lv_name"),
            tags: list(&text(&row, "lv_tags")),
            size_bytes: number(&row, "lv_size")?,
            active: text(&row, "lv_active") == "active",
            stripes: number(&row, "stripes").unwrap_or(1),
            file_system: None,
        };
        let group = text(&row, "vg_uuid");
        let known = lvm.groups.iter_mut().find(|known| known.uuid == group);
        let Some(known) = known else { continue };
        // A volume of several segments has a row for each.
        if known.volumes.iter().all(|other| other.name != volume.name) {
            known.volumes.push(volume);
        }
    }
    lvm.groups.sort_by(|a, b| (&a.name, &a.uuid).cmp(&(&b.name, &b.uuid)));
    Ok(lvm)
}

fn rows(json: &str, kind: &str) -> Result<Vec<Value>, String> {
    let value: Value =
        serde_json::from_str(json).map_err(|error| format!("LVM's report is no JSON: {error}"))?;
    let rows = value.pointer(&format!("/report/0/{kind}")).and_then(Value::as_array);
    rows.cloned().ok_or_else(|| format!("LVM's report has no `{kind}`"))
}

fn text(row: &Value, key: &str) -> String {
    row.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn list(text: &str) -> Vec<String> {
    text.split(',').filter(|tag| !tag.is_empty()).map(str::to_owned).collect()
}

fn number(row: &Value, key: &str) -> Result<u64, String> {
    let value = text(row, key);
    value.parse().map_err(|_| format!("LVM says {key} is `{value}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_joined() {
        let lvm = parse(
            r#"{"report":[{"pv":[{"pv_name":"/dev/nvme0n1","pv_uuid":"u1","vg_name":"berth_data"},
               {"pv_name":"/dev/nvme1n1","pv_uuid":"u2","vg_name":""}]}]}"#,
            r#"{"report":[{"vg":[{"vg_name":"berth_data","vg_uuid":"g","vg_tags":"berth,berth.volume.data",
               "vg_missing_pv_count":"0","pv_count":"1","vg_free":"4096"}]}]}"#,
            r#"{"report":[{"lv":[{"vg_uuid":"g","lv_name":"data","lv_tags":"berth","lv_size":"8192","lv_active":"active","stripes":"1"},
               {"vg_uuid":"g","lv_name":"data","lv_tags":"berth","lv_size":"8192","lv_active":"active","stripes":"2"}]}]}"#,
        )
        .unwrap();
        assert_eq!(lvm.physical["/dev/nvme0n1"].group.as_deref(), Some("berth_data"));
        assert_eq!(lvm.physical["/dev/nvme1n1"].group, None);
        assert_eq!(lvm.groups[0].tags, ["berth", "berth.volume.data"]);
        assert_eq!((lvm.groups[0].volumes.len(), lvm.groups[0].free_bytes), (1, 4096));
    }

    #[test]
    fn a_report_that_is_none_is_an_error() {
        assert!(parse("", "", "").unwrap_err().contains("no JSON"));
        assert!(parse("{}", "{}", "{}").unwrap_err().contains("no `pv`"));
    }
}
