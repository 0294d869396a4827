//! The cards' own network (RoCE): addresses, links, health and TLS, as hccn_tool prints them.

use super::outcome::{Outcome, bad, doubtful, good, list, looked};
use super::{Check, Need, On, Scope, Wants};
use crate::check::report::Severity;
use crate::model::check_facts::{HccnCard, HccnConf, Look, NotLooked};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "hccn.ip",
        title: "Addresses of the cards",
        severity: Severity::Required,
        on: On::Hardware,
        needs: &[Need::Hccn],
        wants: |wants| wanted(wants, "an address for every card, each its own"),
        judge: address,
    },
    Check {
        id: "hccn.conf",
        title: "Addresses that the file keeps",
        severity: Severity::Advised,
        on: On::Hardware,
        needs: &[Need::Hccn, Need::HccnConf],
        wants: |wants| {
            if wants.profile.check.hccn {
                Ok("/etc/hccn.conf says what the cards say".into())
            } else {
                Err(UNUSED.into())
            }
        },
        judge: conf,
    },
    Check {
        id: "hccn.link",
        title: "Links of the cards",
        severity: Severity::Required,
        on: On::Hardware,
        needs: &[Need::Hccn],
        wants: |wants| wanted(wants, "every link up"),
        judge: link,
    },
    Check {
        id: "hccn.net-health",
        title: "Network health of the cards",
        severity: Severity::Required,
        on: On::Hardware,
        needs: &[Need::Hccn],
        wants: |wants| wanted(wants, "Success or Init"),
        judge: net_health,
    },
    Check {
        id: "hccn.tls",
        title: "TLS of the cards",
        severity: Severity::Required,
        on: On::Hardware,
        needs: &[Need::Hccn],
        wants: |wants| wanted(wants, "off on every card, as on every other node"),
        judge: tls,
    },
];

const UNUSED: &str = "the profile says hccn = false";

fn wanted(wants: &Wants, what: &str) -> Result<String, String> {
    match (wants.profile.check.hccn, wants.profile.check.single_node) {
        (false, _) => Err(UNUSED.into()),
        (true, true) => Ok(format!("{what} (single node: a warning)")),
        (true, false) => Ok(what.into()),
    }
}

/// The outcome for a fault of the network ports. It is a warning for a single node, which computes over HCCS only.
fn wrong(scope: &Scope, seen: String, remedy: impl Into<String>) -> Outcome {
    if scope.profile.check.single_node { doubtful(seen, remedy) } else { bad(seen, remedy) }
}

/// The answers of the cards, and the reason for the first one that is missing.
struct Answers<'a, T> {
    found: Vec<(u32, &'a T)>,
    silent: Option<NotLooked>,
}

fn answers<'a, T>(
    scope: &Scope<'a>,
    of: impl Fn(&'a HccnCard) -> &'a Look<T>,
) -> Result<Answers<'a, T>, NotLooked> {
    let (mut found, mut silent) = (Vec::new(), None);
    for card in looked(&scope.facts.hccn)? {
        match of(card) {
            Ok(answer) => found.push((card.id, answer)),
            Err(why) => silent = silent.or(Some(why.clone())),
        }
    }
    if found.is_empty() && silent.is_none() {
        return Err(String::from("hccn_tool was asked for no card").into());
    }
    Ok(Answers { found, silent })
}

impl<T> Answers<'_, T> {
    /// The good outcome, only if every card answered: "all are well" cannot be said while one answer is missing.
    fn good(self, seen: String) -> Result<Outcome, NotLooked> {
        self.silent.map_or(Ok(good(seen)), Err)
    }

    fn ids(&self, which: impl Fn(&T) -> bool) -> Vec<u32> {
        self.found.iter().filter(|(_, answer)| which(answer)).map(|(id, _)| *id).collect()
    }
}

fn tool(scope: &Scope) -> String {
    scope.config.tools.hccn_tool.display().to_string()
}

fn address(scope: &Scope) -> Result<Outcome, NotLooked> {
    let answers = answers(scope, |card| &card.address)?;
    let none = answers.ids(Option::is_none);
    let mut addresses: Vec<&str> =
        answers.found.iter().filter_map(|(_, address)| address.as_deref()).collect();
    let seen = list(addresses.iter());
    addresses.sort_unstable();
    if let Some([twice, _]) = addresses.windows(2).find(|pair| matches!(pair, [a, b] if a == b)) {
        let remedy = format!("{} -i N -ip -s address A netmask M", tool(scope));
        return Ok(bad(format!("{twice} is the address of two cards"), remedy));
    }
    if let Some(first) = none.first() {
        let remedy =
            format!("{} -i {first} -ip -s address A netmask M; berth bootstrap does it for all", tool(scope));
        return Ok(wrong(scope, format!("no address: card {}", list(&none)), remedy));
    }
    answers.good(seen)
}

/// Judges /etc/hccn.conf. Programs in berths read the cards' addresses from it, and the driver at its next start.
fn conf(scope: &Scope) -> Result<Outcome, NotLooked> {
    let kept = match looked(&scope.facts.hccn_conf)? {
        HccnConf::Addresses(kept) => kept,
        HccnConf::Missing => return Ok(conf_missing(scope)),
        HccnConf::Directory => {
            return Ok(doubtful(
                "/etc/hccn.conf is a directory, as `docker run -v` makes one where the file is missing",
                "remove the container that mounts it, rmdir /etc/hccn.conf, then set the addresses anew: berth bootstrap",
            ));
        }
    };
    let answers = answers(scope, |card| &card.address)?;
    let said = |card: u32| usize::try_from(card).ok().and_then(|index| kept.get(index)?.as_deref());
    let word = |address: Option<&str>| address.unwrap_or("none").to_owned();
    let differ: Vec<String> = answers
        .found
        .iter()
        .filter(|(id, has)| said(*id) != has.as_deref())
        .map(|(id, has)| format!("card {id} has {}, the file {}", word(has.as_deref()), word(said(*id))))
        .collect();
    if differ.is_empty() {
        return answers.good("the same for every card".into());
    }
    let remedy = format!(
        "berths see the file, and after a restart the cards have what it says: {} -i N -ip -s address A netmask M writes both",
        tool(scope)
    );
    Ok(doubtful(list(differ), remedy))
}

fn conf_missing(scope: &Scope) -> Outcome {
    doubtful(
        "there is no /etc/hccn.conf: after the next start the cards have no addresses, and berths see none",
        format!("{} -i N -ip -s address A netmask M; berth bootstrap does it for all", tool(scope)),
    )
}

fn link(scope: &Scope) -> Result<Outcome, NotLooked> {
    let answers = answers(scope, |card| &card.link)?;
    let down = answers.ids(|link| !link.eq_ignore_ascii_case("up"));
    if let Some(first) = down.first() {
        let remedy =
            format!("look at cable and switch port; history: {} -i {first} -link_stat -g", tool(scope));
        return Ok(wrong(scope, format!("down: card {}", list(&down)), remedy));
    }
    let seen = format!("{} links up", answers.found.len());
    answers.good(seen)
}

fn net_health(scope: &Scope) -> Result<Outcome, NotLooked> {
    let answers = answers(scope, |card| &card.health)?;
    // Init: there is no address to detect yet. The vendor's own tools count both as healthy.
    let healthy = |word: &str| matches!(word, "Success" | "Init");
    let say = |which: &dyn Fn(&str) -> bool| {
        let some = answers.found.iter().filter(|(_, word)| which(word));
        list(some.map(|(id, word)| format!("card {id} {word}")))
    };
    let ill = say(&|word| !healthy(word));
    if !ill.is_empty() {
        let tool = tool(scope);
        let remedy =
            format!("look at gateway and detect address: {tool} -i N -gateway -g; {tool} -i N -netdetect -g");
        return Ok(wrong(scope, ill, remedy));
    }
    let seen = say(&|_| true);
    answers.good(seen)
}

fn tls(scope: &Scope) -> Result<Outcome, NotLooked> {
    let answers = answers(scope, |card| &card.tls)?;
    let (on, count) = (answers.ids(|on| *on), answers.found.len());
    let Some(first) = on.first() else { return answers.good(format!("off on {count} cards")) };
    let off = format!("for each of them: {} -i {first} -tls -s enable 0", tool(scope));
    if on.len() < count {
        // Two cards that disagree never connect: HCCL ends with a timeout that names nothing of this.
        return Ok(bad(format!("on for card {}, off for others", list(&on)), off));
    }
    Ok(doubtful(format!("on for all {count} cards"), off))
}
