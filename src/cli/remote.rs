//! The commands that the gateway offers: the same verbs, without those that touch a file or start a program.

use super::gateway::Visit;
use super::{
    Global, berths, cards, end, events, image, keep, logs, queue, rename, render, renew, request, resize,
    snapshot, ssh_config, start, usage, user,
};
use crate::error::{ErrorClass, Fault};
use anyhow::Result;
use clap::error::ErrorKind;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use std::process::ExitCode;

/// Cards and berths of this node, over SSH
#[derive(Parser)]
#[command(name = "berth", version, max_term_width = 80, no_binary_name = true)]
struct Cli {
    /// Print the result as JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Request(request::Args),
    List(berths::ListArgs),
    Show(berths::ShowArgs),
    Logs(logs::Args),
    Cards(cards::Args),
    Rename(rename::Args),
    Resize(resize::Args),
    Renew(renew::Args),
    Queue(queue::Args),
    Cancel(queue::CancelArgs),
    Keep(keep::KeepArgs),
    Usage(usage::Args),
    Stop(start::StopArgs),
    Start(start::StartArgs),
    Snapshot(snapshot::Args),
    Release(berths::ReleaseArgs),
    SshConfig(ssh_config::Shown),
    Image(image::Offered),
    User(user::Own),
    Events(events::Args),
}

/// Runs one command for a user at the gateway; the exit code is what the same command has on the node.
pub(crate) fn run(visit: &Visit, words: Vec<String>) -> ExitCode {
    match parse(visit, words) {
        Ok(cli) => {
            render::speak(spoken_verbs(visit));
            end(perform(visit, cli), |fault| advise(visit, fault))
        }
        Err(error) => {
            let code = if error.use_stderr() { ErrorClass::Usage.exit_code() } else { 0 };
            // Nothing can be said about a standard error that is closed.
            let _ = error.print();
            if error.kind() == ErrorKind::InvalidSubcommand {
                render::note(&format!(
                    "\nhelp: no shell and no files are here; they are in a berth: ssh -J {} ma-user@NAME",
                    visit.jump()
                ));
            }
            ExitCode::from(code)
        }
    }
}

fn parse(visit: &Visit, words: Vec<String>) -> Result<Cli, clap::Error> {
    Cli::from_arg_matches(&command(visit).try_get_matches_from(words)?)
}

/// The parser for these commands. Its texts show commands as a person types them from outside, such as `ssh
/// USER@NODE list`.
fn command(visit: &Visit) -> clap::Command {
    let prefix = visit.prefix();
    let jump = visit.jump();
    let more = format!(
        "\
Log in to a berth through here, with VS Code, scp and rsync too:
  ssh -J {jump} ma-user@NAME
  {prefix} ssh-config --help

Example:
  {prefix} request --cards 1"
    );
    let verbs = spoken_verbs(visit);
    Cli::command()
        .bin_name(&prefix)
        .after_help(more)
        .mut_subcommands(move |verb| in_words_of(verb, &verbs))
        .mut_subcommand("request", |request| request.mut_arg("user", |user| user.hide(true)))
}

fn in_words_of(verb: clap::Command, verbs: &[(String, String)]) -> clap::Command {
    let text = verb.get_after_long_help().map(ToString::to_string);
    let verb = match text {
        Some(text) => verb.after_long_help(render::in_words_of(&text, verbs)),
        None => verb,
    };
    verb.mut_args(|arg| {
        let short = arg.get_help().map(|text| render::in_words_of(&text.to_string(), verbs));
        let long = arg.get_long_help().map(|text| render::in_words_of(&text.to_string(), verbs));
        let arg = match short {
            Some(text) => arg.help(text),
            None => arg,
        };
        match long {
            Some(text) => arg.long_help(text),
            None => arg,
        }
    })
    .mut_subcommands(|inner| in_words_of(inner, verbs))
}

/// For each verb: how the texts of the command line call it, and how it is called over the gateway. A verb that the
/// gateway does not offer keeps its name, because an administrator types it on the node.
fn spoken_verbs(visit: &Visit) -> Vec<(String, String)> {
    let (prefix, me) = (visit.prefix(), visit.user());
    let mut verbs = Vec::new();
    // Those about a user, who is always oneself here.
    for (there, here) in [
        (format!("user show {me}"), "user key list"),
        ("user show NAME".into(), "user key list"),
        (format!("user key add {me} FILE"), "user key add < FILE"),
        (format!("user key remove {me}"), "user key remove"),
    ] {
        verbs.push((format!("berth {there}"), format!("{prefix} {here}")));
    }
    let offered = offered(&Cli::command(), "");
    verbs.extend(offered.iter().map(|verb| (format!("berth{verb}"), format!("{prefix}{verb}"))));
    verbs
}

/// All verbs with their subcommands, such as ` user key list`.
fn offered(of: &clap::Command, path: &str) -> Vec<String> {
    let mut verbs = Vec::new();
    for verb in of.get_subcommands().filter(|verb| verb.get_name() != "help") {
        let path = format!("{path} {}", verb.get_name());
        let inner = offered(verb, &path);
        if inner.is_empty() {
            verbs.push(path);
        } else {
            verbs.extend(inner);
        }
    }
    verbs
}

/// The fault with the commands in its help changed to how they are typed over the gateway.
fn advise(visit: &Visit, fault: Fault) -> Fault {
    let verbs = spoken_verbs(visit);
    Fault { help: fault.help.as_ref().map(|help| render::in_words_of(help, &verbs)), ..fault }
}

fn perform(visit: &Visit, cli: Cli) -> Result<ExitCode> {
    let global = &Global::of_visit(visit.clone(), cli.json);
    match cli.command {
        Command::Request(args) => request::run(global, args),
        Command::List(args) => berths::list(global, args),
        Command::Show(args) => berths::show(global, args),
        Command::Logs(args) => logs::run(global, &args),
        Command::Cards(args) => cards::run(global, args),
        Command::Resize(args) => resize::run(global, &args),
        Command::Rename(args) => rename::run(global, args),
        Command::Renew(args) => renew::run(global, args),
        Command::Queue(args) => queue::run(global, &args),
        Command::Cancel(args) => queue::cancel(global, &args),
        Command::Keep(args) => keep::keep(global, args),
        Command::Usage(args) => usage::run(global, &args),
        Command::Stop(args) => start::stop(global, args),
        Command::Start(args) => start::start(global, args),
        Command::Snapshot(args) => snapshot::run(global, args),
        Command::Release(args) => berths::release(global, args),
        Command::SshConfig(args) => ssh_config::show(global, &args),
        Command::Image(args) => image::offer(global, &args),
        Command::User(args) => user::own(global, visit.user(), args),
        Command::Events(args) => events::run(global, args),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_line(line: &str) -> Result<Cli, clap::Error> {
        let words = shlex::split(line).unwrap();
        parse(&Visit::of("alice@node1", 2222), words)
    }

    #[test]
    fn the_verbs_of_a_user_and_no_others() {
        for line in [
            "list --json",
            "request --cards 1 --wait",
            "show x",
            "resize x --cards 2",
            "resize x --card-ids 0,4-6",
            "snapshot x y",
            "image remove y",
            "rename x y",
            "logs x --last 5",
            "logs x --follow",
            "cards",
            "renew x --lease 1h",
            "release x",
            "stop x",
            "queue",
            "usage --by day",
            "start x --wait 1h --lease 2h",
            "events --follow",
            "ssh-config x --known-hosts",
            "image list",
            "image check alice/mine",
            "start x --nonblock",
            "user key list",
            "user key add",
            "user key remove SHA256:x",
        ] {
            assert!(parse_line(line).is_ok(), "{line}");
        }
        for line in [
            "agent",
            "ssh x",
            "card allow 3 --until 1h",
            "sim list",
            "facts",
            "inside serve",
            "gateway --login a --port 1 help",
            "image pull x",
            "image import /etc/shadow --name x",
            "user add eve",
            "user key add alice /etc/shadow",
            "list --config /etc/shadow",
            "--config /etc/shadow list",
            "ssh-config --install",
            "sftp-server",
            "bash",
            "scp -t .",
        ] {
            assert!(parse_line(line).is_err(), "{line}");
        }
    }

    #[test]
    fn help_says_what_to_type_here() {
        for line in
            ["--help", "request --help", "list -h", "help renew", "user key add --help", "image --help"]
        {
            let Err(help) = parse_line(line) else { panic!("{line}") };
            let text = help.to_string();
            assert!(!help.use_stderr() && text.contains("ssh -p 2222 alice@node1"), "{line}: {text}");
            assert!(!text.contains("berth request") && !text.contains("  berth "), "{line}: {text}");
            assert!(!text.contains("--config"), "{line}: {text}");
        }
    }

    #[test]
    fn errors_advise_what_to_type_here() {
        let visit = Visit::of("alice@node1", 2222);
        let help = |text: &str| advise(&visit, Fault::usage("x").help(text)).help.unwrap();
        assert_eq!(
            help("`berth list` shows the berths there are"),
            "`ssh -p 2222 alice@node1 list` shows the berths there are"
        );
        assert_eq!(help("berth release a/b"), "ssh -p 2222 alice@node1 release a/b");
        assert_eq!(help("held by berth list/dev"), "held by berth list/dev");
        for (said, typed) in [
            ("berth user show alice", "user key list"),
            ("berth user show NAME prints them", "user key list prints them"),
            ("berth user key add alice FILE", "user key add < FILE"),
            ("berth user key remove alice SHA256:x", "user key remove SHA256:x"),
            ("berth user key list", "user key list"),
            ("berth image list", "image list"),
        ] {
            assert_eq!(help(said), format!("ssh -p 2222 alice@node1 {typed}"));
            let words = typed.split(" < ").next().unwrap().trim_end_matches(" prints them");
            assert!(parse_line(words).is_ok(), "{words}");
        }
        // These are an administrator's, on the node.
        for said in
            ["berth user show alice2", "berth user add bob --key FILE", "berth image pull x", "berth agent"]
        {
            assert_eq!(help(said), said);
        }
    }

    /// What help texts say to type here is offered here.
    #[test]
    fn no_help_names_a_verb_that_is_not_offered() {
        let visit = Visit::of("alice@node1", 2222);
        let (prefix, offered) = (visit.prefix(), offered(&Cli::command(), ""));
        let mut texts: Vec<String> = Vec::new();
        for verb in &offered {
            let Err(help) = parse_line(&format!("{verb} --help")) else { panic!("{verb}") };
            texts.push(help.to_string());
        }
        for text in texts {
            // As it was before it was folded.
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(!text.contains("`berth "), "{text}");
            for verb in &offered {
                assert!(!text.contains(&format!("berth{verb}")), "{verb} in {text}");
            }
            for rest in text.split(prefix.as_str()).skip(1) {
                let named = offered.iter().any(|verb| rest.starts_with(verb.as_str()));
                let is_group = [" --help", " help", " ["].iter().any(|end| rest.starts_with(end));
                assert!(named || is_group, "{rest:.40} in {text}");
            }
        }
    }
}
