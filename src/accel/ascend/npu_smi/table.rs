//! The main table of `npu-smi info`, any width and any generation. Pure: text in, rows and warnings out.
//!
//! Lines are split on `|`, never at fixed columns. An unknown line is kept as a warning. A card whose second row is
//! missing is left out, because its health is then not known for certain.
//!
//! Processes choose their own names, and npu-smi prints names as they are, line ends included. A whole row is as wide
//! as its table; a piece of a row that a line end broke is not. So no such piece is read as a row of another card.

use super::row::{First, ProcessRow, Second, cells, is_second, looks_like_card, warn};
use crate::model::facts::NpuDevice;
use std::collections::BTreeSet;

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
struct Reader<'a> {
    table: Table,
    /// In the process table, and whether its header names the pid in the container.
    processes: Option<bool>,
    /// Of the rules and headers that stand before the first name of a process, in characters.
    widths: BTreeSet<usize>,
    /// Lines among the processes that have another width, one after the other.
    odd: Vec<&'a str>,
    /// The header names HBM and no other memory.
    only_hbm: bool,
    /// A card's first row that waits for its second.
    pending: Option<(First, String)>,
    /// The table has rules, and the last line was a row, so one has to follow.
    has_rules: bool,
    row_open: bool,
}

impl<'a> Reader<'a> {
    fn line(&mut self, line: &'a str, last: bool) {
        let cut = last && line.starts_with('|') && (!line.ends_with('|') || line.len() == 1);
        if self.processes.is_some() && !cut && !self.has_width(line) {
            self.odd.push(line);
            return;
        }
        self.odd_lines();
        if cut {
            warn(&mut self.table.warnings, &format!("cut off: {line}"));
        } else {
            self.whole_line(line);
        }
    }

    /// npu-smi counts bytes where it fills a name's column up.
    fn has_width(&self, line: &str) -> bool {
        let as_bytes = !line.contains(char::REPLACEMENT_CHARACTER) && self.widths.contains(&line.len());
        self.widths.is_empty() || as_bytes || self.widths.contains(&line.chars().count())
    }

    /// One alone is a table of another layout, or a word of the driver's: a line end in a name makes two at least. Of
    /// more, only the first row's beginning is npu-smi's own: card and process stand before the name.
    fn odd_lines(&mut self) {
        let lines = std::mem::take(&mut self.odd);
        if let [line] = *lines
            && (!line.starts_with('|') || line.ends_with('|'))
        {
            return self.whole_line(line);
        }
        let mut rows = lines.into_iter().peekable();
        while let Some(line) = rows.next_if(|line| !line.starts_with('|')) {
            warn(&mut self.table.warnings, line);
        }
        let Some(row) = rows.next() else { return };
        self.row_open = true;
        let whose = match ProcessRow::read_start(&cells(row)) {
            Some(process) => {
                let card = process.card();
                let found = self.add_process(process).is_some();
                if found { format!("could not look at all processes of {card}: ") } else { String::new() }
            }
            None => String::new(),
        };
        warn(&mut self.table.warnings, &format!("{whose}a name breaks the row: {row}"));
        rows.for_each(|line| warn(&mut self.table.warnings, &format!("part of a broken row: {line}")));
    }

    fn whole_line(&mut self, line: &str) {
        if line.starts_with('+') && line.chars().all(|c| matches!(c, '+' | '-' | '=' | ' ')) {
            self.learn_width(line);
            // No known format draws a rule between a card's two rows.
            self.drop_pending();
            self.has_rules = true;
            self.row_open = false;
        } else if line.starts_with('|') {
            self.row_open = true;
            if !self.header(line) {
                self.row(line);
            }
        } else {
            warn(&mut self.table.warnings, line);
        }
    }

    fn learn_width(&mut self, line: &str) {
        if self.processes.is_none() {
            self.widths.insert(line.chars().count());
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
            self.learn_width(line);
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
        self.add_process(row)
    }

    fn add_process(&mut self, row: ProcessRow) -> Option<()> {
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
        self.odd_lines();
        self.drop_pending();
        if self.has_rules && self.row_open && !self.table.cards.is_empty() {
            warn(&mut self.table.warnings, "the table ends without its last line");
        }
        self.table
    }
}
