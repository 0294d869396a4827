//! `berth bootstrap`: shows the plan, asks, applies it, tells how it goes.

use super::check::{self, named_profile};
use super::{Global, render};
use crate::bootstrap::plan::{Danger, Planned, Step, read_plan, write_plan};
use crate::bootstrap::{Applied, Context, Draft, Operator, Wishes, apply, check_rights, draft, refuse};
use crate::error::Fault;
use crate::host::RealHost;
use crate::profile::{DEFAULT_CONFIG, load_profile};
use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::io::{self, IsTerminal as _, stderr, stdin};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use tokio::signal::unix::{SignalKind, signal};

/// Make this node ready: disks, Docker, driver, berth itself
#[derive(clap::Args)]
#[command(after_long_help = "\
Without --apply it looks, prints what it would do and why, and changes
nothing. With --apply it looks again, asks, and does it, step by step. What is
right already is left alone; interrupted, it goes on where it was when it is
run again. It needs root, also to look.

Where firmware or a driver needs a reboot, it says so and ends; after the
reboot it goes on by itself (journalctl -u berth-bootstrap).

Exit codes: 0 done, or what would be done; 2 words or files that cannot be
understood; 3 refused, before anything was changed, or, where steps were shown
as done, by the one that came next; 4 all was done and a check failed (berth
check); 5 a step failed, or you stopped it; 6 Docker does not do what it
should; 7 another bootstrap or package manager is at work.

A disk that holds anything is never written to, unless its serial number is
given with --wipe; a disk in use never is.

Example:
  berth bootstrap                      # what would be done
  berth bootstrap --apply              # do it
  berth bootstrap --out plan.json      # keep the plan, to apply just that:
  berth bootstrap --apply plan.json")]
pub(crate) struct Args {
    /// What the node should look like: a profile's name, or a file
    #[arg(long, value_name = "PROFILE")]
    profile: Option<String>,
    /// Write the plan to a file
    #[arg(long, value_name = "FILE", conflicts_with = "apply")]
    out: Option<PathBuf>,
    /// Apply the plan, or only what this plan file says
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "")]
    #[arg(value_parser = clap::builder::OsStringValueParser::new())]
    // Empty: no file was named.
    apply: Option<OsString>,
    /// Destroy what is on the disk with this serial number, and use it
    #[arg(long, value_name = "SERIAL")]
    wipe: Vec<String>,
    /// Leave the disk with this serial number alone
    #[arg(long, value_name = "SERIAL")]
    leave: Vec<String>,
    /// Do not ask
    #[arg(long, requires = "apply")]
    yes: bool,
    /// Finish what was begun before a reboot, and touch no disk that came since: the unit says so
    #[arg(long, hide = true, requires = "apply")]
    after_reboot: bool,
}

pub(crate) fn run(global: &Global, args: Args) -> Result<ExitCode> {
    let host = RealHost::default();
    let mut config = global.config()?;
    let own_profile = config.profile.clone();
    if let Some(profile) = &args.profile {
        config.profile = named_profile(profile)?;
    }
    let profile = load_profile(&host, &config)?;
    check_rights()?;
    let context = Context {
        host: &host,
        root: Path::new("/"),
        config: &config,
        own_profile: &own_profile,
        profile: &profile,
        config_path: global.config_path(),
    };
    let words = words_again(global, &args);
    let named = args.profile.as_deref().map(named_profile).transpose()?;
    let wishes =
        Wishes { wipe: args.wipe, leave: args.leave, after_reboot: args.after_reboot, profile: named };
    if let Some(file) = args.apply {
        let named = Some(PathBuf::from(file)).filter(|path| !path.as_os_str().is_empty());
        let plan = named.map(|path| read_plan(&host, &path)).transpose()?;
        let screen = Screen { asks: !args.yes, stop: watch_signals()? };
        let applied = apply(&context, &wishes, plan.as_ref(), &screen)?;
        show_applied(global, &applied)?;
        if applied.reboot {
            return Ok(ExitCode::SUCCESS);
        }
        return check::conclude(global, &config, &profile);
    }
    let draft = draft(&context, &wishes, Timestamp::now())?;
    refuse(&draft)?;
    if let Some(path) = &args.out {
        write_plan(&host, path, &draft.plan)?;
    }
    if global.json {
        let steps: Vec<_> = draft.plan.steps.iter().map(as_json).collect();
        let (plan, notes) = (&draft.plan, &draft.notes);
        let dangers = plan.dangers();
        render::json(
            &json!({ "schema": 1, "steps": steps, "dangers": dangers, "plan": plan, "notes": notes }),
        )?;
        return Ok(ExitCode::SUCCESS);
    }
    show_draft(&draft, render::line);
    let file = args.out.map(|path| format!(" {}", path.display())).unwrap_or_default();
    let file = format!("{file}{words}");
    if draft.plan.steps.is_empty() {
        render::line("Nothing is to be done.");
    } else {
        render::line(&format!("Nothing was changed. To do this: berth bootstrap --apply{file}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// A step as `--json` shows it.
fn as_json(planned: &Planned) -> Value {
    let step = &planned.step;
    json!({
        "key": step.key(), "what": step.describe(), "why": planned.why,
        "danger": step.danger(), "commands": step.commands(),
    })
}

/// The options of this command, to be given again with the next one, which decides anew.
fn words_again(global: &Global, args: &Args) -> String {
    let mut words = String::new();
    let mut add = |flag: &str, value: &str| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@".contains(c);
        let quote = if value.chars().all(is_plain) { "" } else { "'" };
        words.extend([" ", flag, " ", quote, &value.replace('\'', "'\\''"), quote]);
    };
    if global.config_path() != Path::new(DEFAULT_CONFIG) {
        add("--config", &global.config_path().display().to_string());
    }
    if let Some(profile) = &args.profile {
        add("--profile", profile);
    }
    for serial in &args.leave {
        add("--leave", serial);
    }
    for serial in &args.wipe {
        add("--wipe", serial);
    }
    words
}

/// Prints the plan for people: on standard output when the plan is the result, else on standard error.
fn show_draft(draft: &Draft, line: impl Fn(&str)) {
    let plan = &draft.plan;
    if !plan.steps.is_empty() {
        line(&format!("To be done (profile {}):", plan.profile));
    }
    for (index, planned) in plan.steps.iter().enumerate() {
        line(&format!("{:>3}. {}", index + 1, render::printable(&planned.step.describe())));
        line(&format!("     because {}", render::printable(&planned.why)));
        if let Danger::Destroys(disks) = planned.step.danger() {
            let serials: Vec<&str> = disks.iter().map(|disk| disk.serial.as_str()).collect();
            line(&format!("     DESTROYS what is on {}", render::printable(&serials.join(", "))));
        }
        for command in planned.step.commands() {
            line(&format!("     $ {}", render::printable(&command)));
        }
    }
    if !plan.steps.is_empty() {
        line(&format!("Danger: {}.", render::printable(&plan.dangers().join("; "))));
    }
    for (title, list) in [("Right already:", &plan.right), ("Good to know:", &draft.notes)] {
        if !list.is_empty() {
            line(title);
        }
        for entry in list {
            line(&format!("  - {}", render::printable(entry)));
        }
    }
}

fn show_applied(global: &Global, applied: &Applied) -> Result<()> {
    if global.json {
        let keys: Vec<String> = applied.done.iter().map(|planned| planned.step.key()).collect();
        render::json(&json!({
            "schema": 1, "done": keys, "right": applied.right, "notes": applied.notes, "reboot": applied.reboot,
        }))?;
        return Ok(());
    }
    if applied.reboot && applied.done.is_empty() {
        render::line("Nothing was changed: still waiting for the reboot (systemctl reboot).");
        return Ok(());
    }
    match applied.done.len() {
        0 => render::line("Nothing had to be done: everything is as the profile wants it."),
        1 => render::line("Done: 1 step."),
        steps => render::line(&format!("Done: {steps} steps.")),
    }
    for note in applied.notes.iter().filter(|_| !applied.done.is_empty()) {
        render::line(&format!("  - {}", render::printable(note)));
    }
    if applied.reboot {
        render::line("A reboot is needed now (systemctl reboot); the rest goes on by itself after it.");
    }
    Ok(())
}

/// Tells an admin on standard error how it goes.
struct Screen {
    asks: bool,
    stop: Arc<Stop>,
}

/// What the administrator typed; `None` when a signal came first.
type Answer = io::Result<Option<String>>;

/// Whether a signal asked bootstrap to stop. It stops between two steps, or at a question at once.
#[derive(Default)]
struct Stop {
    is_wanted: AtomicBool,
    /// Wakes the question that waits for an answer now.
    asking: Mutex<Option<mpsc::Sender<Answer>>>,
}

impl Stop {
    fn is_wanted(&self) -> bool {
        self.is_wanted.load(Ordering::SeqCst)
    }

    fn set_asking(&self, sender: Option<mpsc::Sender<Answer>>) {
        *self.asking.lock().unwrap_or_else(PoisonError::into_inner) = sender;
    }

    /// Asks bootstrap to stop. Returns whether a question was waiting and ended by this.
    fn want(&self) -> bool {
        self.is_wanted.store(true, Ordering::SeqCst);
        let asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        asking.as_ref().is_some_and(|sender| sender.send(Ok(None)).is_ok())
    }

    /// A line from `read`; `None` when a signal comes first. `read` then goes on waiting on its thread until the
    /// program ends.
    fn answer(&self, read: impl FnOnce() -> io::Result<String> + Send + 'static) -> Answer {
        let (sender, receiver) = mpsc::channel();
        self.set_asking(Some(sender.clone()));
        // One that came before anybody was asking.
        if self.is_wanted() {
            return Ok(None);
        }
        std::thread::spawn(move || sender.send(read().map(Some)));
        let answer = receiver.recv().unwrap_or(Ok(None));
        self.set_asking(None);
        answer
    }
}

impl Operator for Screen {
    fn starts(&self, number: usize, of: usize, step: &Step) {
        render::note(&format!("[{number}/{of}] {}", render::printable(&step.describe())));
    }

    fn says(&self, text: &str) {
        render::note(&format!("      {}", render::printable(text)));
    }

    fn ended(&self, _: &Step, error: Option<&Fault>) {
        if error.is_some() {
            render::note("      not done");
        }
    }

    fn agrees(&self, draft: &Draft) -> Result<()> {
        if !self.asks || draft.plan.steps.is_empty() {
            return Ok(());
        }
        show_draft(draft, render::note);
        if !stdin().is_terminal() || !stderr().is_terminal() {
            return Err(Fault::usage("there is no terminal to ask at")
                .help("read the plan with `berth bootstrap`, then add --yes")
                .into());
        }
        render::ask("Type yes to do this: ");
        let read = || {
            let mut line = String::new();
            stdin().read_line(&mut line).map(|_| line)
        };
        match self.stop.answer(read).context("reading the answer")? {
            Some(answer) if answer.trim() == "yes" => Ok(()),
            Some(_) => Err(Fault::refused("nothing was changed: the answer was not yes").into()),
            None => {
                // Behind the question.
                render::note("");
                Err(Fault::host("stopped at the question: nothing was changed").into())
            }
        }
    }

    fn wants_stop(&self) -> bool {
        self.stop.is_wanted()
    }
}

/// Catches signals from now on. A signal never interrupts a step: it is remembered until the step has ended. A
/// second one changes nothing.
fn watch_signals() -> Result<Arc<Stop>> {
    let stop = Arc::new(Stop::default());
    let seen = Arc::clone(&stop);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
    let (mut interrupt, mut terminate, mut hangup) = {
        let _inside = runtime.enter();
        let watch = |kind| signal(kind).context("watching for signals");
        (watch(SignalKind::interrupt())?, watch(SignalKind::terminate())?, watch(SignalKind::hangup())?)
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                }
                if !seen.want() {
                    render::note("stopping after this step");
                }
            }
        });
    });
    Ok(stop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_ends_a_question_and_nothing_else() {
        let stop = Stop::default();
        assert_eq!(stop.answer(|| Ok("yes".into())).unwrap().as_deref(), Some("yes"));
        assert!(stop.answer(|| Err(io::Error::other("gone"))).is_err());
        // Nobody types.
        let (typist, keyboard) = mpsc::channel::<String>();
        let (begins, begun) = mpsc::channel();
        std::thread::scope(|scope| {
            let read = move || {
                begins.send(()).unwrap();
                keyboard.recv().map_err(io::Error::other)
            };
            let asked = scope.spawn(|| stop.answer(read));
            begun.recv().unwrap();
            assert!(stop.want(), "somebody was asked");
            assert_eq!(asked.join().unwrap().unwrap(), None);
        });
        drop(typist);
        assert!(stop.is_wanted() && !stop.want(), "nobody is asked any more");
        assert_eq!(stop.answer(|| Ok("yes".into())).unwrap(), None, "it came before the question");
    }
}
