//! Kernel settings: a value that is too low is raised, now and for every boot; a higher value stays.

use super::DockerInput;
use crate::bootstrap::observed::Observed;
use crate::bootstrap::plan::{ApplySysctl, FilePurpose, Part, Step, WriteFile};
use crate::facts::sysctl::FILE;
use std::collections::{BTreeMap, BTreeSet};

pub fn plan_sysctl(seen: &Observed, request: &DockerInput) -> Part {
    let mut part = Part::default();
    let wants = &request.wants.sysctl;
    if wants.is_empty() {
        return part;
    }
    let old = seen.kernel.file.as_deref().unwrap_or("");
    let ours: BTreeSet<&str> = old.lines().filter_map(|line| Some(line.split_once('=')?.0.trim())).collect();
    let mut lines = BTreeMap::new();
    let mut low = BTreeMap::new();
    for (name, wanted) in wants {
        let Some(value) = seen.kernel.values.get(name).copied().flatten() else {
            part.notes.push(format!("this kernel has no {name}"));
            continue;
        };
        // Somebody else set it higher: at the next boot ours would come after it.
        if value <= *wanted || ours.contains(name.as_str()) {
            lines.insert(name, wanted);
        }
        if value < *wanted {
            low.insert(name.clone(), *wanted);
        }
    }
    part.notes.extend(seen.kernel.overridden.iter().map(|what| format!("{what}, and comes after {FILE}")));
    let content = content(&lines);
    if content != old {
        let purpose = FilePurpose::KernelSettings;
        let step = WriteFile { path: FILE.into(), content, mode: 0o644, purpose };
        part.add(Step::WriteFile(step), "a profile's least values are not all there");
    }
    if low.is_empty() {
        part.is_right("the kernel's settings are high enough");
    } else {
        let now: Vec<String> = low.keys().map(|name| current(seen, name)).collect();
        part.add(Step::ApplySysctl(ApplySysctl { file: FILE.into(), values: low }), now.join(", "));
    }
    part
}

fn current(seen: &Observed, name: &str) -> String {
    let value = seen.kernel.values.get(name).copied().flatten().unwrap_or_default();
    format!("{name} is {value}")
}

fn content(lines: &BTreeMap<&String, &u64>) -> String {
    let lines: Vec<String> = lines.iter().map(|(name, value)| format!("{name} = {value}\n")).collect();
    if lines.is_empty() {
        String::new()
    } else {
        format!("# Written by berth bootstrap.\n{}", lines.concat())
    }
}
