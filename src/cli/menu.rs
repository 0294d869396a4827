//! The menu of the gateway, for a user who logs in with a terminal and gives no command. It runs the same commands.
//!
//! It prints plain lines and asks one question at a time, so that it works on any terminal.

use super::call::parse_duration;
use super::gateway::Visit;
use super::{remote, render};
use crate::model::name;
use std::io::{BufRead as _, Read as _};
use std::process::ExitCode;

/// The longest line that is read as an answer.
const LINE_LIMIT: u64 = 1024;

/// One choice: its text, the words of its command, the command to show before it, and the questions that complete
/// it.
struct Item {
    key: &'static str,
    text: &'static str,
    words: &'static [&'static str],
    shows: &'static [&'static [&'static str]],
    asks: &'static [Ask],
}

/// A question. The answer becomes one word of the command, after its option where it has one. With an empty answer
/// the option is left out.
struct Ask {
    text: &'static str,
    option: Option<&'static str>,
    needed: bool,
    check: fn(&str) -> Result<(), String>,
}

const NAME: Ask = Ask { text: "name of the berth", option: None, needed: true, check: berth_name };
const LEASE: Ask = Ask {
    text: "for how long, such as 8h [the usual]",
    option: Some("--lease"),
    needed: false,
    check: |answer| parse_duration(answer).map(drop),
};

fn berth_name(answer: &str) -> Result<(), String> {
    name::check_name("berth name", answer)
}

fn card_count(answer: &str) -> Result<(), String> {
    match answer.parse::<u32>() {
        Ok(1..) => Ok(()),
        _ => Err(format!("{answer:?} is no number of cards; write 1 or more")),
    }
}

const ITEMS: &[Item] = &[
    Item { key: "1", text: "my berths", words: &["list"], shows: &[], asks: &[] },
    Item { key: "2", text: "the node's cards", words: &["cards"], shows: &[], asks: &[] },
    Item {
        key: "3",
        text: "request a berth",
        words: &["request"],
        shows: &[&["cards"], &["image", "list"]],
        asks: &[
            Ask { text: "how many cards", option: Some("--cards"), needed: true, check: card_count },
            Ask { text: "its name [dev]", option: Some("--name"), needed: false, check: berth_name },
            Ask {
                text: "base image [the default]",
                option: Some("--image"),
                needed: false,
                check: name::check_image_name,
            },
            LEASE,
        ],
    },
    Item { key: "4", text: "renew a lease", words: &["renew"], shows: &[], asks: &[NAME, LEASE] },
    Item { key: "5", text: "release a berth", words: &["release"], shows: &[], asks: &[NAME] },
    Item { key: "6", text: "how to log in to a berth", words: &["show"], shows: &[], asks: &[NAME] },
    Item { key: "7", text: "blocks for ~/.ssh/config", words: &["ssh-config"], shows: &[], asks: &[] },
    Item { key: "8", text: "base images", words: &["image", "list"], shows: &[], asks: &[] },
    Item { key: "h", text: "help", words: &["--help"], shows: &[], asks: &[] },
];

pub(crate) fn run(visit: &Visit) -> ExitCode {
    render::line(&format!("berth: {}", visit.user()));
    show();
    // The end of the input is a way to leave.
    while let Some(choice) = ask("choose (? shows the menu)") {
        match choice.to_ascii_lowercase().as_str() {
            "" => {}
            "?" => show(),
            "q" | "quit" | "exit" | "logout" => return ExitCode::SUCCESS,
            other => match ITEMS.iter().find(|item| item.key == other) {
                Some(item) => {
                    if !perform(visit, item) {
                        break;
                    }
                }
                None => render::note("there is no such choice; ? shows the menu, q quits"),
            },
        }
    }
    render::line("");
    ExitCode::SUCCESS
}

fn show() {
    for item in ITEMS {
        render::line(&format!("  {}  {}", item.key, item.text));
    }
    render::line("  q  quit");
}

/// Asks the questions of a choice and runs its command. `false` when the input ended before all were answered.
fn perform(visit: &Visit, item: &Item) -> bool {
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    for shown in item.shows {
        // What cannot be shown was said; it may still be asked for.
        let _ = remote::run(visit, owned(shown));
    }
    let mut words = owned(item.words);
    for question in item.asks {
        let Some(answer) = ask_until_good(question) else { return false };
        if answer.is_empty() {
            if question.needed {
                render::note("nothing done");
                return true;
            }
            continue;
        }
        words.extend(as_words(question, answer));
    }
    // What goes wrong was said; the menu goes on.
    let _ = remote::run(visit, words);
    true
}

/// Asks until the answer is valid or empty. `None` at the end of the input.
fn ask_until_good(question: &Ask) -> Option<String> {
    loop {
        let answer = ask(question.text)?;
        if answer.is_empty() {
            return Some(answer);
        }
        match (question.check)(&answer) {
            Ok(()) => return Some(answer),
            Err(wrong) => render::note(&render::printable(&wrong)),
        }
    }
}

/// The words that an answer adds to the command. An answer is never read as an option.
fn as_words(question: &Ask, answer: String) -> Vec<String> {
    match question.option {
        Some(option) => vec![format!("{option}={answer}")],
        None if answer.starts_with('-') => vec!["--".to_owned(), answer],
        None => vec![answer],
    }
}

/// Asks and returns the line that was typed; `None` at the end of the input.
fn ask(question: &str) -> Option<String> {
    render::bytes(format!("{question}: ").as_bytes());
    let mut line = Vec::new();
    let mut stdin = std::io::stdin().lock();
    let read = stdin.by_ref().take(LINE_LIMIT).read_until(b'\n', &mut line).ok()?;
    if read == 0 {
        return None;
    }
    Some(String::from_utf8_lossy(&line).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_menu_fits_on_a_small_terminal() {
        assert!(ITEMS.len() + 4 <= 24);
        assert!(ITEMS.iter().all(|item| item.text.len() + 5 <= 80));
        let mut keys: Vec<_> = ITEMS.iter().map(|item| item.key).collect();
        keys.dedup();
        assert_eq!(keys.len(), ITEMS.len());
    }

    #[test]
    fn an_answer_is_one_word_and_no_option() {
        assert_eq!(as_words(&LEASE, "8h --json".into()), ["--lease=8h --json"]);
        assert_eq!(as_words(&NAME, "--config".into()), ["--", "--config"]);
        assert_eq!(as_words(&NAME, "train".into()), ["train"]);
    }
}
