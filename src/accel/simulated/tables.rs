//! What the simulated npu-smi prints, in the driver's own layout. Pure: state in, text out.

use super::state::{SimCard, SimState};
use crate::model::{CardId, Health};
use std::fmt::Write as _;

/// What one card shows now.
pub(super) struct Row<'a> {
    pub(super) card: &'a SimCard,
    health: Health,
    processes: Vec<(u32, &'a str, u64)>,
    hbm_used: u64,
}

/// The cards that npu-smi lists here, in order.
pub(super) fn rows<'a>(state: &'a SimState, visible: &dyn Fn(CardId) -> bool) -> Vec<Row<'a>> {
    let listed = |card: &&SimCard| !state.faults.missing.contains(&card.id) && visible(card.id);
    state.cards.iter().filter(listed).map(|card| row(state, card)).collect()
}

fn row<'a>(state: &'a SimState, card: &'a SimCard) -> Row<'a> {
    let faults = &state.faults;
    let total = state.simulation.hbm_mib;
    let health =
        faults.health.iter().rev().find(|(id, _)| *id == card.id).map_or(Health::Ok, |(_, health)| *health);
    let holders = faults.holders.iter().filter(|holder| holder.card == card.id);
    let processes: Vec<_> = holders.map(|holder| (holder.pid, holder.name.as_str(), total / 4)).collect();
    // An idle card of this kind uses about 5 % of its memory; no two are quite alike.
    let idle = total / 20 + 106 + spread(card.id, 211);
    let held: u64 = processes.iter().map(|(_, _, memory)| memory).sum();
    Row { card, health, processes, hbm_used: (idle + held).min(total) }
}

/// A number below `limit` that is always the same for a card.
fn spread(id: CardId, limit: u64) -> u64 {
    (u64::from(id.0) * 97 + 13) % limit
}

const OUTER: usize = 96;

fn rule(text: &mut String, columns: &[usize], fill: &str) {
    let parts: Vec<String> = columns.iter().map(|width| fill.repeat(*width)).collect();
    line(text, &format!("+{}+", parts.join("+")));
}

fn line(text: &mut String, content: &str) {
    text.push_str(content);
    text.push('\n');
}

/// `npu-smi info`
pub(super) fn info(state: &SimState, rows: &[Row<'_>]) -> String {
    const COLUMNS: [usize; 3] = [27, 15, 52];
    let simulation = &state.simulation;
    let mut text = String::new();
    rule(&mut text, &[OUTER], "-");
    let (tool, driver) = (&simulation.tool_version, &simulation.driver_version);
    line(&mut text, &format!("| npu-smi {tool:<24} Version: {driver:<52} |"));
    rule(&mut text, &COLUMNS, "-");
    line(
        &mut text,
        &format!(
            "| {:<26}| {:<14}| {:<51}|",
            "NPU   Name", "Health", "Power(W)    Temp(C)           Hugepages-Usage(page)"
        ),
    );
    line(
        &mut text,
        &format!(
            "| {:<26}| {:<14}| {:<51}|",
            "Chip", "Bus-Id", "AICore(%)   Memory-Usage(MB)  HBM-Usage(MB)"
        ),
    );
    rule(&mut text, &COLUMNS, "=");
    for row in rows {
        let (id, busy) = (row.card.id, !row.processes.is_empty());
        let health = health_word(row.health);
        let power = format!("{}.{}", 90 + spread(id, 14) + if busy { 180 } else { 0 }, spread(id, 10));
        let temperature = 38 + spread(id, 9) + if busy { 12 } else { 0 };
        let name = &simulation.card_name;
        line(
            &mut text,
            &format!(
                "| {id:<5} {name:<20}| {health:<13} | {power:<11} {temperature:<17} {:<5}/ {:<13} |",
                0, 0
            ),
        );
        let aicore = if busy { 40 + spread(id, 50) } else { 0 };
        let (used, total) = (row.hbm_used, simulation.hbm_mib);
        let bus = &row.card.bus_id;
        line(
            &mut text,
            &format!("| {:<26}| {bus:<13} | {aicore:<11} {:<5}/ {:<10} {used:<5}/ {total:<13} |", 0, 0, 0),
        );
        rule(&mut text, &COLUMNS, "=");
    }
    processes(&mut text, rows, &COLUMNS);
    text
}

fn processes(text: &mut String, rows: &[Row<'_>], columns: &[usize]) {
    rule(text, columns, "-");
    line(
        text,
        &format!(
            "| {:<26}| {:<14}| {:<25}| {:<24}|",
            "NPU     Chip", "Process id", "Process name", "Process memory(MB)"
        ),
    );
    rule(text, columns, "=");
    for row in rows {
        for (pid, name, memory) in &row.processes {
            // The kernel keeps 15 characters of a name.
            let name: String = name.chars().take(15).collect();
            line(text, &format!("| {:<7} {:<18}| {pid:<13} | {name:<24} | {memory:<23} |", row.card.id, 0));
        }
        if row.processes.is_empty() {
            let nobody = format!("No running processes found in NPU {:<7}", row.card.id);
            line(text, &format!("| {nobody:<94} |"));
        }
        rule(text, columns, "=");
    }
}

fn health_word(health: Health) -> &'static str {
    match health {
        Health::Ok => "OK",
        Health::Warning => "Warning",
        Health::Alarm => "Alarm",
        Health::Critical => "Critical",
        Health::Unknown => "UNKNOWN",
    }
}

fn fields(text: &mut String, fields: &[(&str, String)]) {
    for (name, value) in fields {
        line(text, &format!("\t{name:<30} : {value}"));
    }
}

/// `npu-smi info -l`
pub(super) fn list(rows: &[Row<'_>]) -> String {
    let mut text = String::new();
    fields(&mut text, &[("Total Count", rows.len().to_string())]);
    for row in rows {
        text.push('\n');
        fields(&mut text, &[("NPU ID", row.card.id.to_string()), ("Chip Count", "1".into())]);
    }
    text
}

/// `npu-smi info -m`. In a container logic ids are counted from 0, NPU ids stay the host's.
pub(super) fn map(state: &SimState, rows: &[Row<'_>], on_host: bool) -> String {
    let mut text = String::new();
    let mut columns = |npu: &str, chip: &str, logic: &str, name: &str| {
        line(&mut text, &format!("\t{npu:<30} {chip:<30} {logic:<30} {name:<30}"));
    };
    columns("NPU ID", "Chip ID", "Chip Logic ID", "Chip Name");
    let name = format!("Ascend {}", state.simulation.card_name);
    for (index, row) in rows.iter().enumerate() {
        let id = row.card.id.to_string();
        let logic = if on_host { id.clone() } else { index.to_string() };
        columns(&id, "0", &logic, &name);
        columns(&id, "1", "-", "Mcu");
    }
    text
}

/// `npu-smi info -t topo`
pub(super) fn topo(rows: &[Row<'_>]) -> String {
    let mut text = format!("{:<11}", "");
    for row in rows {
        let _ = write!(text, "{:<11}", format!("NPU{}", row.card.id));
    }
    line(&mut text, "CPU Affinity");
    for row in rows {
        let _ = write!(text, "{:<11}", format!("NPU{}", row.card.id));
        for peer in rows {
            let _ = write!(text, "{:<11}", if peer.card.id == row.card.id { "X" } else { "HCCS" });
        }
        line(&mut text, &row.card.cpus);
    }
    text.push_str("\nLegend:\n  X    = Self\n  HCCS = Connection traversing HCCS.\n");
    text
}

/// `npu-smi info -t <kind> -i <id>`; nothing for a kind that is not simulated.
pub(super) fn detail(state: &SimState, row: &Row<'_>, kind: &str) -> Option<String> {
    let mut text = String::new();
    let id = ("NPU ID", row.card.id.to_string());
    let count = ("Chip Count", "1".to_owned());
    match kind {
        "board" => fields(
            &mut text,
            &[
                id,
                ("Software Version", state.simulation.driver_version.clone()),
                ("Firmware Version", "7.8.0.6.201".into()),
                ("Compatibility", "OK".into()),
                ("PCIe Bus Info", row.card.bus_id.clone()),
                ("PCI Vendor ID", "0x19E5".into()),
                ("PCI Device ID", "0xD802".into()),
                count,
            ],
        ),
        "health" => {
            let error = if row.health == Health::Ok { "NA" } else { "80E01801" };
            fields(
                &mut text,
                &[
                    ("Health Status", health_word(row.health).into()),
                    ("Error Code", error.into()),
                    ("Error Information", if error == "NA" { "NA".into() } else { "simulated".into() }),
                ],
            );
        }
        "usages" => {
            fields(&mut text, &[id, count]);
            text.push('\n');
            let percent = row.hbm_used * 100 / state.simulation.hbm_mib.max(1);
            fields(
                &mut text,
                &[
                    ("DDR Capacity(MB)", "0".into()),
                    ("DDR Usage Rate(%)", "0".into()),
                    ("HBM Capacity(MB)", state.simulation.hbm_mib.to_string()),
                    ("HBM Usage Rate(%)", percent.to_string()),
                    ("Aicore Usage Rate(%)", if row.processes.is_empty() { "0".into() } else { "85".into() }),
                    ("Chip ID", "0".into()),
                ],
            );
        }
        "proc-mem" => {
            for (pid, name, memory) in &row.processes {
                line(
                    &mut text,
                    &format!("\tProcess id:{pid:<7} Process name:{name:<17} Process memory(MB):{memory}"),
                );
            }
            if row.processes.is_empty() {
                line(&mut text, "\tNo process in device.");
            }
        }
        _ => return None,
    }
    Some(text)
}
