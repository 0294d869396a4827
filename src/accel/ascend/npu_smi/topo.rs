//! `npu-smi info -t topo`: which cards reach each other over HCCS, and the CPUs near each. Pure.

/// One row; numbers are those behind `NPU` or `Phy-ID` in the table.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    pub npu: u32,
    pub hccs: Vec<u32>,
    pub cpu_affinity: Option<String>,
}

/// Empty when the text has no such table.
pub fn parse(text: &str) -> Vec<Row> {
    let mut header: Vec<u32> = Vec::new();
    let mut rows: Vec<Row> = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let labels: Vec<u32> = words.iter().map_while(|word| label(word)).collect();
        match labels.as_slice() {
            [npu] if !header.is_empty() => {
                if let Some(row) = row(*npu, words.get(1..).unwrap_or_default(), &header)
                    && rows.iter().all(|known| known.npu != row.npu)
                {
                    rows.push(row);
                }
            }
            [] => {}
            // One card alone has a header of one label too.
            _ if header.is_empty() => header = labels,
            _ => {}
        }
    }
    rows
}

/// `NPU3` → 3; an A3 says `Phy-ID3`.
fn label(word: &str) -> Option<u32> {
    word.strip_prefix("NPU").or_else(|| word.strip_prefix("Phy-ID"))?.parse().ok()
}

fn row(npu: u32, words: &[&str], header: &[u32]) -> Option<Row> {
    let links = words.get(..header.len())?;
    let hccs = header
        .iter()
        .zip(links)
        // SIO joins the two dies of one package, nearer still than HCCS.
        .filter(|(_, link)| matches!(**link, "HCCS" | "HCCS_SW" | "SIO"))
        .map(|(peer, _)| *peer)
        .filter(|peer| *peer != npu)
        .collect();
    let affinity = words.get(header.len()..).unwrap_or_default().concat();
    let is_list =
        !affinity.is_empty() && affinity.chars().all(|c| c.is_ascii_digit() || matches!(c, ',' | '-'));
    let is_list = is_list && affinity.starts_with(|c: char| c.is_ascii_digit());
    Some(Row { npu, hccs, cpu_affinity: is_list.then_some(affinity) })
}
