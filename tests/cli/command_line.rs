//! The command line's contract: help, exit codes, what goes to which stream, colour. Needs no agent and no root.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::process::{Command, Output, Stdio};

const ESCAPE: char = '\u{1b}';

fn berth() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_berth"));
    command.stdin(Stdio::null()).env_remove("BERTH_CONFIG").env_remove("NO_COLOR").env("TERM", "xterm");
    command
}

fn run(args: &[&str]) -> Output {
    berth().args(args).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A directory with a config whose agent does not run.
fn node(config: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("berth.toml"), config).unwrap();
    dir
}

fn config_of(dir: &tempfile::TempDir) -> String {
    dir.path().join("berth.toml").display().to_string()
}

/// Every command and subcommand, found by reading the help itself.
fn commands() -> Vec<Vec<String>> {
    let mut found = vec![Vec::new()];
    let mut next = 0;
    while let Some(path) = found.get(next).cloned() {
        let words: Vec<&str> = path.iter().map(String::as_str).chain(["--help"]).collect();
        let help = out(&run(&words));
        let listed =
            help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|l| !l.is_empty());
        let names = listed.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
        let names = names.filter(|name| !name.is_empty() && *name != "help");
        found.extend(names.map(|name| [path.clone(), vec![name.to_owned()]].concat()).collect::<Vec<_>>());
        next += 1;
    }
    found
}

#[test]
fn every_command_explains_itself_in_80_columns_with_an_example() {
    let commands = commands();
    assert!(commands.len() > 20, "{commands:?}");
    for path in &commands {
        for flag in ["-h", "--help"] {
            let words: Vec<&str> = path.iter().map(String::as_str).chain([flag]).collect();
            let output = run(&words);
            let help = out(&output);
            assert_eq!(output.status.code(), Some(0), "{words:?}");
            assert_eq!(err(&output), "", "{words:?}");
            for line in help.lines() {
                assert!(line.chars().count() <= 80, "{words:?} has a line of more than 80: {line}");
                assert!(!line.contains(ESCAPE), "{words:?}: {line}");
                // `  <NAME>  ` with nothing behind it.
                let bare = line.trim().starts_with('<') && line.trim().ends_with('>');
                assert!(
                    !bare || line.contains(' ') && !line.ends_with(' '),
                    "{words:?} does not say what it is: {line}"
                );
            }
            if flag == "--help" && !path.is_empty() {
                let example = help.lines().skip_while(|line| !line.starts_with("Example"));
                let named =
                    example.filter(|line| line.contains(&format!("berth {}", path.join(" ")))).count();
                assert!(named > 0, "{words:?} has no example of itself:\n{help}");
            }
        }
    }
}

#[test]
fn wrong_words_end_with_2_and_nothing_on_standard_output() {
    let dir = node("");
    let config = config_of(&dir);
    for args in [
        &[][..],
        &["nonsense"],
        &["list", "--nonsense"],
        &["list", "extra"],
        &["show"],
        &["release"],
        &["request"],
        &["request", "--cards", "1", "--card-ids", "2"],
        &["request", "--cards", "many"],
        &["request", "--cards", "1.5"],
        &["request", "--cards", "99999999999999999999"],
        &["request", "--card-ids", "0,x"],
        &["request", "--card-ids", ""],
        &["events", "--summary", "--follow"],
        &["events", "--summary", "--berth", "alice/train"],
        &["events", "--summary", "--since", "soon"],
        &["logs"],
        &["logs", "train", "--last", "x"],
        &["logs", "../x"],
        &["rename", "train"],
        &["rename", "../x", "train"],
        &["snapshot", "train"],
        &["resize", "train"],
        &["resize", "train", "--cards", "x"],
        &["resize", "train", "--cards", "1", "--card-ids", "0"],
        &["resize", "train", "--card-ids", "0,x"],
        &["resize", "train", "--card-ids", ""],
        &["request", "--cards", "1", "--nonblock", "--wait"],
        &["request", "--cards", "1", "--nonblock", "--detach"],
        &["start", "train", "--nonblock", "--wait", "5m"],
        &["resize", "../x", "--cards", "1"],
        &["snapshot", "train", "alice/mine"],
        &["user", "limit"],
        &["user", "limit", "alice", "--cards", "-1"],
        &["user", "limit", "alice", "--none", "--cards", "1"],
        &["user", "limit", "a/b", "--none"],
        &["request", "--cards", "1", "--lease", "soon"],
        &["request", "--cards", "1", "--lease", "-1h"],
        &["request", "--cards", "1", "--memory", "much"],
        &["request", "--cards", "1", "--cpus", "x"],
        &["request", "--cards", "1", "--cpus", "nan"],
        &["request", "--cards", "1", "--wait", "x"],
        &["user"],
        &["user", "add", "alice"],
        &["user", "add", "alice", "--key", "k", "--uid", "x"],
        &["user", "add", "alice", "--key", "k", "--uid", "1", "--no-login"],
        &["user", "show", "../x"],
        &["image", "import"],
        &["image", "remove", "../x"],
        &["events", "--last", "-1"],
        &["show", "a/b/c"],
        &["show", "../x"],
        &["release", "a b"],
        &["--config"],
    ] {
        let output = berth().args(args).env("BERTH_CONFIG", &config).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", err(&output));
        assert_eq!(out(&output), "", "{args:?}");
        assert!(!err(&output).is_empty() && !err(&output).contains("panicked"), "{args:?}: {}", err(&output));
    }
}

#[test]
fn hostile_words_do_no_harm() {
    let dir = node("[paths]\nrun = \"run\"\n");
    for word in [&b"\xff\xfe"[..], b"\x1b[31mred", b"a\x07b", b"\xe2\x80\xae", &b"x ".repeat(50_000)] {
        for verb in ["show", "release", "nonsense"] {
            let output = berth()
                .env("BERTH_CONFIG", config_of(&dir))
                .args([OsStr::new(verb), OsStr::from_bytes(word)])
                .output()
                .unwrap();
            assert_eq!(output.status.code(), Some(2), "{output:?}");
            assert!(output.stderr.iter().all(|byte| !matches!(byte, 0x1b | 0x07)), "{:?}", err(&output));
            assert!(!err(&output).contains("panicked"), "{}", err(&output));
        }
    }
}

/// Through a terminal of its own, as a person sees it.
fn on_a_terminal(command: &str, term: &str, no_color: bool) -> String {
    let mut script = Command::new("script");
    script.args(["-qec", command, "/dev/null"]).stdin(Stdio::null()).env("TERM", term).env_remove("NO_COLOR");
    // Where CI is set, clap takes every output for one that shows colours.
    script.env_remove("CI");
    if no_color {
        script.env("NO_COLOR", "1");
    }
    String::from_utf8(script.output().unwrap().stdout).unwrap()
}

/// A node whose npu-smi prints this.
fn node_with_cards() -> tempfile::TempDir {
    let dir = node("[tools]\nnpu-smi = \"npu-smi\"\n");
    let fixture = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/npu")).unwrap();
    let mut names: Vec<_> = fixture.map(|entry| entry.unwrap().path()).collect();
    names.sort();
    let table = names.iter().find(|path| {
        std::fs::read_to_string(path).is_ok_and(|text| text.contains("| OK ") && text.contains("910B"))
    });
    // Written by another process: see tests/npu.
    let text = format!(
        "printf '#!/bin/sh\\ncat \"{}\"\\n' > npu-smi && chmod 755 npu-smi",
        table.unwrap().display()
    );
    assert!(Command::new("sh").args(["-c", &text]).current_dir(dir.path()).status().unwrap().success());
    dir
}

#[test]
fn colour_is_for_terminals_that_want_it() {
    let dir = node_with_cards();
    let facts = format!("{} --config {} facts", env!("CARGO_BIN_EXE_berth"), config_of(&dir));
    let help = format!("{} --help", env!("CARGO_BIN_EXE_berth"));
    for command in [&facts, &help] {
        assert!(on_a_terminal(command, "xterm", false).contains(ESCAPE), "{command}");
        for plain in [on_a_terminal(command, "xterm", true), on_a_terminal(command, "dumb", false)] {
            assert!(plain.len() > 100 && !plain.contains(ESCAPE), "{command}: {plain}");
        }
    }
    let piped = run(&["--config", &config_of(&dir), "facts"]);
    assert!(piped.status.success() && !out(&piped).contains(ESCAPE) && !err(&piped).contains(ESCAPE));
}

#[test]
fn results_are_as_wide_as_the_terminal() {
    let dir = node_with_cards();
    let (program, config) = (env!("CARGO_BIN_EXE_berth"), config_of(&dir));
    for columns in [60, 90, 180] {
        let check = format!("stty cols {columns}; {program} --config {config} check; true");
        for term in ["xterm", "dumb"] {
            let said = on_a_terminal(&check, term, true);
            // A table and what stands in columns; a single sentence is the terminal's to wrap.
            let words = said.lines().map(str::trim_end).filter(|line| line.starts_with(' '));
            let widest = words.map(|line| line.chars().count()).max().unwrap();
            assert!(widest <= columns, "{columns}, {term}: {widest}\n{said}");
            assert!(columns < 180 || widest > 100, "room is used: {widest}\n{said}");
        }
    }
}

#[test]
fn json_may_stand_before_or_behind_the_command() {
    let dir = node_with_cards();
    let config = config_of(&dir);
    for args in [&["--json", "facts"][..], &["facts", "--json"]] {
        let output = berth().env("BERTH_CONFIG", &config).args(args).output().unwrap();
        let facts: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(!facts["npu"]["devices"].as_array().unwrap().is_empty(), "{facts}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error_and_a_full_disk_is_one() {
    let dir = node_with_cards();
    let config = config_of(&dir);
    for args in [&["--config", &config, "facts", "--json"][..], &["--config", &config, "facts"], &["--help"]]
    {
        let mut child = berth().args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), err(&output).as_str()), (Some(0), ""), "{args:?}");
    }
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = berth().args(["--config", &config, "facts", "--json"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    assert!(err(&output).starts_with("berth: the result could not be written: No space left"), "{output:?}");
}

#[test]
fn a_typing_error_in_the_config_is_shown_at_its_place() {
    let dir = node("# mine\n[paths]\nstate = \"s\"\n\n[ssh]\n  prots = \"1-2\"\n");
    let config = config_of(&dir);
    for args in [&["list"][..], &["cards", "--json"], &["agent"], &["facts"], &["sim", "show"]] {
        let output = berth().arg("--config").arg(&config).args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {output:?}");
        let said = err(&output);
        let place = format!("berth: {config}:6:3: unknown field `prots`");
        assert!(
            said.starts_with(&place) && said.ends_with("help: did you mean `ports`?\n"),
            "{args:?}: {said}"
        );
        assert_eq!(out(&output), "");
    }
    assert!(!dir.path().join("s").exists(), "nothing was made");
    let output = run(&["--config", "/no/such/berth.toml", "list"]);
    assert_eq!(output.status.code(), Some(5));
    assert!(err(&output).starts_with("berth: config /no/such/berth.toml cannot be read"), "{output:?}");
}

#[test]
fn the_config_on_the_command_line_counts_more_than_the_environments() {
    let dir = node("");
    let output =
        berth().env("BERTH_CONFIG", "/no/such").args(["--config", &config_of(&dir), "show", ".."]).output();
    assert!(err(&output.unwrap()).contains("is not a berth's name"));
}

#[test]
fn without_an_agent_calls_end_with_5() {
    let dir = node("[paths]\nrun = \"run\"\n");
    for args in [&["list"][..], &["cards"], &["request", "--cards", "1"], &["release", "x"], &["events"]] {
        let output = berth().arg("--config").arg(config_of(&dir)).args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(5), "{args:?}");
        let said = err(&output);
        let lines: Vec<&str> = said.lines().collect();
        assert!(lines.len() == 2 && lines[0].starts_with("berth: no agent answers at "), "{said}");
        assert!(lines[1].starts_with("help: start it: "), "{said}");
    }
}

#[test]
fn the_version_is_the_packages() {
    let output = run(&["--version"]);
    assert_eq!(out(&output), format!("berth {}\n", env!("CARGO_PKG_VERSION")));
}
