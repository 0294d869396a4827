//! The menu of the gateway: for whoever logs in there with a terminal and says nothing. It runs the same commands.
//!
//! Plain lines, one question at a time: it works on any terminal, also on one that can do nothing.

use super::gateway::Visit;
use super::{remote, render};
use std::io::{BufRead as _, Read as _};
use std::process::ExitCode;

/// Longer than anything that is asked for.
const LINE_LIMIT: u64 = 1024;

/// What can be chosen, the words of its command, and the questions that complete it.
struct Item {
    key: &'static str,
    text: &'static str,
    words: &'static [&'static str],
    asks: &'static [Ask],
}

/// A question; an answer becomes one word, after an option where there is one. An empty answer leaves it out.
struct Ask {
    text: &'static str,
    option: Option<&'static str>,
    needed: bool,
}

const NAME: Ask = Ask { text: "name of the berth", option: None, needed: true };
const LEASE: Ask =
    Ask { text: "for how long, such as 8h [the usual]", option: Some("--lease"), needed: false };

const ITEMS: &[Item] = &[
    Item { key: "1", text: "my berths", words: &["list"], asks: &[] },
    Item { key: "2", text: "the node's cards", words: &["cards"], asks: &[] },
    Item {
        key: "3",
        text: "request a berth",
        words: &["request"],
        asks: &[
            Ask { text: "how many cards", option: Some("--cards"), needed: true },
            Ask { text: "its name [dev]", option: Some("--name"), needed: false },
            Ask { text: "base image [the node's usual]", option: Some("--image"), needed: false },
            LEASE,
        ],
    },
    Item { key: "4", text: "renew a lease", words: &["renew"], asks: &[NAME, LEASE] },
    Item { key: "5", text: "release a berth", words: &["release"], asks: &[NAME] },
    Item { key: "6", text: "how to log in to a berth", words: &["show"], asks: &[NAME] },
    Item { key: "7", text: "blocks for ~/.ssh/config", words: &["ssh-config"], asks: &[] },
    Item { key: "8", text: "base images", words: &["image", "list"], asks: &[] },
    Item { key: "h", text: "help", words: &["--help"], asks: &[] },
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

/// `false` when the input ended in the middle.
fn perform(visit: &Visit, item: &Item) -> bool {
    let mut words: Vec<String> = item.words.iter().map(|word| (*word).to_owned()).collect();
    for question in item.asks {
        let Some(answer) = ask(question.text) else { return false };
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

/// An answer never becomes an option.
fn as_words(question: &Ask, answer: String) -> Vec<String> {
    match question.option {
        Some(option) => vec![format!("{option}={answer}")],
        None if answer.starts_with('-') => vec!["--".to_owned(), answer],
        None => vec![answer],
    }
}

/// `None` at the end of the input.
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
