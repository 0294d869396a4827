//! npu-smi's answers about one card, `name : value` a line: the board, and why a card is not healthy.

use super::{answer, query, run};
use crate::host::{Host, Output};
use crate::model::Health;
use crate::model::check_facts::Board;
use crate::model::facts::NpuFacts;
use crate::profile::Tools;
use std::thread;

/// The most cards that are asked for their errors. If more cards are unhealthy, the fault is not in single cards.
const MOST_ASKED: usize = 4;

/// The board facts of the first card that answers: all cards have the same driver and firmware.
pub fn gather_board(host: &dyn Host, tools: &Tools, cards: u32) -> Result<Board, String> {
    let mut first = None;
    for id in 0..cards.min(16) {
        let id = id.to_string();
        let args = ["info", "-t", "board", "-i", &id];
        let ran = run(host, tools, &args);
        let is_lost = ran.as_ref().is_ok_and(says_lost);
        match answer(&args, ran) {
            Ok(text) => return Ok(parse_board(&text)),
            // A card that is lost has no board; the next one tells as much. Anything else would only repeat itself.
            Err(reason) if is_lost => {
                first.get_or_insert(reason);
            }
            Err(reason) => return Err(reason),
        }
    }
    Err(first.unwrap_or_else(|| "there is no card to ask".into()))
}

/// Whether npu-smi says that it does not have this card.
fn says_lost(output: &Output) -> bool {
    output.stdout.contains("Invalid card id") || output.stderr.contains("Invalid card id")
}

pub fn parse_board(text: &str) -> Board {
    Board {
        software: value(text, "Software Version"),
        firmware: value(text, "Firmware Version"),
        compatibility: value(text, "Compatibility"),
    }
}

/// NPU id and error codes of each card that is not healthy; one that could not be asked is left out.
pub fn gather_errors(host: &dyn Host, tools: &Tools, facts: &NpuFacts) -> Vec<(u32, String)> {
    let unwell = facts.devices.iter().filter(|device| device.health != Health::Ok).take(MOST_ASKED);
    let npus: Vec<u32> = unwell.map(|device| device.npu).collect();
    let ask = |npu: u32| query(host, tools, &["info", "-t", "health", "-i", &npu.to_string()]).ok();
    thread::scope(|scope| {
        let asked: Vec<_> = npus.iter().map(|npu| (*npu, scope.spawn(move || ask(*npu)))).collect();
        let answers = asked.into_iter().filter_map(|(npu, answer)| Some((npu, answer.join().ok()??)));
        answers.filter_map(|(npu, text)| Some((npu, parse_errors(&text)?))).collect()
    })
}

/// `0x80E01801`, or several; with the tool's own words for it.
pub fn parse_errors(text: &str) -> Option<String> {
    let code = value(text, "Error Code")?;
    let code: String = code.chars().take(80).collect();
    let said = value(text, "Error Information").map(|said| said.chars().take(120).collect::<String>());
    Some(match said {
        Some(said) => format!("error {code}: {said}"),
        None => format!("error {code}"),
    })
}

/// The value behind a name; `NA` is none.
fn value(text: &str, name: &str) -> Option<String> {
    let of_line = |line: &str| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    };
    text.lines().find_map(of_line).filter(|value| !matches!(value.as_str(), "" | "NA" | "-"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::FakeHost;

    #[test]
    fn a_board_tells_what_runs() {
        let text = "\tNPU ID                         : 0\n\tSoftware Version               : 25.5.1\n\
            \tFirmware Version               : 7.8.0.6.201\n\tCompatibility                  : OK\n";
        let board = parse_board(text);
        assert_eq!(
            (board.firmware.as_deref(), board.compatibility.as_deref()),
            (Some("7.8.0.6.201"), Some("OK"))
        );
        assert_eq!(parse_board("garbage\n:::\n"), Board::default());
    }

    #[test]
    fn a_lost_card_is_passed_over_and_a_hang_is_not_repeated() {
        let tools = Tools { npu_smi: "/smi".into(), ..Tools::default() };
        let host = FakeHost::default()
            .with_output("/smi info -t board -i 0", 255, "Invalid card id.\nError parameter of -i\n", "")
            .with_output("/smi info -t board -i 1", 0, "\tSoftware Version : 24.1.0\n", "");
        assert_eq!(gather_board(&host, &tools, 8).unwrap().software.as_deref(), Some("24.1.0"));
        let hangs = FakeHost::default().with_hang("/smi info -t board -i 0");
        assert!(gather_board(&hangs, &tools, 8).unwrap_err().contains("did not end"));
    }

    #[test]
    fn codes_are_read_and_na_is_none() {
        let text = "\tHealth Status : Alarm\n\tError Code : 0x80E01801 0x80C98001\n\tError Information : node type=x\n";
        assert_eq!(parse_errors(text).unwrap(), "error 0x80E01801 0x80C98001: node type=x");
        assert_eq!(parse_errors("\tError Code : NA\n"), None);
        assert!(parse_errors(&format!("Error Code : {}", "9".repeat(9000))).unwrap().len() < 100);
    }
}
