//! The journal of steps that bootstrap began and finished: one line of JSON for each event, which is on the disk before
//! bootstrap goes on.
//!
//! A journal that cannot be read is an error, never an empty journal. Only an incomplete last line is ignored: the
//! power failed while it was written, and its step had not begun.

use super::Step;
use crate::error::Fault;
use crate::host::files::{append_durably, cut_torn_line};
use crate::host::{Host, read_text};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// From schema 2 on, its steps are those of a plan of schema 2.
pub const SCHEMA: u32 = 2;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    pub schema: u32,
    pub at: Timestamp,
    pub run: String,
    pub event: JournalEvent,
    /// The step's key.
    #[serde(default, rename = "step", skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub what: Option<Step>,
    /// Why the step failed, or the id of the boot that must end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JournalEvent {
    Begun,
    Started,
    Done,
    Failed,
    /// An earlier run began it, and a later run saw that it is done.
    Settled,
    /// The run continues after a reboot.
    Reboot,
    Finished,
}

#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    run: String,
    entries: Vec<Entry>,
}

impl Journal {
    /// Reads the journal and changes nothing. `run` is the id of the run that will write to it.
    pub fn read(host: &dyn Host, path: &Path, run: &str) -> Result<Self, Fault> {
        let text = match read_text(host, path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => return Err(damaged(path, &error.to_string())),
        };
        let whole = text.rfind('\n').map_or("", |end| text.get(..end).unwrap_or(""));
        let mut entries = Vec::new();
        for (index, line) in whole.lines().enumerate() {
            let entry = parse(line).map_err(|why| match why {
                Some(why) => damaged(path, &format!("line {}: {why}", index + 1)),
                None => Fault::refused(format!("{} was written by a newer berth", path.display()))
                    .help("use that berth, or move the file away when its run is over"),
            })?;
            entries.push(entry);
        }
        Ok(Self { path: path.to_path_buf(), run: run.to_owned(), entries })
    }

    /// To be called once before the first event.
    pub fn begin(&mut self, at: Timestamp) -> Result<(), Fault> {
        cut_torn_line(&self.path)?;
        self.write(at, JournalEvent::Begun, None, None)
    }

    pub fn started(&mut self, at: Timestamp, step: &Step) -> Result<(), Fault> {
        self.write(at, JournalEvent::Started, Some(step), None)
    }

    pub fn done(&mut self, at: Timestamp, step: &Step) -> Result<(), Fault> {
        self.write(at, JournalEvent::Done, Some(step), None)
    }

    pub fn failed(&mut self, at: Timestamp, step: &Step, why: &str) -> Result<(), Fault> {
        self.write(at, JournalEvent::Failed, Some(step), Some(why.to_owned()))
    }

    pub fn settled(&mut self, at: Timestamp, step: &Step) -> Result<(), Fault> {
        self.write(at, JournalEvent::Settled, Some(step), None)
    }

    /// `boot` is the id of the boot that must end first.
    pub fn reboot(&mut self, at: Timestamp, boot: &str) -> Result<(), Fault> {
        self.write(at, JournalEvent::Reboot, None, Some(boot.to_owned()))
    }

    pub fn finished(&mut self, at: Timestamp) -> Result<(), Fault> {
        self.write(at, JournalEvent::Finished, None, None)
    }

    /// Steps that were started and not noted as done.
    pub fn unfinished(&self) -> Vec<Step> {
        let mut open: Vec<Step> = Vec::new();
        for entry in &self.entries {
            let Some(step) = &entry.what else { continue };
            match entry.event {
                JournalEvent::Started => {
                    open.retain(|other| other.key() != step.key());
                    open.push(step.clone());
                }
                JournalEvent::Done | JournalEvent::Settled => open.retain(|other| other.key() != step.key()),
                _ => {}
            }
        }
        open
    }

    /// UUIDs of file systems that were made and not mounted yet: nobody can have data on them.
    pub fn fresh_volumes(&self) -> Vec<String> {
        let mut fresh: Vec<String> = Vec::new();
        for entry in self.entries.iter().filter(|entry| entry.event == JournalEvent::Started) {
            match &entry.what {
                Some(Step::MakeVolume(volume)) if !fresh.contains(&volume.uuid) => {
                    fresh.push(volume.uuid.clone());
                }
                Some(Step::AddMount(mount)) => fresh.retain(|uuid| *uuid != mount.uuid),
                _ => {}
            }
        }
        fresh
    }

    /// Serial numbers of disks that were wiped since the last run that finished: they are not wiped again. If a power
    /// cut took the line that says so, the next run sees that the disk is empty, and notes the wipe as settled.
    pub fn wiped(&self) -> Vec<String> {
        let since = self
            .entries
            .iter()
            .rposition(|entry| entry.event == JournalEvent::Finished)
            .map_or(0, |at| at + 1);
        let is_over = |entry: &&Entry| matches!(entry.event, JournalEvent::Done | JournalEvent::Settled);
        let done = self.entries.iter().skip(since).filter(is_over);
        let serial = |entry: &Entry| match &entry.what {
            Some(Step::WipeDisk(wipe)) => Some(wipe.disk.serial.clone()),
            _ => None,
        };
        done.filter_map(serial).collect()
    }

    /// Whether one of these steps was started after the last time that `cure` was done.
    pub fn is_open_behind(&self, causes: &[&str], cure: &str) -> bool {
        let last = |events: &[JournalEvent], keys: &[&str]| {
            self.entries.iter().rposition(|entry| {
                events.contains(&entry.event) && entry.key.as_deref().is_some_and(|key| keys.contains(&key))
            })
        };
        last(&[JournalEvent::Started], causes) > last(&[JournalEvent::Done], &[cure])
    }

    /// The id of the boot that the last run asked to end; `None` if another run has begun since.
    pub fn awaited_reboot(&self) -> Option<&str> {
        let last = self.entries.last().filter(|entry| entry.event == JournalEvent::Reboot)?;
        last.text.as_deref()
    }

    /// Whether the newest run finished such a step.
    pub fn did_in_last_run(&self, is_meant: impl Fn(&Step) -> bool) -> bool {
        let run = self.entries.last().map(|entry| &entry.run);
        let mut done =
            self.entries.iter().filter(|entry| Some(&entry.run) == run && entry.event == JournalEvent::Done);
        done.any(|entry| entry.what.as_ref().is_some_and(&is_meant))
    }

    pub fn was_begun_after(&self, at: Timestamp) -> bool {
        self.entries.iter().any(|entry| entry.event == JournalEvent::Begun && entry.at >= at)
    }

    /// Whether any run started this step.
    pub fn knows(&self, step: &Step) -> bool {
        let is_it = |known: &Step| step.is_same_work(known);
        self.entries
            .iter()
            .any(|entry| entry.event == JournalEvent::Started && entry.what.as_ref().is_some_and(is_it))
    }

    fn write(
        &mut self,
        at: Timestamp,
        event: JournalEvent,
        step: Option<&Step>,
        text: Option<String>,
    ) -> Result<(), Fault> {
        let entry = Entry {
            schema: SCHEMA,
            at,
            run: self.run.clone(),
            event,
            key: step.map(Step::key),
            what: step.cloned(),
            text,
        };
        let line = serde_json::to_string(&entry)
            .map_err(|error| Fault::bug(format!("writing the journal: {error}")))?;
        append_durably(&self.path, &line)?;
        self.entries.push(entry);
        Ok(())
    }
}

/// Parses a line. `Err(None)`: it is of a newer schema.
fn parse(line: &str) -> Result<Entry, Option<String>> {
    let value: serde_json::Value = serde_json::from_str(line).map_err(|error| Some(error.to_string()))?;
    if value.get("schema").and_then(serde_json::Value::as_u64).is_some_and(|schema| schema > SCHEMA.into()) {
        return Err(None);
    }
    serde_json::from_value(value).map_err(|error| Some(error.to_string()))
}

fn damaged(path: &Path, why: &str) -> Fault {
    Fault::host(format!("the journal {} cannot be understood: {why}", path.display())).help(
        "it says what an interrupted run had begun; look at it, and move it away only when that is settled",
    )
}
