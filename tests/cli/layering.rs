//! Imports go one way, effects stay behind their doors, files and functions stay small: src/lib.rs says how.
//!
//! The rules are in layering/rules.rs; here they are applied to `src`, and tried on text that breaks each of them.

mod rules;
mod scan;

use rules::{Layers, Map, check, check_purity, check_room};
use std::io;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[test]
fn the_source_keeps_the_rules() {
    let lib = std::fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let layers = Layers::from_doc(&lib).expect("src/lib.rs says what the layers are");
    let files = rust_files(&root().join("src")).unwrap();
    assert!(files.len() > 10, "only {} files found", files.len());
    let wrong: Vec<String> = files
        .iter()
        .flat_map(|file| {
            let name = file.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
            check(&name, &std::fs::read_to_string(file).unwrap(), &layers)
        })
        .collect();
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn the_map_and_the_source_are_the_same() {
    let map = Map::from_doc(&std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap());
    let lib = std::fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let declared = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    for module in declared {
        assert!(map.modules().any(|named| named == module), "{module} has no row in ARCHITECTURE.md");
    }
    for module in map.modules() {
        let place = root().join("src").join(module.replace("::", "/"));
        assert!(
            place.is_dir() || place.with_extension("rs").is_file(),
            "{module} is only in ARCHITECTURE.md"
        );
    }
    let wrong: Vec<String> = rust_files(&root().join("src"))
        .unwrap()
        .iter()
        .flat_map(|file| {
            let name = file.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
            check_purity(&name, &std::fs::read_to_string(file).unwrap(), &map)
        })
        .collect();
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn the_parts_of_ssh_know_each_other_one_way() {
    let said = std::fs::read_to_string(root().join("src/ssh/mod.rs")).unwrap();
    let parts = Layers::from_doc(&said).expect("src/ssh/mod.rs says which part may use which");
    let files = rust_files(&root().join("src/ssh")).unwrap();
    let wrong: Vec<String> = files
        .iter()
        .flat_map(|file| {
            let name = file.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
            check_room("ssh", &name, &std::fs::read_to_string(file).unwrap(), &parts)
        })
        .collect();
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    let used = |path: &str, code: &str| check_room("ssh", path, code, &parts).len();
    assert_eq!(used("src/ssh/channel/input.rs", "use crate::ssh::inside::auth::Grant;"), 1);
    assert_eq!(used("src/ssh/gateway/handler.rs", "use crate::ssh::inside::auth::Grant;"), 1);
    assert_eq!(used("src/ssh/user/image.rs", "use crate::ssh::{channel::input, user::account};"), 1);
    assert_eq!(used("src/ssh/inside/handler.rs", "use crate::ssh::channel::input;"), 0);
}

#[test]
fn what_the_map_calls_pure_is() {
    let map = Map::from_doc(
        "| `check` | x | pure but for `gather`: y |\n| `a::b`, `c` | x | pure; y |\n| `d` | x | not pure |\n",
    );
    assert!(map.modules().eq(["check", "a::b", "a::c", "d"]));
    let wrong = |path: &str, code: &str| check_purity(path, code, &map).len();
    let host = "use crate::host::Host;\n";
    assert_eq!((wrong("src/check/cards.rs", host), wrong("src/check/gather/mod.rs", host)), (1, 0));
    assert_eq!(
        (wrong("src/a/b/x.rs", host), wrong("src/a/c.rs", host), wrong("src/a/x.rs", host)),
        (1, 1, 0)
    );
    assert_eq!((wrong("src/d.rs", host), wrong("src/a/b/tests.rs", host)), (0, 0));
    assert_eq!(wrong("src/a/b.rs", "fn f() { Timestamp::now() + Instant::now() }"), 2);
    assert_eq!(
        wrong("src/a/b.rs", "// crate::host\n#[cfg(test)]\nmod tests {\n    use crate::host::FakeHost;\n}\n"),
        0
    );
}

const LAYERS: &str = "//! `main → cli, agent, ssh → bootstrap, check → ops → engine, alloc, ledger, life, sim → facts → host → model`;";

/// What is wrong with a module that has this code.
fn findings(path: &str, code: &str) -> Vec<String> {
    check(path, &format!("//! A module.\n{code}\n"), &Layers::from_doc(LAYERS).unwrap())
}

#[track_caller]
fn refused(path: &str, code: &str, because: &str) {
    let wrong = findings(path, code);
    assert!(wrong.len() == 1 && wrong[0].contains(because), "{path}: {code}\n{wrong:#?}");
}

#[track_caller]
fn accepted(path: &str, code: &str) {
    assert_eq!(findings(path, code), Vec::<String>::new(), "{path}: {code}");
}

#[test]
fn imports_go_down() {
    accepted(
        "src/cli/show.rs",
        "use crate::ops::request;\nuse crate::agent::Client;\nuse crate::model::Card;",
    );
    accepted("src/ops/request.rs", "use crate::{engine, alloc::{assign, NoFit}, ledger::Ledger};");
    accepted("src/agent/mod.rs", "use crate::ssh::gateway;");
    accepted(
        "src/facts/npu.rs",
        "use crate::host::Host;\nuse crate::profile::Config;\nuse crate::error::Fault;",
    );
    accepted("src/profile/load.rs", "use crate::host::Host;");
    accepted("src/main.rs", "fn main() { berth::sim::run_as_tool(); berth::cli::main() }");
    refused("src/host/real.rs", "use crate::facts::npu;", "src/host/real.rs:2: `host` must not use `facts`");
    refused("src/model/card.rs", "use crate::profile::Config;", "`model` must not use `profile`");
    refused("src/profile/node.rs", "use crate::facts::npu;", "`profile` must not use `facts`");
    refused("src/error.rs", "use crate::model::CardId;", "`error` must not use `model`");
    refused("src/ssh/gateway.rs", "use crate::agent::Client;", "`ssh` must not use `agent`");
    refused("src/ledger/claim.rs", "use crate::engine::scan;", "`ledger` must not use `engine`");
}

#[test]
fn life_knows_cards_and_nothing_of_a_machine() {
    accepted(
        "src/life/cards.rs",
        "use crate::alloc::Slot;\nuse crate::model::CardId;\nuse crate::life::Rules;",
    );
    for other in ["ledger", "host", "facts", "profile", "error"] {
        refused(
            "src/life/turn.rs",
            &format!("use crate::{other}::X;"),
            &format!("`life` must not use `{other}`"),
        );
    }
    refused("src/alloc.rs", "use crate::life::Rules;", "`alloc` must not use `life`");
    accepted("src/ops/request.rs", "use crate::life::decide;");
}

#[test]
fn imports_are_seen_however_they_are_written() {
    refused("src/alloc.rs", "use crate::{model::CardId, error::{self, Fault}, ops::x};", "`ops`");
    refused("src/alloc.rs", "use crate::{\n    model::{CardId, Size},\n    ledger,\n};", "`ledger`");
    refused("src/alloc.rs", "fn f() -> crate::ops::Plan { todo() }", "`ops`");
    refused("src/alloc.rs", "use super::ops::Plan;", "`ops`");
    refused("src/facts/npu.rs", "use super::super::ops::Plan;", "`ops`");
    refused("src/facts/mod.rs", "pub(crate) use super::ops;", "`ops`");
    refused("src/alloc.rs", "use crate::*;", "must name its module");
    refused("src/alloc.rs", "use crate::helpers::x;", "`helpers` is no module");
    refused("src/helpers/x.rs", "", "`helpers` has no place");
    accepted("src/facts/npu.rs", "use super::ops;\nuse super::{hccn, block};");
}

#[test]
fn comments_literals_and_tests_are_not_code() {
    accepted("src/alloc.rs", "// crate::ops\n/* crate::ops /* println!() */ bollard */");
    accepted(
        "src/alloc.rs",
        r##"const A: &str = "crate::ops \" println!"; const B: &str = r#"bollard " "#;"##,
    );
    accepted("src/alloc.rs", "fn f<'a>(c: &'a str) -> char { if c == \"{\" { '\"' } else { '\\'' } }");
    accepted(
        "src/alloc.rs",
        "#[cfg(test)]\nmod tests {\n    use crate::ops::x;\n    fn f() { println!(); }\n}",
    );
    refused("src/alloc.rs", "const C: char = '\"'; use crate::ops::x;", "`ops`");
    refused("src/alloc.rs", "fn f<'a>() { g::<'a>(); println!(\"'\") }", "`println!`");
    refused("src/alloc.rs", "#[cfg(test)]\nmod tests {\n}\nuse crate::ops::x;", "src/alloc.rs:5: ");
    refused("src/alloc.rs", "#[cfg(test)]\nmod fake;\nfn f() { crate::ops::x() }", "`ops`");
}

#[test]
fn libraries_and_effects_stay_behind_their_doors() {
    accepted("src/engine/client.rs", "use bollard::Docker;");
    accepted("src/ledger/schema.rs", "use rusqlite::Connection;");
    accepted("src/ssh/server.rs", "use russh::server;\nfn f() { tokio::process::Command::new(\"x\"); }");
    accepted("src/cli/render.rs", "fn f() { println!(); eprintln!(); }");
    accepted("src/sim/tool.rs", "fn f() { print!(\"+---+\"); }");
    refused("src/ops/request.rs", "use bollard::Docker;", "`bollard` belongs into src/engine/");
    refused("src/ops/request.rs", "fn f(c: &rusqlite::Connection) {}", "`rusqlite` belongs into src/ledger/");
    refused("src/agent/mod.rs", "use russh::keys;", "`russh` belongs into src/ssh/");
    refused("src/ops/request.rs", "fn f() { std::process::Command::new(\"x\"); }", "`Command::new` belongs");
    refused("src/cli/show.rs", "fn f() { println!(\"x\"); }", "`println!` belongs into src/cli/render.rs");
    refused("src/cli/show.rs", "fn f() { eprint!(\"x\"); }", "`eprint!`");
}

#[test]
fn decisions_take_the_time_from_the_nodes_clock() {
    accepted("src/ops/build.rs", "fn f() { let end = tokio::time::Instant::now() + LIMIT; }");
    accepted("src/ssh/server.rs", "fn f() { Instant::now(); }");
    accepted("src/ops/renew.rs", "#[cfg(test)]\nmod tests {\n    fn f() { Timestamp::now(); }\n}");
    refused("src/ops/renew.rs", "fn f() { Timestamp::now(); }", "`Timestamp::now`: a decision takes");
    refused("src/ops/renew.rs", "use tokio::time::Instant;\nfn f() { Instant::now(); }", "`Instant::now`");
    refused("src/agent/mod.rs", "fn f() { std::time::Instant::now(); }", "`Instant::now`");
    refused("src/agent/tasks/mod.rs", "fn f() { std::time::SystemTime::now(); }", "`SystemTime`");
}

#[test]
fn what_destroys_is_made_from_a_proof() {
    accepted("src/bootstrap/plan/proof.rs", "fn f() { Tool::Wipefs.cmd(); take_alone(host, id, 1); }");
    accepted("src/facts/disks.rs", "fn f() { Tool::WipefsList.cmd(); Format::Btrfs.describe(); }");
    refused(
        "src/bootstrap/disks/apply.rs",
        "fn f() { Tool::Wipefs.cmd(); }",
        "`Wipefs` belongs into src/bootstrap/plan/proof.rs",
    );
    refused("src/bootstrap/disks/apply.rs", "use crate::host::{Cmd, Tool::{self, MkfsXfs}};", "`MkfsXfs`");
    refused("src/bootstrap/disks/apply.rs", "fn f() { block::take_alone(host, id, 1); }", "`take_alone`");
}

#[test]
fn no_decision_reads_a_sentence() {
    for code in [
        "if fault.message.contains(\"x\") {}",
        "if error.to_string() == \"x\" {}",
        "if fault.message == \"x\" {}",
        "let a = error.to_string().replace(\"x\", \"\");",
        "let a = fault.message\n        .strip_prefix(\"x\");",
        "if step.describe() != other.describe() {}",
        "if error.meaning.contains(\"x\") {}",
    ] {
        refused("src/ops/request.rs", &format!("fn f() {{ {code} }}"), "is for people");
    }
    accepted("src/ops/request.rs", "fn f() { let a = fault.message.clone(); say(&error.to_string()); }");
    accepted("src/ops/request.rs", "fn f() { if fault.kind == FaultKind::Denied { note(fault.message) } }");
    accepted("src/facts/npu/error.rs", "fn f() { if output.stdout.contains(\"x\") {} }");
}

#[test]
fn modules_introduce_themselves_and_stay_small() {
    let layers = Layers::from_doc(LAYERS).unwrap();
    assert!(check("src/alloc.rs", "use std::io;\n", &layers)[0].contains("starts without `//!`"));

    let lines = |n: usize| "const A: u8 = 0;\n".repeat(n);
    accepted("src/alloc.rs", &lines(498));
    refused("src/alloc.rs", &lines(500), "502 lines without its tests");
    let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}", lines(600));
    accepted("src/alloc.rs", &format!("{}{tests}", lines(490)));
    refused("src/alloc.rs", &format!("{}{tests}", lines(510)), "511 lines without its tests");

    let function = |n: usize| format!("trait T {{ fn g(&self); }}\nfn long() {{\n{}}}", lines(n - 2));
    accepted("src/alloc.rs", &function(80));
    refused("src/alloc.rs", &function(81), "src/alloc.rs:3: `long` has 81 lines");
}

#[test]
fn the_layers_come_from_the_documentation() {
    assert!(Layers::from_doc("//! No arrows here.\n").is_none());
    let reversed = Layers::from_doc("//! `main → model → host → cli`").unwrap();
    let wrong = check("src/host/mod.rs", "//! x\nuse crate::model::CardId;\n", &reversed);
    assert!(wrong[0].contains("`host` must not use `model`"), "{wrong:?}");
}
