//! `npu-smi info -t info-vnpu -i N -c 0`: the vNPUs that a card is cut into. Pure.

/// Their numbers, the N of `/dev/vdavinciN`. Empty when the text has no such table, or the table no row.
pub fn parse(text: &str) -> Vec<u32> {
    let mut in_table = false;
    let mut found = Vec::new();
    for line in text.lines() {
        let lower = line.to_ascii_lowercase();
        if lower.contains("vnpu id") {
            in_table = true;
        } else if in_table {
            let first = line.trim().trim_start_matches('|').split('|').next().unwrap_or_default();
            found.extend(first.trim().parse::<u32>());
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_card_lists_its_vnpus() {
        let text = include_str!("../../../../tests/fixtures/vnpu/910b4-2vnpus.txt");
        assert_eq!(parse(text), [100, 101]);
        let none: String = text.lines().filter(|line| !line.contains("vir10")).collect::<Vec<_>>().join("\n");
        assert!(parse(&none).is_empty() && parse("Usage: npu-smi info\n").is_empty());
    }
}
