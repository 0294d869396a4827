//! The rules. Each takes a file's path and text and returns what is wrong, so that bad text can be tried on it.

use super::scan::{blank_text, find_words, first_names, functions, line_of, without_tests};

const FILE_LINES: usize = 500;
const FUNCTION_LINES: usize = 80;

/// A word and the only places where it may stand.
const KEPT_IN: &[(&str, &[&str])] = &[
    ("bollard", &["src/engine/"]),
    ("rusqlite", &["src/ledger/", "src/ledger.rs"]),
    ("russh", &["src/ssh/", "src/keys.rs"]),
    ("Command::new", &["src/host/", "src/ssh/"]),
    ("Wipefs", PROOF),
    ("Pvcreate", PROOF),
    ("Vgcreate", PROOF),
    ("Vgextend", PROOF),
    ("Lvcreate", PROOF),
    ("Lvextend", PROOF),
    ("MkfsXfs", PROOF),
    ("MkfsBtrfs", PROOF),
    ("BtrfsDevice", PROOF),
    ("take_alone", TAKEN),
    ("wipe_ends", TAKEN),
    ("print!", PRINTERS),
    ("println!", PRINTERS),
    ("eprint!", PRINTERS),
    ("eprintln!", PRINTERS),
];
/// Where decisions are made, time comes from the node's clock, so that a test can turn it.
const BY_THE_CLOCK: &[&str] = &["src/agent/", "src/ops/"];
const CLOCKS: &[&str] = &["Timestamp::now", "SystemTime", "Instant::now"];
/// How long to wait for somebody: tokio wakes by this clock and no other.
const WAITS: &str = "tokio::time::";
/// What destroys is made from a proof, and nowhere else.
const PROOF: &[&str] = &["src/bootstrap/plan/proof.rs", "src/host/cmd.rs"];
const TAKEN: &[&str] = &["src/bootstrap/plan/proof.rs", "src/host/block.rs"];
/// Fields that hold text for people.
const TEXTS: &[&str] = &["message", "meaning", "reason", "note", "detail", "help", "remedy"];
/// Calls that make such text; two of them are not compared either.
const TELLERS: &[&str] = &["to_string()", "describe()"];
/// What is done to text in order to decide by it.
const READ_BY: &[&str] = &[
    ".contains(",
    ".starts_with(",
    ".ends_with(",
    ".strip_",
    ".replace(",
    ".replacen(",
    ".split",
    ".find(",
    // A literal is blank here.
    " ==  ",
    " !=  ",
];
/// sim/tool.rs is npu-smi: another program, which prints what it is asked.
const PRINTERS: &[&str] = &["src/cli/render.rs", "src/sim/tool.rs"];

/// Peers at the top that may use each other, one way.
const BETWEEN_FACES: &[(&str, &str)] = &[("cli", "agent"), ("cli", "ssh"), ("agent", "ssh")];

/// What a room may use that is to know hardly anything, wherever it stands among the layers.
const KNOWS_ONLY: &[(&str, &[&str])] = &[("life", &["alloc", "model"])];

/// Top to bottom; the modules of one layer do not know each other.
pub struct Layers(Vec<Vec<String>>);

impl Layers {
    /// From the sentence in lib.rs's documentation, so that what it says is what is checked.
    pub fn from_doc(lib: &str) -> Option<Self> {
        let line =
            lib.lines().filter(|line| line.starts_with("//!")).find(|line| line.matches('→').count() > 1)?;
        let arrows = line.split('`').nth(1)?;
        let layer = |part: &str| part.split(',').map(|name| name.trim().to_owned()).collect();
        Some(Self(arrows.split('→').map(layer).collect()))
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flatten().map(String::as_str).chain(["profile", "error", "lib"])
    }

    fn depth(&self, module: &str) -> Option<usize> {
        self.0.iter().position(|layer| layer.iter().any(|name| name == module))
    }

    fn allows(&self, from: &str, to: &str) -> bool {
        if from == to || from == "main" {
            return true;
        }
        if let Some((_, known)) = KNOWS_ONLY.iter().find(|(room, _)| *room == from) {
            return known.contains(&to);
        }
        match (from, to) {
            ("error" | "lib", _) => false,
            (_, "error") => true,
            ("profile", _) => matches!(to, "host" | "model"),
            // Below profile stand the two that it uses.
            (_, "profile") => !matches!(from, "host" | "model"),
            _ => {
                BETWEEN_FACES.contains(&(from, to))
                    || matches!((self.depth(from), self.depth(to)), (Some(a), Some(b)) if a < b)
            }
        }
    }
}

/// What a file of the room `room` must not use of it: its `mod.rs` says in one sentence which part may use which.
pub fn check_room(room: &str, path: &str, source: &str, parts: &Layers) -> Vec<String> {
    let root = format!("src/{room}/");
    let Some((from, _)) = path.strip_prefix(root.as_str()).and_then(|inner| inner.split_once('/')) else {
        return Vec::new();
    };
    let (code, _) = without_tests(&blank_text(source));
    let prefix = format!("crate::{room}::");
    let used = code.match_indices(prefix.as_str()).flat_map(|(at, _)| {
        let names = first_names(&code[at + prefix.len()..]);
        names.into_iter().map(move |name| (at, name))
    });
    used.filter(|(_, to)| parts.names().any(|name| name == to) && !parts.allows(from, to))
        .map(|(at, to)| {
            format!("{path}:{}: `{from}` must not use `{to}`; see src/{room}/mod.rs", line_of(&code, at))
        })
        .collect()
}

/// The code map of ARCHITECTURE.md: a row a subject.
pub struct Map(Vec<Row>);

struct Row {
    modules: Vec<String>,
    /// Which of them are not, where the rest is pure.
    pure_but_for: Option<Vec<String>>,
}

/// What code that only decides must not know.
const IMPURE: &[&str] = &[
    "crate::host",
    "crate::engine",
    "crate::ledger",
    "crate::ops",
    "std::fs",
    "std::process",
    "std::net::TcpStream",
    "tokio",
    "Instant::now",
    "SystemTime",
    "Timestamp::now",
];

impl Map {
    pub fn from_doc(architecture: &str) -> Self {
        let rows = architecture.lines().filter(|line| line.starts_with("| `"));
        Self(rows.filter_map(Row::read).collect())
    }

    /// `bootstrap::disks`, …: every module that has a row.
    pub fn modules(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flat_map(|row| &row.modules).map(String::as_str)
    }

    fn is_pure(&self, path: &str) -> bool {
        let is_test = path.ends_with("tests.rs") || path.contains("/tests") || path.contains("_tests");
        let here = |module: &String| is_below(path, module);
        !is_test
            && self.0.iter().any(|row| {
                row.pure_but_for
                    .as_ref()
                    .is_some_and(|others| row.modules.iter().any(here) && !others.iter().any(here))
            })
    }
}

impl Row {
    /// "| `a::b`, `c` | what | pure but for `d`: … |": names after the first are beside it, those in a note are in it.
    fn read(line: &str) -> Option<Self> {
        let mut cells = line.trim_matches('|').split(" | ");
        let names = quoted(cells.next()?);
        let note = cells.nth(1)?.trim();
        let room = names.first()?.rsplit_once("::").map(|(room, _)| room.to_owned());
        let full = |name: &String| match &room {
            Some(room) if !name.contains("::") => format!("{room}::{name}"),
            _ => name.clone(),
        };
        let modules: Vec<String> = names.iter().map(full).collect();
        let pure_but_for = (note == "pure" || note.starts_with("pure;") || note.starts_with("pure but for "))
            .then(|| {
                let exceptions = note
                    .strip_prefix("pure but for ")
                    .map(|rest| rest.split([':', ';']).next().unwrap_or(rest));
                let inner = quoted(exceptions.unwrap_or_default());
                modules
                    .iter()
                    .flat_map(|module| inner.iter().map(move |name| format!("{module}::{name}")))
                    .collect()
            });
        Some(Self { modules, pure_but_for })
    }
}

fn quoted(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn is_below(path: &str, module: &str) -> bool {
    let place = format!("src/{}", module.replace("::", "/"));
    path == format!("{place}.rs") || path.starts_with(&format!("{place}/"))
}

/// What a file that the map calls pure must not have.
pub fn check_purity(path: &str, source: &str, map: &Map) -> Vec<String> {
    if !map.is_pure(path) {
        return Vec::new();
    }
    let (code, _) = without_tests(&blank_text(source));
    let found = |word: &&&str| code.contains(**word);
    let told = |word: &&str| format!("{path}: `{word}` in code that ARCHITECTURE.md calls pure");
    IMPURE.iter().filter(found).map(told).collect()
}

/// Everything that is wrong with one file; `path` starts with `src/`.
pub fn check(path: &str, source: &str, layers: &Layers) -> Vec<String> {
    let (code, test_lines) = without_tests(&blank_text(source));
    let mut wrong = check_shape(path, source, source.lines().count() - test_lines);
    wrong.extend(check_functions(path, &code));
    wrong.extend(check_imports(path, &code, layers));
    wrong.extend(check_places(path, &code));
    wrong.extend(check_clocks(path, &code));
    wrong.extend(check_sentences(path, &code));
    wrong
}

fn check_shape(path: &str, source: &str, lines: usize) -> Vec<String> {
    let mut wrong = Vec::new();
    if !source.starts_with("//!") {
        wrong.push(format!(
            "{path}: starts without `//!`; say what the module is for and what it must not do"
        ));
    }
    if lines > FILE_LINES {
        wrong.push(format!("{path}: {lines} lines without its tests; stop at {FILE_LINES}"));
    }
    wrong
}

fn check_functions(path: &str, code: &str) -> Vec<String> {
    functions(code)
        .into_iter()
        .filter(|(_, _, length)| *length > FUNCTION_LINES)
        .map(|(name, line, length)| {
            format!("{path}:{line}: `{name}` has {length} lines; stop at {FUNCTION_LINES}")
        })
        .collect()
}

fn check_imports(path: &str, code: &str, layers: &Layers) -> Vec<String> {
    let from = module_of(path);
    if !layers.names().any(|name| name == from) {
        return vec![format!("{path}: `{from}` has no place among the layers in src/lib.rs")];
    }
    let mut wrong = Vec::new();
    for (at, names) in paths_from_root(path, code) {
        let line = line_of(code, at);
        if names.is_empty() {
            wrong.push(format!("{path}:{line}: a path from the root must name its module"));
        }
        for to in names {
            if !layers.names().any(|name| name == to) {
                wrong.push(format!("{path}:{line}: `{to}` is no module among the layers in src/lib.rs"));
            } else if !layers.allows(from, &to) {
                wrong.push(format!(
                    "{path}:{line}: `{from}` must not use `{to}`; see the layers in src/lib.rs"
                ));
            }
        }
    }
    wrong
}

/// The module right below the crate's root that a file belongs to.
fn module_of(path: &str) -> &str {
    let inner = path.strip_prefix("src/").unwrap_or(path);
    inner.split('/').next().unwrap_or(inner).trim_end_matches(".rs")
}

/// How many `super::` lead from a file to the crate's root.
fn depth_of(path: &str) -> usize {
    let inner = path.strip_prefix("src/").unwrap_or(path).trim_end_matches(".rs");
    match inner {
        "main" | "lib" => 0,
        _ => inner.trim_end_matches("/mod").split('/').count(),
    }
}

/// Every path that starts at the crate's root, however it is written, with the modules that it names there.
fn paths_from_root(path: &str, code: &str) -> Vec<(usize, Vec<String>)> {
    let root = if path == "src/main.rs" { "berth" } else { "crate" };
    let named =
        find_words(code, root).filter_map(|at| Some((at, code[at + root.len()..].strip_prefix("::")?)));
    let climbed = find_words(code, "super").filter_map(|at| {
        let climbs = code[at..].split("::").take_while(|step| *step == "super").count();
        let starts_here = !code[..at].ends_with("super::");
        let rest = code.get(at + climbs * "super::".len()..)?;
        (starts_here && climbs == depth_of(path)).then_some((at, rest))
    });
    named.chain(climbed).map(|(at, rest)| (at, first_names(rest))).collect()
}

fn check_places(path: &str, code: &str) -> Vec<String> {
    let kept = KEPT_IN.iter().filter(|(_, places)| !places.iter().any(|place| path.starts_with(place)));
    kept.flat_map(|(word, places)| {
        let place = places.join(", ");
        find_words(code, word)
            .map(move |at| format!("{path}:{}: `{word}` belongs into {place}", line_of(code, at)))
    })
    .collect()
}

fn check_clocks(path: &str, code: &str) -> Vec<String> {
    let is_in = |places: &[&str]| places.iter().any(|place| path.starts_with(place));
    if !is_in(BY_THE_CLOCK) {
        return Vec::new();
    }
    let reads = CLOCKS.iter().flat_map(|word| find_words(code, word).map(move |at| (*word, at)));
    reads
        .filter(|(_, at)| !code[..*at].ends_with(WAITS))
        .map(|(word, at)| {
            format!(
                "{path}:{}: `{word}`: a decision takes the time from the node's clock (`Node::now`); a wait says \
                 `tokio::time::Instant::now`",
                line_of(code, at)
            )
        })
        .collect()
}

/// A decision that reads a sentence. What other programs print is text too, but it has other names than these.
fn check_sentences(path: &str, code: &str) -> Vec<String> {
    // Tests compare what people read.
    if path.ends_with("tests.rs") || path.contains("tests/") || path.contains("/tests_") {
        return Vec::new();
    }
    let is_read = |rest: &str, is_told: bool| {
        // A chain may go on in the next line.
        let rest = if rest.starts_with('\n') { rest.trim_start() } else { rest };
        READ_BY.iter().any(|read| rest.starts_with(read))
            || is_told && [" == ", " != "].iter().any(|read| rest.starts_with(read))
    };
    let all = TEXTS.iter().map(|text| (*text, false)).chain(TELLERS.iter().map(|text| (*text, true)));
    let found = all.flat_map(|(text, is_told)| {
        code.match_indices(&format!(".{text}"))
            .filter(move |(at, word)| is_read(&code[at + word.len()..], is_told))
            .map(move |(at, _)| (at, text))
            .collect::<Vec<_>>()
    });
    found
        .map(|(at, text)| {
            format!("{path}:{}: `{text}` is for people; decide by a kind or a code", line_of(code, at))
        })
        .collect()
}
