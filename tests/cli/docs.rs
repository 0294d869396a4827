//! What README and the documents claim about the command line is true.

use std::path::Path;
use std::process::Command;

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Fenced blocks of a kind.
fn blocks(text: &str, kind: &str) -> Vec<String> {
    let fence = format!("```{kind}\n");
    text.split(fence.as_str()).skip(1).map(|rest| rest.split("\n```").next().unwrap().to_owned()).collect()
}

fn help(words: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_berth")).args(words).arg("--help").output().unwrap();
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn readme_is_short_and_its_links_lead_somewhere() {
    let readme = read("README.md");
    assert!(readme.lines().count() <= 200, "{} lines", readme.lines().count());
    for target in readme.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(target).exists(), "{target}");
    }
}

/// Every `berth …` line of a shell block is a verb with options that its help knows.
#[test]
fn commands_in_the_documents_exist() {
    let mut seen = 0;
    for line in ["README.md", "docs/api.md", "docs/ssh.md", "docs/checks.md"]
        .iter()
        .flat_map(|file| blocks(&read(file), "sh"))
        .flat_map(|block| block.lines().map(str::to_owned).collect::<Vec<_>>())
    {
        let Some(call) = line.trim().strip_prefix("berth ") else { continue };
        let call =
            call.split('#').next().unwrap().split(" >> ").next().unwrap().split(" -- ").next().unwrap();
        let words: Vec<&str> = call.split_whitespace().collect();
        let verbs: Vec<&str> = match words[..] {
            ["user" | "image" | "card", verb, ..] => vec![words[0], verb],
            [verb, ..] => vec![verb],
            [] => continue,
        };
        let (known, text) = help(&verbs);
        assert!(known, "{line}");
        for option in words.iter().filter(|word| word.starts_with("--")) {
            assert!(text.contains(option), "{line}: no {option}");
        }
        seen += 1;
    }
    assert!(seen >= 14, "only {seen} commands were found");
}

/// Every verb that the help lists stands in the README, the API's routes in docs/api.md.
#[test]
fn verbs_and_routes_are_documented() {
    let readme = read("README.md");
    let (_, text) = help(&[]);
    let verbs =
        text.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    for verb in verbs.map(|line| line.split_whitespace().next().unwrap()).filter(|verb| *verb != "help") {
        let changelog = read("CHANGELOG.md");
        assert!(readme.contains(&format!("berth {verb}")) || changelog.contains(verb), "{verb}");
    }
    let api = read("docs/api.md");
    for route in
        read("src/agent/routes.rs").split(".route(\"").skip(1).map(|rest| rest.split('"').next().unwrap())
    {
        let names = [("{name}", "NAME"), ("{*name}", "NAME"), ("{id}", "ID"), ("{owner}", "OWNER")];
        let shown = names.iter().fold(route.to_owned(), |shown, (from, to)| shown.replace(from, to));
        assert!(api.contains(&shown), "{route}");
    }
}

#[test]
fn exit_codes_in_the_documents_are_the_program_s() {
    use berth::error::ErrorClass;
    let readme = read("README.md");
    let line = readme.split("Exit codes:").nth(1).unwrap().split("\n\n").next().unwrap().replace('\n', " ");
    for (class, word) in [
        (ErrorClass::Usage, "usage"),
        (ErrorClass::Refused, "refused"),
        (ErrorClass::CheckFailed, "a check failed"),
        (ErrorClass::Host, "host"),
        (ErrorClass::Docker, "Docker"),
        (ErrorClass::Busy, "busy"),
        (ErrorClass::Bug, "a bug"),
    ] {
        assert!(line.contains(&format!("{} {word}", class.exit_code())), "{word}: {line}");
    }
}

/// The defaults in README's table are those of the code.
#[test]
fn defaults_in_the_readme_are_the_program_s() {
    let config = berth::profile::Config::default();
    let readme = read("README.md");
    for value in [
        config.paths.state.display().to_string(),
        config.paths.run.display().to_string(),
        config.paths.storage.display().to_string(),
        config.paths.images.display().to_string(),
        config.paths.editors.display().to_string(),
        config.paths.profiles.display().to_string(),
        config.tools.npu_smi.display().to_string(),
        config.docker.socket.display().to_string(),
        config.ssh.ports.to_string(),
        config.docker.network.clone(),
    ] {
        assert!(readme.contains(&format!("`{value}`")), "{value}");
    }
}
