//! The main table of `npu-smi info`, any width and any generation. Pure: text in, rows and warnings out.
//!
//! Lines are split on `|`, never at fixed columns. A line of no known kind is kept as a warning. A card whose
//! second row is missing is not reported: nobody may take half a row for a healthy card.

use super::row::{First, ProcessRow, Second, cells, is_second, looks_like_card, warn};
use crate::model::facts::NpuDevice;

#[derive(Debug, Default, PartialEq)]
pub struct Table {
    pub tool_version: Option<String>,
    pub driver_version: Option<String>,
    pub cards: Vec<Card>,
    pub warnings: Vec<String>,
}

#[derive(Debug, PartialEq)]
pub struct Card {
    /// The Phy-ID or Device column, where the table has one: the N of `/dev/davinciN`.
    pub printed_id: Option<u32>,
    /// Its `id` is the printed one, else the NPU id until a better source is asked.
    pub device: NpuDevice,
}

pub fn parse(text: &str) -> Table {
    let mut reader = Reader::default();
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    for (index, line) in lines.iter().enumerate() {
        reader.line(line, index + 1 == lines.len());
    }
    reader.finish()
}

#[derive(Default)]
struct Reader {
    table: Table,
    /// In the process table, and whether its header names the pid in the container.
    processes: Option<bool>,
    /// The header names HBM and no other memory.
    only_hbm: bool,
    /// A card's first row that waits for its second.
    pending: Option<(First, String)>,
    /// The table has rules, and the last line was a row, so one has to follow.
    has_rules: bool,
    row_open: bool,
}

impl Reader {
    fn line(&mut self, line: &str, last: bool) {
        if line.starts_with('+') && line.chars().all(|c| matches!(c, '+' | '-' | '=' | ' ')) {
            // No known format draws a rule between a card's two rows.
            self.drop_pending();
            self.has_rules = true;
            self.row_open = false;
        } else if line.starts_with('|') {
            if last && (!line.ends_with('|') || line.len() == 1) {
                warn(&mut self.table.warnings, &format!("cut off: {line}"));
                return;
            }
            self.row_open = true;
            if !self.header(line) {
                self.row(line);
            }
        } else {
            warn(&mut self.table.warnings, line);
        }
    }

    /// Headers, the version line and "no processes"; false when it is none of these.
    fn header(&mut self, line: &str) -> bool {
        let cells = cells(line);
        let first = cells.first().copied().unwrap_or_default();
        let lower = line.to_ascii_lowercase();
        if first.starts_with("npu-smi") {
            self.versions(first);
        } else if lower.contains("no running process") {
            self.processes.get_or_insert(false);
        } else if first.starts_with("NPU") && lower.contains("process id") {
            self.drop_pending();
            self.processes = Some(lower.contains("container"));
        } else if first.starts_with("NPU") && lower.contains("health") {
            self.drop_pending();
            self.processes = None;
        } else if lower.contains("bus-id") {
            self.only_hbm = lower.contains("hbm-") && !lower.contains("memory-");
        } else {
            return false;
        }
        true
    }

    fn versions(&mut self, cell: &str) {
        let rest = cell.trim_start_matches("npu-smi");
        let (tool, driver) = rest.split_once("Version:").unwrap_or((rest, ""));
        let known = |text: &str| match text.trim() {
            "" | "NA" | "-" => None,
            text => Some(text.to_owned()),
        };
        self.table.tool_version = known(tool);
        self.table.driver_version = known(driver);
    }

    fn row(&mut self, line: &str) {
        let cells = cells(line);
        let read = if looks_like_card(&cells, self.processes.is_some()) {
            self.card_row(line, &cells)
        } else {
            self.process_row(&cells)
        };
        if read.is_none() {
            warn(&mut self.table.warnings, &format!("not understood: {line}"));
        }
    }

    fn card_row(&mut self, line: &str, cells: &[&str]) -> Option<()> {
        if !is_second(cells, self.pending.is_some()) {
            self.drop_pending();
            let first = First::read(cells, &mut self.table.warnings)?;
            self.pending = Some((first, line.to_owned()));
            return Some(());
        }
        // A row that cannot be read takes its other half with it.
        let (first, first_line) = self.pending.take()?;
        let Some(second) = Second::read(cells, self.only_hbm, &mut self.table.warnings) else {
            self.pending = Some((first, first_line));
            self.drop_pending();
            return None;
        };
        self.add(first, second);
        Some(())
    }

    fn add(&mut self, first: First, second: Second) {
        let known = |card: &Card| card.device.npu == first.npu && card.device.chip == second.chip;
        if self.table.cards.iter().any(known) {
            let text = format!("NPU {} chip {} is listed twice; the first is used", first.npu, second.chip);
            warn(&mut self.table.warnings, &text);
            return;
        }
        let device = NpuDevice {
            id: second.printed_id.unwrap_or(first.npu),
            npu: first.npu,
            chip: second.chip,
            name: first.name,
            health: first.health,
            bus_id: second.bus_id,
            power_w: first.power_w,
            temperature_c: first.temperature_c,
            aicore_percent: second.aicore_percent,
            hbm_used_mib: second.hbm.0,
            hbm_total_mib: second.hbm.1,
            ddr_used_mib: second.ddr.0,
            ddr_total_mib: second.ddr.1,
            hugepages_used: first.hugepages.0,
            hugepages_total: first.hugepages.1,
            processes: Vec::new(),
        };
        self.table.cards.push(Card { printed_id: second.printed_id, device });
    }

    fn process_row(&mut self, cells: &[&str]) -> Option<()> {
        let row = ProcessRow::read(cells, self.processes, &mut self.table.warnings)?;
        let owner = self.table.cards.iter_mut().find(|card| {
            card.device.npu == row.npu && row.chip.is_none_or(|chip| chip == card.device.chip)
        })?;
        owner.device.processes.push(row.process);
        Some(())
    }

    fn drop_pending(&mut self) {
        if let Some((_, line)) = self.pending.take() {
            warn(&mut self.table.warnings, &format!("a card without its second row: {line}"));
        }
    }

    fn finish(mut self) -> Table {
        self.drop_pending();
        if self.has_rules && self.row_open && !self.table.cards.is_empty() {
            warn(&mut self.table.warnings, "the table ends without its last line");
        }
        self.table
    }
}
