//! The one reader of lsblk. Other modules make their own types from its rows.

use crate::host::{Host, RunError, Tool};
use serde_json::Value;
use std::time::Duration;

/// A device as lsblk shows it. What it does not say, or was not asked for, is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LsblkRow {
    pub name: String,
    pub kernel_name: String,
    pub path: String,
    /// `259:1`
    pub number: String,
    pub kind: String,
    pub size_bytes: u64,
    pub block_size: Option<u64>,
    pub serial: Option<String>,
    pub model: Option<String>,
    pub transport: Option<String>,
    pub read_only: bool,
    pub removable: bool,
    pub fs_type: Option<String>,
    pub uuid: Option<String>,
    pub mountpoints: Vec<String>,
    pub children: Vec<LsblkRow>,
}

impl LsblkRow {
    /// This device and all that are on it.
    pub fn whole_tree(&self) -> Vec<&Self> {
        let below = self.children.iter().flat_map(Self::whole_tree);
        std::iter::once(self).chain(below).collect()
    }
}

/// The columns that lsblk is asked for, and the time limit.
#[derive(Debug, Clone, Copy)]
pub struct Question {
    columns: &'static str,
    timeout: Duration,
    /// Columns that every device must have, else the answer is an error. If empty, a device without name and size is
    /// left out.
    needs: &'static [&'static str],
}

/// For decisions: a device with missing columns is an error, and is not left out.
pub const TO_DECIDE: Question = Question {
    columns: "NAME,KNAME,PATH,MAJ:MIN,TYPE,SIZE,SERIAL,MODEL,TRAN,RO,RM,LOG-SEC,UUID",
    timeout: Duration::from_secs(30),
    needs: &["name", "kname", "path", "maj:min", "type", "size"],
};

/// For showing devices to people.
pub const TO_SHOW: Question = Question {
    columns: "NAME,TYPE,SIZE,SERIAL,MODEL,FSTYPE,UUID,MOUNTPOINTS",
    timeout: Duration::from_secs(5),
    needs: &[],
};

/// The same of util-linux before 2.37.
const TO_SHOW_OLD: Question =
    Question { columns: "NAME,TYPE,SIZE,SERIAL,MODEL,FSTYPE,UUID,MOUNTPOINT", ..TO_SHOW };

pub fn gather_to_decide(host: &dyn Host) -> Result<Vec<LsblkRow>, String> {
    parse(&run(host, TO_DECIDE).map_err(|error| error.to_string())?, TO_DECIDE)
}

pub fn gather_to_show(host: &dyn Host) -> Result<Vec<LsblkRow>, String> {
    let printed = match run(host, TO_SHOW) {
        Err(RunError::Failed { .. }) => run(host, TO_SHOW_OLD),
        other => other,
    };
    parse(&printed.map_err(|error| error.to_string())?, TO_SHOW)
}

fn run(host: &dyn Host, question: Question) -> Result<String, RunError> {
    let cmd = Tool::Lsblk.cmd().args(["--json", "--bytes", "-o", question.columns]);
    host.run(&cmd.timeout(question.timeout)).map(|output| output.stdout)
}

pub fn parse(text: &str, question: Question) -> Result<Vec<LsblkRow>, String> {
    let value: Value =
        serde_json::from_str(text).map_err(|error| format!("lsblk printed no JSON: {error}"))?;
    let list = value.get("blockdevices").and_then(Value::as_array).ok_or("lsblk printed no block devices")?;
    rows(list, question, 0)
}

fn rows(list: &[Value], question: Question, depth: usize) -> Result<Vec<LsblkRow>, String> {
    const DEEPEST: usize = 16;
    if depth > DEEPEST {
        return Err("lsblk printed devices within devices without end".into());
    }
    list.iter().filter_map(|value| row(value, question, depth).transpose()).collect()
}

fn row(value: &Value, question: Question, depth: usize) -> Result<Option<LsblkRow>, String> {
    let text = |key: &str| {
        let text = value.get(key).and_then(Value::as_str).map(str::trim).unwrap_or_default();
        (!text.is_empty()).then(|| text.to_owned())
    };
    // Old versions print numbers and truths as text.
    let number = |key: &str| {
        let value = value.get(key)?;
        value.as_u64().or_else(|| value.as_str()?.trim().parse().ok())
    };
    let is = |key: &str| value.get(key).and_then(Value::as_bool).unwrap_or(number(key) == Some(1));
    let array = |key: &str| value.get(key).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let says = |key: &str| if key == "size" { number(key).is_some() } else { text(key).is_some() };
    if let Some(key) = question.needs.iter().find(|key| !says(key)) {
        return Err(format!("lsblk printed a device without {key}"));
    }
    let (Some(name), Some(size_bytes)) = (text("name"), number("size")) else { return Ok(None) };
    let mounted = array("mountpoints").iter().filter_map(|mount| mount.as_str().map(str::to_owned));
    Ok(Some(LsblkRow {
        name,
        kernel_name: text("kname").unwrap_or_default(),
        path: text("path").unwrap_or_default(),
        number: text("maj:min").unwrap_or_default(),
        kind: text("type").unwrap_or_default(),
        size_bytes,
        block_size: number("log-sec"),
        serial: text("serial"),
        model: text("model"),
        transport: text("tran"),
        read_only: is("ro"),
        removable: is("rm"),
        fs_type: text("fstype"),
        uuid: text("uuid"),
        mountpoints: mounted.chain(text("mountpoint")).collect(),
        children: rows(array("children"), question, depth + 1)?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_is_half_known_is_shown_or_left_out_and_never_decided_about() {
        let half = r#"{"blockdevices":[{"name":"sda","type":"disk","size":"5"},{"name":"sdb","size":null}]}"#;
        let shown = parse(half, TO_SHOW).unwrap();
        assert_eq!((shown.len(), shown[0].size_bytes, shown[0].path.as_str()), (1, 5, ""));
        assert_eq!(parse(half, TO_DECIDE).unwrap_err(), "lsblk printed a device without kname");
        assert!(parse("{}", TO_SHOW).unwrap_err().contains("no block devices"));
    }

    #[test]
    fn what_is_on_a_device_belongs_to_its_tree_and_a_tree_has_an_end() {
        let nested = |depth: usize| {
            let open = r#"{"name":"a","size":1,"children":["#.repeat(depth);
            format!(r#"{{"blockdevices":[{open}{}]}}"#, "]}".repeat(depth))
        };
        assert_eq!(parse(&nested(3), TO_SHOW).unwrap()[0].whole_tree().len(), 3);
        assert!(parse(&nested(40), TO_SHOW).unwrap_err().contains("without end"));
    }
}
