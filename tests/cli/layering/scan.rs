//! Reads Rust source just well enough for the rules: no comments, no literals, no test modules.

/// The same text with comments and the insides of literals blanked; lines stay where they are.
pub fn blank_text(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut out = String::with_capacity(source.len());
    let mut at = 0;
    while at < chars.len() {
        let end = end_of_text(&chars, at);
        if end > at {
            out.extend(chars[at..end].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
            at = end;
        } else {
            out.push(chars[at]);
            at += 1;
        }
    }
    out
}

/// The literals outside test modules, each with its line.
pub fn literals(source: &str) -> Vec<(usize, String)> {
    let (code, _) = without_tests(&blank_text(source));
    let is_code: Vec<bool> = code.lines().map(|line| !line.is_empty()).collect();
    let chars: Vec<char> = source.chars().collect();
    let (mut at, mut line, mut found) = (0, 0, Vec::new());
    while at < chars.len() {
        let end = end_of_text(&chars, at).max(at + 1);
        let text: String = chars[at..end].iter().collect();
        if end > at + 1 && !text.starts_with('/') && is_code.get(line) == Some(&true) {
            found.push((line + 1, text.clone()));
        }
        line += text.matches('\n').count();
        at = end;
    }
    found
}

/// Where the comment or literal that starts at `at` ends; `at` itself when none does.
fn end_of_text(chars: &[char], at: usize) -> usize {
    let starts = |text: &str| text.chars().enumerate().all(|(i, c)| chars.get(at + i) == Some(&c));
    let inside_word = at > 0 && is_word(chars[at - 1]);
    if starts("//") {
        return chars[at..].iter().position(|&c| c == '\n').map_or(chars.len(), |n| at + n);
    }
    if starts("/*") {
        return end_of_block_comment(chars, at);
    }
    if starts("\"") {
        return end_of_string(chars, at + 1);
    }
    if !inside_word && (starts("r\"") || starts("r#") || starts("br\"") || starts("br#")) {
        return end_of_raw_string(chars, at);
    }
    if starts("'") { end_of_char(chars, at) } else { at }
}

fn end_of_block_comment(chars: &[char], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0_u32);
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    at
}

fn end_of_string(chars: &[char], mut at: usize) -> usize {
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// `r#type` is a name, not a string: then nothing ends.
fn end_of_raw_string(chars: &[char], start: usize) -> usize {
    let hashes_at = start + chars[start..].iter().take_while(|c| c.is_alphabetic()).count();
    let hashes = chars[hashes_at..].iter().take_while(|&&c| c == '#').count();
    if chars.get(hashes_at + hashes) != Some(&'"') {
        return start;
    }
    let mut at = hashes_at + hashes + 1;
    while at < chars.len() {
        let after = &chars[at + 1..];
        if chars[at] == '"' && after.iter().take(hashes).filter(|&&c| c == '#').count() == hashes {
            return at + 1 + hashes;
        }
        at += 1;
    }
    at
}

/// `'a'` is a character, `'a` a lifetime.
fn end_of_char(chars: &[char], at: usize) -> usize {
    match (chars.get(at + 1), chars.get(at + 2)) {
        (Some('\\'), _) => {
            chars[at + 3..].iter().position(|&c| c == '\'').map_or(chars.len(), |n| at + 4 + n)
        }
        (Some(_), Some('\'')) => at + 3,
        _ => at,
    }
}

pub fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Blanks every `#[cfg(test)] mod x { … }`, and counts their lines: tests may look everywhere and be as long as they
/// need. Takes blanked text.
pub fn without_tests(code: &str) -> (String, usize) {
    let mut code = code.to_owned();
    let (mut from, mut lines) = (0, 0);
    while let Some(found) = code[from..].find("#[cfg(test)]") {
        let start = from + found;
        from = start + "#[cfg(test)]".len();
        let rest = &code[from..];
        let open = rest.find('{').filter(|&open| is_module_header(&rest[..open]));
        if let Some(end) = open.and_then(|open| closing_brace(&code, from + open)) {
            let blank: String = code[start..=end].chars().filter(|&c| c == '\n').collect();
            lines += blank.len() + 1;
            code.replace_range(start..=end, &blank);
            from = start;
        }
    }
    (code, lines)
}

fn is_module_header(header: &str) -> bool {
    !header.contains(';') && header.split_whitespace().any(|word| word == "mod")
}

/// The byte offset of the brace that closes the one at `open`. Takes blanked text.
pub fn closing_brace(code: &str, open: usize) -> Option<usize> {
    let mut depth = 0_u32;
    for (at, c) in code[open..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(open + at);
        }
    }
    None
}

/// Where `word` stands on its own.
pub fn find_words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

pub fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

/// The first names of what follows a path prefix: `host::Cmd` is `host`, `{host::Cmd, model}` is `host` and `model`.
pub fn first_names(rest: &str) -> Vec<String> {
    let rest = rest.trim_start();
    let Some(inside) = rest.strip_prefix('{') else {
        let name: String = rest.chars().take_while(|&c| is_word(c)).collect();
        return if name.is_empty() { vec![] } else { vec![name] };
    };
    let end = closing_brace(rest, 0).map_or(inside.len(), |end| end - 1);
    split_top(&inside[..end]).iter().flat_map(|part| first_names(part)).collect()
}

/// At commas that are in no inner braces.
fn split_top(list: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_u32, 0);
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&list[start..]);
    parts
}

/// Name, first line and number of lines of every function with a body. Takes blanked text.
pub fn functions(code: &str) -> Vec<(String, usize, usize)> {
    let mut found = Vec::new();
    for at in find_words(code, "fn") {
        let rest = &code[at + 2..];
        let name: String = rest.trim_start().chars().take_while(|&c| is_word(c)).collect();
        let body = rest.find(['{', ';']).filter(|&open| rest[open..].starts_with('{'));
        if let (false, Some(open)) = (name.is_empty(), body)
            && let Some(end) = closing_brace(code, at + 2 + open)
        {
            found.push((name, line_of(code, at), line_of(code, end) - line_of(code, at) + 1));
        }
    }
    found
}
