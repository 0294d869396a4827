//! The choice for the driver, and likewise for the firmware: keep the installed one, install a package, or refuse.

use super::name::{self, Named};
use super::pair::{Fit, fit};
use crate::bootstrap::observed::DriverSeen;
use crate::bootstrap::plan::{PackageKind, Part};
use crate::model::driver::RunFile;
use crate::model::version::{compare, is_same};
use crate::profile::DriverWants;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Choice {
    Keep(String),
    Install(String, RunFile),
}

impl Choice {
    pub(super) fn version(&self) -> &str {
        match self {
            Self::Keep(version) | Self::Install(version, _) => version,
        }
    }
}

/// The input of the choice of a driver or a firmware.
pub(super) struct Chooser<'a> {
    pub(super) seen: &'a DriverSeen,
    pub(super) wants: &'a DriverWants,
    pub(super) arch: &'a str,
    pub(super) kind: PackageKind,
    /// The version that is installed, and whether whole.
    pub(super) installed: Option<(&'a str, bool)>,
    /// The driver that the firmware must be compatible with.
    pub(super) driver: Option<&'a str>,
}

impl Chooser<'_> {
    /// `None`: refused, with the reason in `part`.
    pub(super) fn choose(&self, part: &mut Part) -> Option<Choice> {
        let wanted = self.wanted();
        if let Some((installed, true)) = self.installed
            && is_same(installed, wanted)
        {
            return Some(Choice::Keep(installed.to_owned()));
        }
        let fitting = self.fitting();
        let Some(newest) =
            fitting.iter().map(|(named, _)| named.version.as_str()).max_by(|a, b| compare(a, b))
        else {
            return self.without_package(wanted, part);
        };
        if let Some((installed, is_whole)) = self.installed {
            if wanted.is_empty() && is_whole && compare(installed, newest).is_ge() {
                return Some(Choice::Keep(installed.to_owned()));
            }
            if compare(installed, newest).is_gt() && !self.wants.downgrade {
                let kind = self.kind;
                part.refuse(
                    format!("{kind} {installed} is installed, which is newer than {newest}"),
                    format!(
                        "berth does not go back: name {kind} {installed} in [bootstrap.driver], or set downgrade = true"
                    ),
                );
                return None;
            }
        }
        let best: Vec<_> =
            fitting.iter().filter(|(named, _)| compare(&named.version, newest).is_eq()).collect();
        let [(named, file)] = best.as_slice() else {
            let names: Vec<&str> = best.iter().map(|(_, file)| file.name.as_str()).collect();
            part.refuse(
                format!("more than one package could be the {}: {}", self.kind, names.join(", ")),
                format!(
                    "leave one of them in {}, or name its version in [bootstrap.driver]",
                    self.seen.packages.directory.display()
                ),
            );
            return None;
        };
        if let Some(why) = &file.objection {
            part.refuse(
                format!("{} must not be run as root: {why}", file.name),
                "packages are run as root: only root may be able to write to them and to the directories above",
            );
            return None;
        }
        Some(Choice::Install(named.version.clone(), (*file).clone()))
    }

    fn wanted(&self) -> &str {
        match self.kind {
            PackageKind::Driver => &self.wants.driver,
            PackageKind::Firmware => &self.wants.firmware,
        }
    }

    /// Packages of the right product, machine and version.
    fn fitting(&self) -> Vec<(Named, &RunFile)> {
        let named = self.seen.packages.files.iter().filter_map(|file| Some((name::parse(&file.name)?, file)));
        named.filter(|(named, _)| self.why_not(named).is_none()).collect()
    }

    fn why_not(&self, named: &Named) -> Option<String> {
        if named.kind != self.kind {
            return Some(format!("a {}", named.kind));
        }
        if !named.product.eq_ignore_ascii_case(&self.wants.product) {
            return Some(format!("for {}", named.product));
        }
        if let Some(arch) = named.arch.as_ref().filter(|arch| *arch != self.arch) {
            return Some(format!("for {arch}"));
        }
        let wanted = self.wanted();
        if !wanted.is_empty() {
            return (!is_same(&named.version, wanted)).then(|| "another version".to_owned());
        }
        let driver = self.driver?;
        match fit(driver, &named.version, &self.seen.files) {
            Fit::No(with) if !self.wants.trust_pair => Some(format!("driver {driver} goes with {with}")),
            _ => None,
        }
    }

    fn without_package(&self, wanted: &str, part: &mut Part) -> Option<Choice> {
        if let Some((installed, true)) = self.installed
            && wanted.is_empty()
        {
            return Some(Choice::Keep(installed.to_owned()));
        }
        let version = if wanted.is_empty() { String::new() } else { format!(" {wanted}") };
        let machine = match self.kind {
            PackageKind::Driver => format!(" on {}", self.arch),
            PackageKind::Firmware => String::new(),
        };
        let packages = &self.seen.packages;
        let directory = packages.directory.display();
        let what =
            format!("there is no {}{version} for {}{machine} in {directory}", self.kind, self.wants.product);
        let what = match &packages.error {
            Some(error) => format!("{what}: {error}"),
            None => format!("{what}; {}", self.found()),
        };
        part.refuse(what, format!("put the vendor's package into {directory}: {}", self.example(wanted)));
        None
    }

    fn example(&self, wanted: &str) -> String {
        let version = if wanted.is_empty() { "VERSION" } else { wanted };
        let begin = name::begin(&self.wants.product);
        match self.kind {
            PackageKind::Driver => {
                let arch = self.arch.replace('_', "-");
                format!("{begin}driver_{version}_linux-{arch}.run")
            }
            PackageKind::Firmware => format!("{begin}firmware_{version}.run"),
        }
    }

    /// Names the packages that are there, and why each does not fit.
    fn found(&self) -> String {
        const MOST: usize = 10;
        let files = &self.seen.packages.files;
        if files.is_empty() {
            return "no .run file is there".into();
        }
        let shown: Vec<String> = files.iter().take(MOST).map(|file| self.describe(file)).collect();
        let more = if files.len() > MOST { ", …" } else { "" };
        format!("found {}{more}", shown.join(", "))
    }

    fn describe(&self, file: &RunFile) -> String {
        let why = match name::parse(&file.name) {
            None => Some("no driver or firmware by its name".to_owned()),
            Some(named) => self.why_not(&named),
        };
        why.map_or_else(|| file.name.clone(), |why| format!("{} ({why})", file.name))
    }
}
