//! Asks a package manager what it would do to installed packages: `apt-get --simulate`, `dnf --assumeno`,
//! `yum --assumeno`. Nothing is installed or removed.

use crate::host::{Cmd, Host, RunError, Tool};
use crate::model::docker_seen::PackageManager;
use std::time::Duration;

const COMPARING: Duration = Duration::from_mins(1);

/// Installed packages that would be removed or downgraded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Losses {
    pub removed: Vec<String>,
    /// An older version would come over a newer one.
    pub downgraded: Vec<String>,
}

impl Losses {
    pub fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.downgraded.is_empty()
    }
}

/// What the manager answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Would(Losses),
    /// It cannot install the packages, or its answer cannot be read; the text is its output.
    NoAnswer(String),
}

impl Answer {
    pub fn losses(self) -> Option<Losses> {
        match self {
            Self::Would(losses) => Some(losses),
            Self::NoAnswer(_) => None,
        }
    }
}

/// A package that would get another version.
#[derive(Debug, PartialEq, Eq)]
struct Replaced<'a> {
    name: &'a str,
    old: &'a str,
    new: &'a str,
}

/// Runs `question`, which must be a command that changes nothing, and reads the answer.
pub fn gather(host: &dyn Host, manager: PackageManager, question: &Cmd) -> Result<Answer, RunError> {
    let output = host.run(&question.clone().allow_any_exit())?;
    let no_answer = || Ok(Answer::NoAnswer(format!("{}\n{}", output.stdout, output.stderr)));
    match manager {
        PackageManager::AptGet if output.status != 0 => no_answer(),
        PackageManager::AptGet => {
            let (removed, replaced) = of_apt(&output.stdout);
            let mut losses = Losses { removed, downgraded: Vec::new() };
            for package in replaced {
                if is_older(host, &package)? {
                    losses.downgraded.push(package.name.to_owned());
                }
            }
            Ok(Answer::Would(losses))
        }
        // Both answers, to say no and to find nothing, are the same status; another one is that there is nothing to do.
        PackageManager::Dnf | PackageManager::Yum => match of_dnf(&output.stdout) {
            Some(losses) => Ok(Answer::Would(losses)),
            None if output.status == 0 => Ok(Answer::Would(Losses::default())),
            None => no_answer(),
        },
    }
}

/// Lines for machines: `Remv NAME [OLD]`, `Inst NAME [OLD] (NEW FROM [ARCH])`; without `[OLD]` it is new.
fn of_apt(text: &str) -> (Vec<String>, Vec<Replaced<'_>>) {
    let (mut removed, mut replaced) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("Remv" | "Purg"), Some(name), _, _) => removed.push(name.to_owned()),
            (Some("Inst"), Some(name), Some(old), Some(new)) => {
                let old = old.strip_prefix('[').and_then(|old| old.strip_suffix(']'));
                let new = new.strip_prefix('(').map(|new| new.trim_end_matches(')'));
                if let (Some(old), Some(new)) = (old, new) {
                    replaced.push(Replaced { name, old, new });
                }
            }
            _ => {}
        }
    }
    (removed, replaced)
}

fn is_older(host: &dyn Host, package: &Replaced) -> Result<bool, RunError> {
    const NO: i32 = 1;
    let cmd = Tool::Dpkg.cmd().args(["--compare-versions", package.new, "lt", package.old]);
    host.run(&cmd.allow_exits(&[NO]).timeout(COMPARING)).map(|output| output.status == 0)
}

/// A table whose parts have a title at the start of the line (`Removing dependent packages:`), a package a line behind
/// one space, and what a package takes the place of further in.
fn of_dnf(text: &str) -> Option<Losses> {
    let mut losses = Losses::default();
    let (mut has_table, mut title) = (false, "");
    for line in text.lines() {
        let depth = line.len() - line.trim_start_matches(' ').len();
        let first = line.split_whitespace().next().unwrap_or_default();
        match depth {
            0 if line.ends_with(':') => {
                title = line;
                has_table |=
                    ["Installing", "Upgrading", "Updating"].iter().any(|word| line.starts_with(word));
            }
            0 => title = "",
            1 if title.starts_with("Remov") => losses.removed.push(first.to_owned()),
            1 if title.starts_with("Downgrad") => losses.downgraded.push(first.to_owned()),
            _ if first == "replacing" => {
                losses.removed.extend(line.split_whitespace().nth(1).map(str::to_owned));
            }
            _ => {}
        }
    }
    (has_table || !losses.is_empty()).then_some(losses)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::FakeHost;

    const APT: &str = "NOTE: This is only a simulation!\nReading package lists...\n\
        The following packages will be REMOVED:\n  containerd.io\n\
        Remv containerd.io [1.6.20-1] [docker-ce:amd64 ]\n\
        Inst runc [1.1.9-1] (1.1.5+ds1-1 Debian:12/stable [amd64])\n\
        Inst libc6 [2.36-9] (2.36-10 Debian:12/stable [amd64]) []\n\
        Inst docker.io (20.10.24+dfsg1-1 Debian:12/stable [amd64])\n\
        Conf docker.io (20.10.24+dfsg1-1 Debian:12/stable [amd64])\n";

    #[test]
    fn apt_says_what_would_be_removed_and_what_would_become_older() {
        let host = FakeHost::default()
            .with_output("apt-get install", 0, APT, "")
            .with_output("dpkg --compare-versions 1.1.5+ds1-1 lt 1.1.9-1", 0, "", "")
            .with_output("dpkg --compare-versions 2.36-10 lt 2.36-9", 1, "", "");
        let question = Tool::AptGet.cmd().arg("install");
        let losses = gather(&host, PackageManager::AptGet, &question).unwrap().losses().unwrap();
        assert_eq!((losses.removed, losses.downgraded), (vec!["containerd.io".into()], vec!["runc".into()]));
        let nothing = FakeHost::default().with_output("apt-get install", 100, APT, "E: unmet");
        assert_eq!(gather(&nothing, PackageManager::AptGet, &question).unwrap().losses(), None);
        assert!(
            gather(&FakeHost::default().with_hang("apt-get install"), PackageManager::AptGet, &question)
                .is_err()
        );
    }

    #[test]
    fn dnf_and_yum_have_a_table() {
        // dnf 4.14; the last part is not of that run.
        let dnf = "Last metadata expiration check: 0:00:02 ago on Mon Nov 30 17:08:29 2026.\nDependencies resolved.\n\
            ====\n Package               Architecture       Version           Repository     Size\n====\n\
            Installing:\n docker-ce             noarch             26-1              r             5.5 k\n\
            \x20    replacing  podman-docker.noarch 4-1\n\
            Downgrading:\n libsec                noarch             1-1               r             5.4 k\n\
            Removing dependent packages:\n runc   x86_64  4:1.1.12-2.el9  @appstream  10 M\n\n\
            Transaction Summary\n====\nInstall    1 Package\nDowngrade  1 Package\n\nTotal size: 11 k\n";
        let losses = of_dnf(dnf).unwrap();
        assert_eq!(losses.removed, ["podman-docker.noarch", "runc"]);
        assert_eq!(losses.downgraded, ["libsec"]);
        let yum = "Dependencies Resolved\n\n====\n Package Arch Version Repository Size\n====\n\
            Installing:\n docker-engine-with-a-name-that-is-long\n\
            \x20               aarch64  18.09.0-200  base  30 M\n\nTransaction Summary\n====\nExiting on user command\n";
        assert_eq!(of_dnf(yum), Some(Losses::default()));
        assert_eq!(of_dnf("Error: Unable to find a match: docker-ce\n"), None);
        let asked = |status, text: &str| {
            let host = FakeHost::default().with_output("dnf --assumeno", status, text, "and why");
            gather(&host, PackageManager::Dnf, &Tool::Dnf.cmd().arg("--assumeno")).unwrap()
        };
        assert_eq!(asked(1, dnf).losses().unwrap().downgraded, ["libsec"]);
        assert_eq!(asked(0, "Nothing to do.\n"), Answer::Would(Losses::default()));
        assert_eq!(asked(1, "安装:\n"), Answer::NoAnswer("安装:\n\nand why".into()));
    }
}
