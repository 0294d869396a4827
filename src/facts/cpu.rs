//! Processors and NUMA nodes, from /proc/cpuinfo and sysfs.

use crate::host::{Host, need_text, read_text};
use crate::model::cpulist;
use crate::model::facts::{CpuFacts, NumaNode};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

pub fn gather(host: &dyn Host) -> Result<CpuFacts, String> {
    let info = need_text(host, Path::new("/proc/cpuinfo"))?;
    let online = online_cpus(host).map(|cpus| cpus.len());
    let logical = online.unwrap_or_else(|| info.lines().filter(|line| line.starts_with("processor")).count());
    Ok(CpuFacts {
        model: parse_model(&info),
        logical: u32::try_from(logical).unwrap_or(u32::MAX),
        numa_nodes: numa_nodes(host).unwrap_or_default(),
    })
}

/// The CPUs that the kernel schedules on now.
pub fn online_cpus(host: &dyn Host) -> Option<BTreeSet<u32>> {
    let text = read_text(host, Path::new("/sys/devices/system/cpu/online")).ok()?;
    cpulist::parse(text.trim())
}

/// x86 has a name; arm64 has numbers, of which we know the processors that carry Ascend cards.
pub fn parse_model(cpuinfo: &str) -> Option<String> {
    let value = |key: &str| {
        cpuinfo.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            (name.trim() == key && !value.trim().is_empty()).then(|| value.trim().to_owned())
        })
    };
    value("model name").or_else(|| {
        let (implementer, part) = (value("CPU implementer")?, value("CPU part")?);
        Some(match (implementer.as_str(), part.as_str()) {
            ("0x48", "0xd01") => "Kunpeng-920".into(),
            ("0x48", "0xd02") => "Kunpeng-920 (0xd02)".into(),
            _ => format!("CPU implementer {implementer} part {part}"),
        })
    })
}

pub fn numa_nodes(host: &dyn Host) -> Option<Vec<NumaNode>> {
    let paths = host.list(Path::new("/sys/devices/system/node")).ok()?;
    let mut nodes: Vec<NumaNode> = paths.iter().filter_map(|path| read_node(host, path)).collect();
    nodes.sort_by_key(|node| node.id);
    Some(nodes)
}

/// How far each NUMA node is from each, as the firmware says: 10 is itself.
pub fn numa_distances(host: &dyn Host) -> BTreeMap<u32, BTreeMap<u32, u32>> {
    let ids: Vec<u32> = numa_nodes(host).unwrap_or_default().iter().map(|node| node.id).collect();
    let of = |id: &u32| {
        let path = format!("/sys/devices/system/node/node{id}/distance");
        let text = read_text(host, Path::new(&path)).ok()?;
        let row: Option<Vec<u32>> = text.split_whitespace().map(|number| number.parse().ok()).collect();
        // In the order of the nodes; a row of another length says nothing that we understand.
        let row = row.filter(|row| row.len() == ids.len())?;
        Some((*id, ids.iter().copied().zip(row).collect()))
    };
    ids.iter().filter_map(of).collect()
}

fn read_node(host: &dyn Host, path: &Path) -> Option<NumaNode> {
    let id = path.file_name()?.to_str()?.strip_prefix("node")?.parse().ok()?;
    let cpus = read_text(host, &path.join("cpulist")).ok()?.trim().to_owned();
    let memory = read_text(host, &path.join("meminfo")).ok();
    Some(NumaNode { id, cpus, memory_mib: memory.and_then(|text| parse_node_memory(&text)) })
}

/// `Node 0 MemTotal:       4027332 kB`
fn parse_node_memory(text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.contains("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().rev().nth(1)?.parse().ok()?;
    Some(kib / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::FakeHost;

    #[test]
    fn nodes_and_models_are_read() {
        let host = FakeHost::default()
            .with_file("/proc/cpuinfo", "processor\t: 0\nCPU implementer\t: 0x48\nCPU part\t: 0xd01\n")
            .with_file("/sys/devices/system/node/node1/cpulist", "24-47\n")
            .with_file("/sys/devices/system/node/node0/cpulist", "0-23\n")
            .with_file("/sys/devices/system/node/node0/meminfo", "Node 0 MemTotal:  2048 kB\n")
            .with_file("/sys/devices/system/node/has_cpu", "0-1\n");
        let cpu = gather(&host).unwrap();
        assert_eq!((cpu.model.as_deref(), cpu.logical), (Some("Kunpeng-920"), 1));
        assert_eq!(cpu.numa_nodes.iter().map(|n| n.cpus.as_str()).collect::<Vec<_>>(), ["0-23", "24-47"]);
        assert_eq!(cpu.numa_nodes[0].memory_mib, Some(2));
        assert!(gather(&FakeHost::default()).is_err());
        let far = host
            .with_file("/sys/devices/system/node/node0/distance", "10 12\n")
            .with_file("/sys/devices/system/node/node1/distance", "12 10 22\n");
        let row = BTreeMap::from([(0, 10), (1, 12)]);
        assert_eq!(numa_distances(&far), BTreeMap::from([(0, row)]), "a row of another length is none");
    }
}
