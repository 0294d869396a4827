//! Selects checks by the words on the command line: ids, and groups such as `npu`.

use super::{Check, table};
use crate::error::Fault;

/// The checks that the words name, in the table's order; without words, all checks. Fails for a word that names none.
pub fn select(words: &[String]) -> Result<Vec<&'static Check>, Fault> {
    let words: Vec<&str> = words.iter().map(|word| word.trim()).filter(|word| !word.is_empty()).collect();
    if let Some(unknown) = words.iter().find(|word| !table().any(|check| names(check.id, word))) {
        return Err(refuse(unknown));
    }
    let wanted = |check: &&Check| words.is_empty() || words.iter().any(|word| names(check.id, word));
    Ok(table().filter(wanted).collect())
}

/// `npu.count` and `npu` name npu.count; `np` names nothing.
fn names(id: &str, word: &str) -> bool {
    id == word || id.split_once('.').is_some_and(|(group, _)| group == word.trim_end_matches('.'))
}

fn refuse(word: &str) -> Fault {
    let shown: String = word.chars().take(60).collect();
    let groups = table().filter_map(|check| check.id.split_once('.')).map(|(group, _)| group);
    let nearest = table()
        .map(|check| check.id)
        .chain(groups)
        .map(|id| (strsim::damerau_levenshtein(&shown, id), id))
        .min()
        .filter(|(distance, id)| *distance <= id.len().max(shown.len()) / 2);
    let fault = Fault::usage(format!("there is no check {shown:?}"));
    match nearest {
        Some((_, id)) => fault.help(format!("did you mean {id}? All of them: berth check --list")),
        None => fault.help("all of them: berth check --list"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(words: &[&str]) -> Vec<&'static str> {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        select(&words).unwrap().iter().map(|check| check.id).collect()
    }

    #[test]
    fn ids_and_groups_select() {
        assert_eq!(ids(&[]).len(), table().count());
        assert_eq!(ids(&["npu.lost"]), ["npu.lost"]);
        assert_eq!(ids(&["numa", "npu.lost", "npu.lost"]), ["npu.lost", "numa.nodes"]);
        assert!(ids(&["hccn"]).len() == 5 && ids(&["hccn."]).len() == 5);
    }

    #[test]
    fn an_unknown_id_names_the_nearest() {
        for (word, nearest) in
            [("npu.healt", "npu.health"), ("dokcer", "docker"), ("disk.rootspace", "disk.root-space")]
        {
            let fault = select(&[word.into()]).err().unwrap();
            assert_eq!(fault.class.exit_code(), 2);
            assert!(fault.help.unwrap().contains(&format!("did you mean {nearest}?")), "{word}");
        }
        let fault = select(&["zzzzzzzzzzzzzzzzzz".into()]).err().unwrap();
        assert!(!fault.help.unwrap().contains("did you mean"));
        assert!(select(&["x".repeat(100_000)]).err().unwrap().message.len() < 100);
    }
}
