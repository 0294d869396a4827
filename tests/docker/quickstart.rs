//! `scripts/quickstart` does what README shows, word for word, and the second time uses what is there.

use std::path::Path;
use std::process::{Command, Output};

/// One run, both streams as a person sees them.
fn quickstart(dir: &Path, socket: &str, option: &str) -> Output {
    Command::new("bash")
        .args(["-c", "exec scripts/quickstart $0 2>&1"])
        .arg(option)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("BERTH_BIN", env!("CARGO_BIN_EXE_berth"))
        .env("BERTH_QUICKSTART_DIR", dir)
        .env("DOCKER_HOST", format!("unix://{socket}"))
        .env_remove("BERTH_CONFIG")
        .output()
        .unwrap()
}

/// What differs from run to run: paths, the port, the agent's id, seconds of a lease.
fn normal(text: &str, dir: &Path) -> Vec<String> {
    text.replace(&dir.display().to_string(), "target/quickstart")
        .lines()
        .map(|line| {
            let line = line.split_whitespace().map(word).collect::<Vec<_>>().join(" ");
            line.replace("in 7h 59m", "in 8h")
        })
        .collect()
}

fn word(word: &str) -> String {
    if word.len() == 5 && word.starts_with("220") && word.parse::<u16>().is_ok() {
        return "PORT".into();
    }
    match word.strip_prefix("berth-").and_then(|rest| rest.split_once('-')) {
        Some((instance, rest)) if instance.len() == 4 => format!("berth-INSTANCE-{rest}"),
        _ => word.to_owned(),
    }
}

/// Its agent uses the simulated node's own device numbers, which other tests may have containers on.
#[test]
fn the_readme_shows_what_quickstart_does_alone() {
    let Ok(socket) = std::env::var("BERTH_TEST_DOCKER") else {
        assert!(std::env::var_os("CI").is_none(), "no engine in BERTH_TEST_DOCKER");
        eprintln!("SKIPPED: quickstart, which needs an engine in BERTH_TEST_DOCKER");
        return;
    };
    let dir = tempfile::Builder::new().prefix("quick").tempdir().unwrap();
    let first = quickstart(dir.path(), &socket, "");
    let again = quickstart(dir.path(), &socket, "");
    let berth = |args: &[&str]| {
        let mut berth = Command::new(dir.path().join("berth"));
        berth.arg("--config").arg(dir.path().join("berth.toml")).args(args).output().unwrap()
    };
    let other = berth(&["request", "--user", "alice", "--name", "other", "--cards", "1"]);
    let refused = quickstart(dir.path(), &socket, "--down");
    let listed = berth(&["list"]);
    let down = quickstart(dir.path(), &socket, "--down --all");
    let text = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(first.status.success(), "{}", text(&first));
    assert!(again.status.success(), "{}", text(&again));
    assert!(other.status.success(), "{}", String::from_utf8_lossy(&other.stderr));
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused));
    assert!(text(&refused).contains("these berths go on: alice/other "), "{}", text(&refused));
    assert!(!text(&refused).contains("may be deleted"), "{}", text(&refused));
    assert!(
        text(&listed).contains("alice/other") && !text(&listed).contains("alice/demo"),
        "{}",
        text(&listed)
    );
    assert!(down.status.success(), "{}", text(&down));
    let last = text(&down);
    assert!(last.contains("releasing alice/other") && last.contains("no berth is left"), "{last}");

    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let shown = readme.split("```text\n").nth(1).unwrap().split("\n```").next().unwrap();
    let (shown, first) = (normal(shown, dir.path()), normal(&text(&first), dir.path()));
    assert_eq!(shown, first, "README does not show what quickstart prints");
    // The second run starts at the login.
    let login = first.iter().position(|line| line.contains("logging in")).unwrap();
    assert_eq!(normal(&text(&again), dir.path()), first.get(login..).unwrap());
}
