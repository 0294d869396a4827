//! Single rows of the table of `npu-smi info`. Pure. The order of rows is for `table`.

use crate::model::Health;
use crate::model::facts::NpuProcess;

const WARNINGS: usize = 100;
const WARNING_CHARS: usize = 240;

/// Keeps a line that was not understood; bounded, because a tool may print megabytes.
pub fn warn(warnings: &mut Vec<String>, text: &str) {
    if warnings.len() < WARNINGS {
        warnings.push(text.chars().take(WARNING_CHARS).collect());
    } else if warnings.len() == WARNINGS {
        warnings.push("more lines were not understood".into());
    }
}

pub fn cells(line: &str) -> Vec<&str> {
    let inner = line.strip_prefix('|').unwrap_or(line);
    inner.strip_suffix('|').unwrap_or(inner).split('|').map(str::trim).collect()
}

/// The cells before the last two as words, the one before the last, the last.
fn split_card_row<'a>(cells: &[&'a str]) -> Option<(Vec<&'a str>, &'a str, &'a str)> {
    let [leading @ .., middle, values] = cells else { return None };
    let words = leading.iter().flat_map(|cell| cell.split_whitespace()).collect();
    Some((words, middle, values))
}

fn health_word(text: &str) -> Option<Health> {
    Some(match text.to_ascii_lowercase().as_str() {
        "ok" => Health::Ok,
        "warning" => Health::Warning,
        "alarm" => Health::Alarm,
        "critical" => Health::Critical,
        "unknown" => Health::Unknown,
        _ => return None,
    })
}

fn is_bus_id(text: &str) -> bool {
    text.contains(':') && text.chars().all(|c| c.is_ascii_hexdigit() || matches!(c, ':' | '.'))
}

/// Whether a row is a card's and not a process's. Tables before 21 have no pair in a card's first row.
pub fn looks_like_card(cells: &[&str], among_processes: bool) -> bool {
    let Some((_, middle, values)) = split_card_row(cells) else { return false };
    let known = cells.len() == 3 && (is_bus_id(middle) || health_word(middle).is_some());
    known || (values.contains('/') && (!among_processes || cells.len() == 3))
}

/// Whether a card's row is its second one. A name may be a number (`310`), and a bus id may be `NA`.
pub fn is_second(cells: &[&str], first_seen: bool) -> bool {
    let Some((words, middle, _)) = split_card_row(cells) else { return false };
    let numbers = words.iter().all(|word| word.parse::<u32>().is_ok());
    is_bus_id(middle) || (numbers && health_word(middle).is_none() && (first_seen || words.is_empty()))
}

type Pair = (Option<u64>, Option<u64>);

/// `88.6   51   0    / 0` as its single numbers and its pairs, each in order.
fn values<'a>(cell: &str, spaced: &'a mut String) -> (Vec<&'a str>, Vec<(&'a str, &'a str)>) {
    *spaced = cell.replace("N/A", "NA").replace('/', " / ");
    let (mut singles, mut pairs) = (Vec::new(), Vec::new());
    let mut words = spaced.split_whitespace().peekable();
    while let Some(word) = words.next() {
        if words.peek() == Some(&"/") {
            words.next();
            pairs.push((word, words.next().unwrap_or_default()));
        } else {
            singles.push(word);
        }
    }
    (singles, pairs)
}

/// `NA` and `-` are known ways to say nothing; any other word that is no number is a warning.
fn number<T: std::str::FromStr>(word: Option<&&str>, what: &str, warnings: &mut Vec<String>) -> Option<T> {
    let word = word?;
    let value = word.parse().ok();
    if value.is_none() && !matches!(*word, "NA" | "-" | "--") {
        warn(warnings, &format!("{what} is not a number: `{word}`"));
    }
    value
}

fn pair(pair: Option<&(&str, &str)>, what: &str, warnings: &mut Vec<String>) -> Pair {
    pair.map_or((None, None), |(used, total)| {
        (number(Some(used), what, warnings), number(Some(total), what, warnings))
    })
}

fn expect_shape(found: (usize, usize), known: &[(usize, usize)], cell: &str, warnings: &mut Vec<String>) {
    if !known.contains(&found) {
        warn(warnings, &format!("unusual columns: {cell}"));
    }
}

/// `| 0     910B3 | OK | 98.9   38   0    / 0 |`; the 950 has its number and its name in two cells.
#[derive(Debug)]
pub struct First {
    pub npu: u32,
    pub name: String,
    pub health: Health,
    pub power_w: Option<f64>,
    pub temperature_c: Option<i64>,
    pub hugepages: Pair,
}

impl First {
    pub fn read(cells: &[&str], warnings: &mut Vec<String>) -> Option<Self> {
        let (words, word, cell) = split_card_row(cells)?;
        let (npu, name) = words.split_first()?;
        let npu = npu.parse().ok()?;
        let health = health_word(word).unwrap_or_else(|| {
            warn(warnings, &format!("NPU {npu} has a health that npu-smi is not known to print: `{word}`"));
            Health::Unknown
        });
        let mut spaced = String::new();
        let (singles, pairs) = values(cell, &mut spaced);
        expect_shape((singles.len(), pairs.len()), &[(2, 1), (2, 0)], cell, warnings);
        Some(Self {
            npu,
            name: name.join(" "),
            health,
            power_w: number(singles.first(), "power", warnings).filter(|watts: &f64| watts.is_finite()),
            temperature_c: number(singles.get(1), "temperature", warnings),
            hugepages: pair(pairs.first(), "hugepages", warnings),
        })
    }
}

/// `| 0     2 | 0000:37:00.0 | 0   0    / 0   3116 / 65536 |`
#[derive(Debug)]
pub struct Second {
    pub chip: u32,
    pub printed_id: Option<u32>,
    pub bus_id: Option<String>,
    pub aicore_percent: Option<u64>,
    pub ddr: Pair,
    pub hbm: Pair,
}

impl Second {
    pub fn read(cells: &[&str], only_hbm: bool, warnings: &mut Vec<String>) -> Option<Self> {
        let (words, bus, cell) = split_card_row(cells)?;
        let numbers: Vec<u32> = words.iter().map(|word| word.parse().ok()).collect::<Option<_>>()?;
        let (chip, printed_id) = match *numbers.as_slice() {
            [] => (0, None),
            [chip] => (chip, None),
            [chip, id] => (chip, Some(id)),
            _ => return None,
        };
        let mut spaced = String::new();
        let (singles, pairs) = values(cell, &mut spaced);
        expect_shape((singles.len(), pairs.len()), &[(1, 1), (1, 2)], cell, warnings);
        let first = pair(pairs.first(), "memory", warnings);
        let (ddr, hbm) = if only_hbm && pairs.len() == 1 {
            ((None, None), first)
        } else {
            (first, pair(pairs.get(1), "HBM", warnings))
        };
        Some(Self {
            chip,
            printed_id,
            bus_id: is_bus_id(bus).then(|| bus.to_owned()),
            aicore_percent: number(singles.first(), "AICore", warnings),
            ddr,
            hbm,
        })
    }
}

/// `| 0       0 | 485946 | pytest | 5175 | NA |`; the last cell from 26 on, no chip on the 950.
#[derive(Debug)]
pub struct ProcessRow {
    pub npu: u32,
    pub chip: Option<u32>,
    pub process: NpuProcess,
}

impl ProcessRow {
    /// `wide` is what the header says about the container's pid; without a header the row's shape decides.
    pub fn read(cells: &[&str], wide: Option<bool>, warnings: &mut Vec<String>) -> Option<Self> {
        let (start, rest) = (Self::read_start(cells)?, cells.get(2..)?);
        let is_value = |text: &&str| text.parse::<u64>().is_ok() || *text == "NA";
        let wide = wide.unwrap_or_else(|| rest.len() == 3 && rest.iter().skip(1).all(is_value));
        // The name is the user's and may hold a `|`: what is left between the ends is the name.
        let (name, memory, container) = match (wide, rest) {
            (true, [name @ .., memory, container]) => (name, memory, Some(container)),
            (false, [name @ .., memory]) => (name, memory, None),
            _ => return None,
        };
        let memory_mib = number(Some(memory), "process memory", warnings).unwrap_or(0);
        let container_pid =
            container.and_then(|word| number(Some(word), "process id in container", warnings));
        let process = NpuProcess { name: name.join("|"), memory_mib, container_pid, ..start.process };
        Some(Self { process, ..start })
    }

    /// What stands before the name.
    pub fn read_start(cells: &[&str]) -> Option<Self> {
        let [place, pid, ..] = cells else { return None };
        let mut place = place.split_whitespace().map(str::parse::<u32>);
        let npu = place.next()?.ok()?;
        let chip = place.next().transpose().ok()?;
        let process =
            NpuProcess { pid: pid.parse().ok()?, name: "?".into(), memory_mib: 0, container_pid: None };
        Some(Self { npu, chip, process })
    }

    pub fn card(&self) -> String {
        let chip = self.chip.map(|chip| format!(" chip {chip}")).unwrap_or_default();
        format!("NPU {}{chip}", self.npu)
    }
}
