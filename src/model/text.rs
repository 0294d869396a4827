//! Cleans text from untrusted sources for a terminal, a log and the ledger: bounded, printable, and in one line.

/// Characters of a name or a message that are kept.
const LIMIT: usize = 200;

/// A bounded, printable piece of a text.
pub fn clean(text: &str) -> String {
    clean_to(text, LIMIT)
}

/// The same with at most `limit` characters.
pub fn clean_to(text: &str, limit: usize) -> String {
    let mut kept: String = text.chars().take(limit).map(plain).collect();
    if text.chars().nth(limit).is_some() {
        kept.push('…');
    }
    kept
}

/// The character, or a replacement if a terminal could do more with it than show it.
pub fn plain(c: char) -> char {
    if c.is_control() || is_unseen(c) { '\u{fffd}' } else { c }
}

/// Characters that begin a line, turn the direction of what comes after them, or take no room: a forger's tools.
fn is_unseen(c: char) -> bool {
    matches!(
        c,
        '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_anybody_writes_begins_a_line_or_turns_one() {
        for c in ['\n', '\r', '\u{1b}', '\u{85}', '\u{2028}', '\u{202e}', '\u{2066}', '\u{61c}', '\u{200b}'] {
            assert_eq!(clean(&format!("a{c}b")), "a\u{fffd}b");
        }
        assert_eq!(clean("中文 é"), "中文 é");
        assert_eq!(clean_to("abcd", 3), "abc…");
        assert_eq!(clean(&"x".repeat(300)).chars().count(), LIMIT + 1);
    }
}
