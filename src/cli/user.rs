//! `berth user`: people and their keys.

use super::call::{parse_duration, relative, segment, wait_for, whole_seconds};
use super::{Global, render};
use crate::agent::types::{NewHostKey, NewKeys, NewUser, UserChange, Users};
use crate::error::Fault;
use crate::host::files::{read_input, read_user_file};
use crate::keys::known_hosts;
use crate::ledger::User;
use crate::model::{LimitChange, LimitSource, Size, UserLimit};
use crate::ops::limits::UserView;
use crate::ops::users::Login;
use anyhow::Result;
use clap::Subcommand;
use jiff::Timestamp;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// People who may have berths, and their public keys
#[derive(clap::Args)]
#[command(after_long_help = "\
Examples:
  sudo berth user add alice --key /home/alice/.ssh/id_ed25519.pub
  sudo berth user set alice --uid 1001
  berth user key add alice ~/.ssh/laptop.pub
  berth user list")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Add a person with a public key
    #[command(after_long_help = "\
A name that is no berth name, such as Bob, needs another one and --uid.

Examples:
  sudo berth user add alice --key /home/alice/.ssh/id_ed25519.pub
  sudo berth user add bob --uid $(id -u Bob) --key bob.pub
  ssh laptop cat .ssh/id_ed25519.pub | sudo berth user add eve --key -")]
    Add {
        /// As in OWNER/NAME: a-z, 0-9, -, _ and .
        name: String,
        /// A public key file, or - for standard input; may be given several times
        #[arg(long, value_name = "FILE", required = true)]
        key: Vec<PathBuf>,
        /// The account on this host that is this person [default: of that name]
        #[arg(long, value_name = "UID", conflicts_with = "no_login")]
        uid: Option<u32>,
        /// No account on this host is this person
        #[arg(long, visible_alias = "no-uid")]
        no_login: bool,
    },
    /// Say which account of this host a person is
    #[command(after_long_help = "\
For an account that was made, or changed its number, after the person was added.

Examples:
  sudo berth user set alice --uid 1001
  sudo berth user set alice --no-login")]
    #[command(group = clap::ArgGroup::new("account").required(true))]
    Set {
        /// The person's name
        name: String,
        /// The account of this number
        #[arg(long, value_name = "UID", group = "account")]
        uid: Option<u32>,
        /// The account of the person's name
        #[arg(long, group = "account")]
        same_name: bool,
        /// None: they come over SSH only
        #[arg(long, visible_alias = "no-uid", group = "account")]
        no_login: bool,
    },
    /// Show who there is
    #[command(after_long_help = "Example:\n  berth user list")]
    List,
    /// Show one person with their keys
    #[command(after_long_help = "Example:\n  berth user show alice")]
    Show {
        /// The person's name
        name: String,
    },
    /// Limit what a person may have at once
    #[command(after_long_help = "\
A request, a start or a renewal that would pass a limit is refused; what is
there stays. What is not named stays as it is. Until something is said of a
person, `[limits]` of the profile counts: the most generous of their groups
(`[limits.group.NAME]`), else what is said of everybody.

Examples:
  sudo berth user limit alice --cards 4 --lease 12h
  sudo berth user limit alice --none
  berth user show alice")]
    Limit(Limited),
    /// Remove a person; their files stay
    #[command(after_long_help = "Example:\n  sudo berth user remove alice")]
    Remove {
        /// The person's name
        name: String,
    },
    /// Give all berths of a person another host key
    #[command(after_long_help = "\
For a key that somebody else may have. Clients that know the old one refuse to
connect: what is printed replaces their lines.

Example:
  sudo berth user rotate-host-key alice")]
    RotateHostKey {
        /// The person's name
        name: String,
    },
    /// Add or remove a public key
    #[command(after_long_help = "Example:\n  berth user key add alice ~/.ssh/laptop.pub")]
    Key {
        #[command(subcommand)]
        command: KeyVerb,
    },
}

#[derive(Subcommand)]
enum KeyVerb {
    /// Give a person another key
    #[command(after_long_help = "Example:\n  berth user key add alice ~/.ssh/laptop.pub")]
    Add {
        /// The person's name
        name: String,
        /// A public key file, or - for standard input
        file: PathBuf,
    },
    /// Take a key away; it is dead at the next login
    #[command(after_long_help = "Example:\n  berth user key remove alice SHA256:…")]
    Remove {
        /// The person's name
        name: String,
        /// As `berth user show` prints it
        #[arg(value_name = "SHA256:…")]
        fingerprint: String,
    },
}

#[derive(clap::Args)]
struct Limited {
    /// The person's name
    name: String,
    /// Cards of all of their berths together
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    cards: Option<u32>,
    /// Berths, stopped ones included
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    berths: Option<u32>,
    /// The longest lease at once, such as 12h
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    lease: Option<Duration>,
    /// Memory of all of their berths together that are not stopped
    #[arg(long, value_name = "SIZE")]
    memory: Option<Size>,
    /// Nothing limits this person, the profile neither
    #[arg(long, conflicts_with_all = ["cards", "berths", "lease", "memory", "default"])]
    none: bool,
    /// Forget what was said of this person: the profile counts
    #[arg(long, conflicts_with_all = ["cards", "berths", "lease", "memory"])]
    default: bool,
}

impl Limited {
    fn change(&self) -> LimitChange {
        match (self.none, self.default) {
            (true, _) => LimitChange::None,
            (_, true) => LimitChange::Default,
            _ => LimitChange::Set(UserLimit {
                cards: self.cards,
                berths: self.berths,
                lease: self.lease.map(whole_seconds),
                memory: self.memory,
            }),
        }
    }
}

/// One's own keys, for the gateway.
#[derive(clap::Args)]
#[command(about = "Your own public keys", after_long_help = "Example:\n  berth user key list")]
pub(crate) struct Own {
    #[command(subcommand)]
    command: OwnVerb,
}

#[derive(Subcommand)]
enum OwnVerb {
    /// Show, add or remove a public key of yours
    #[command(after_long_help = "Example:\n  berth user key list")]
    Key {
        #[command(subcommand)]
        command: OwnKeyVerb,
    },
}

#[derive(Subcommand)]
enum OwnKeyVerb {
    /// Show your keys
    #[command(after_long_help = "Example:\n  berth user key list")]
    List,
    /// Add the public key that comes on standard input
    #[command(after_long_help = "Example:\n  berth user key add < ~/.ssh/laptop.pub")]
    Add,
    /// Take a key away; what it opened is closed at once
    #[command(after_long_help = "Example:\n  berth user key remove SHA256:…")]
    Remove {
        /// As `berth user key list` prints it
        #[arg(value_name = "SHA256:…")]
        fingerprint: String,
    },
}

pub(crate) fn own(global: &Global, name: &str, args: Own) -> Result<ExitCode> {
    let OwnVerb::Key { command } = args.command;
    let path = user_path(name)?;
    match command {
        OwnKeyVerb::List => show_whole(global, &wait_for(global.client()?.get(&path))?, false),
        OwnKeyVerb::Add => {
            let keys = NewKeys { keys: read_input("a public key")? };
            show(global, &wait_for(global.client()?.post(&format!("{path}/keys"), &keys))?)
        }
        OwnKeyVerb::Remove { fingerprint } => {
            let path = format!("{path}/keys?fingerprint={}", in_query(&fingerprint)?);
            show(global, &wait_for(global.client()?.delete(&path))?)
        }
    }
}

pub(crate) fn run(global: &Global, args: Args) -> Result<ExitCode> {
    match args.command {
        Verb::Add { name, key, uid, no_login } => add(global, name, &key, uid, no_login),
        Verb::Set { name, uid, same_name: _, no_login } => {
            let change = UserChange { login: login(uid, no_login) };
            show(global, &wait_for(global.client()?.patch(&user_path(&name)?, &change))?)
        }
        Verb::List => list(global),
        Verb::Show { name } => {
            let path = user_path(&name)?;
            show_whole(global, &wait_for(global.client()?.get(&path))?, false)
        }
        Verb::Limit(limited) => {
            let path = format!("{}/limit", user_path(&limited.name)?);
            show_whole(global, &wait_for(global.client()?.post(&path, &limited.change()))?, true)
        }
        Verb::Remove { name } => {
            let path = user_path(&name)?;
            let () = wait_for(global.client()?.delete(&path))?;
            done(global, &format!("user {name} is removed; their files stay"))
        }
        Verb::RotateHostKey { name } => rotate_host_key(global, &name),
        Verb::Key { command: KeyVerb::Add { name, file } } => {
            let keys = NewKeys { keys: read_key_file(&file)? };
            let path = format!("{}/keys", user_path(&name)?);
            show(global, &wait_for(global.client()?.post(&path, &keys))?)
        }
        Verb::Key { command: KeyVerb::Remove { name, fingerprint } } => {
            let path = format!("{}/keys?fingerprint={}", user_path(&name)?, in_query(&fingerprint)?);
            show(global, &wait_for(global.client()?.delete(&path))?)
        }
    }
}

fn rotate_host_key(global: &Global, name: &str) -> Result<ExitCode> {
    let path = format!("{}/host-key", user_path(name)?);
    let new: NewHostKey = wait_for(global.client()?.post(&path, &serde_json::json!({})))?;
    if global.json {
        render::json(&new)?;
        return Ok(ExitCode::SUCCESS);
    }
    render::note(&format!(
        "clients that know the old host key of {}'s berths refuse to connect: run the ssh-keygen lines on them, and add the others to \
         ~/.ssh/known_hosts; whoever uses ssh-config writes its files anew",
        new.user
    ));
    for view in &new.berths {
        let place = format!("[{}]:{}", view.ssh_host, view.berth.port);
        render::line(&render::printable(&format!("ssh-keygen -R '{place}'")));
        let lines = view.berth.host_key.as_ref().map(|key| known_hosts(&place, key));
        lines.iter().flat_map(|lines| lines.lines()).for_each(|line| render::line(&render::printable(line)));
    }
    if new.berths.is_empty() {
        render::line(&format!("the next berth of {} has another host key", new.user));
    }
    Ok(ExitCode::SUCCESS)
}

fn user_path(name: &str) -> Result<String, Fault> {
    Ok(format!("/v1/users/{}", segment("a user", name)?))
}

/// The fingerprint escaped for a URL query: base64 has characters with a meaning there.
fn in_query(fingerprint: &str) -> Result<String, Fault> {
    if !fingerprint.starts_with("SHA256:")
        || fingerprint.contains(|c: char| !c.is_ascii_graphic() || c == '&')
    {
        return Err(
            Fault::usage("a fingerprint looks like SHA256:…").help("berth user show NAME prints them")
        );
    }
    Ok(fingerprint.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D").replace('#', "%23"))
}

fn read_key_file(path: &Path) -> Result<String> {
    let text = if path == Path::new("-") {
        read_input("a public key")
    } else {
        read_user_file(path, "a public key file")
    };
    Ok(text?)
}

fn login(uid: Option<u32>, no_login: bool) -> Login {
    match (uid, no_login) {
        (Some(uid), _) => Login::Uid(uid),
        (None, true) => Login::None,
        (None, false) => Login::SameName,
    }
}

fn add(
    global: &Global,
    name: String,
    files: &[PathBuf],
    uid: Option<u32>,
    no_login: bool,
) -> Result<ExitCode> {
    let keys: Vec<String> = files.iter().map(|file| read_key_file(file)).collect::<Result<_>>()?;
    let login = login(uid, no_login);
    let new = NewUser { name, keys: keys.join("\n"), login: login.clone() };
    let user: User = wait_for(global.client()?.post("/v1/users", &new))?;
    if login == Login::SameName && user.uid.is_none() {
        let name = &user.name;
        render::note(&format!(
            "no account on this host is called {name}; where it has another name, or is made later: berth user set {name} --uid UID"
        ));
    }
    show(global, &user)
}

fn list(global: &Global) -> Result<ExitCode> {
    let users: Users = wait_for(global.client()?.get("/v1/users"))?;
    if global.json {
        render::json(&users)?;
        return Ok(ExitCode::SUCCESS);
    }
    let now = Timestamp::now();
    let mut table = render::table(&["USER", "UID", "KEYS", "ADDED"]);
    for user in &users.users {
        table.add_row([
            user.name.clone(),
            user.uid.map_or("-".into(), |uid| uid.to_string()),
            user.keys.len().to_string(),
            relative(user.added_at, now),
        ]);
    }
    render::show_table(&table);
    Ok(ExitCode::SUCCESS)
}

/// With what limits them; `says_none`: also where nothing does.
fn show_whole(global: &Global, view: &UserView, says_none: bool) -> Result<ExitCode> {
    if global.json {
        render::json(view)?;
        return Ok(ExitCode::SUCCESS);
    }
    show(global, &view.user)?;
    let (limit, used, by) = (&view.limit, &view.used, &view.limit_from);
    let lease = |seconds| humantime::format_duration(Duration::from_secs(seconds));
    let lines = [
        limit
            .cards
            .map(|most| format!("at most {most} cards, has {}{}", used.cards, said_by(by.cards.as_ref()))),
        limit
            .berths
            .map(|most| format!("at most {most} berths, has {}{}", used.berths, said_by(by.berths.as_ref()))),
        limit.lease.map(|most| format!("leases of at most {}{}", lease(most), said_by(by.lease.as_ref()))),
        limit.memory.map(|most| {
            format!("at most {most} of memory, has {}{}", Size(used.memory), said_by(by.memory.as_ref()))
        }),
    ];
    if says_none && lines.iter().all(Option::is_none) {
        render::line("  no limits");
    }
    lines.iter().flatten().for_each(|line| render::line(&format!("  {line}")));
    Ok(ExitCode::SUCCESS)
}

/// Who said a limit; nothing where an older agent does not tell.
fn said_by(source: Option<&LimitSource>) -> String {
    match source {
        Some(LimitSource::User) => " (said of this user)".into(),
        Some(LimitSource::Group(group)) => format!(" (said of group {})", render::one_line(group)),
        Some(LimitSource::Profile) => " (said of everybody)".into(),
        None => String::new(),
    }
}

fn show(global: &Global, user: &User) -> Result<ExitCode> {
    if global.json {
        render::json(user)?;
        return Ok(ExitCode::SUCCESS);
    }
    let account = user.uid.map_or("no account on this host".into(), |uid| format!("uid {uid}"));
    render::line(&format!("user {} ({account})", user.name));
    for key in &user.keys {
        let comment = key.line.splitn(3, ' ').nth(2).unwrap_or("");
        render::line(&format!("  {} {}", key.fingerprint, render::printable(comment)));
    }
    Ok(ExitCode::SUCCESS)
}

fn done(global: &Global, text: &str) -> Result<ExitCode> {
    if global.json {
        render::json(&serde_json::json!({ "done": text }))?;
    } else {
        render::line(text);
    }
    Ok(ExitCode::SUCCESS)
}
