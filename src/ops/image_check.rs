//! `berth image check`: whether an image is fit for a berth, before anybody uses it.

use super::ration::Act;
use super::{Caller, Node, ProgressSender};
use crate::engine::image::ImageInfo;
use crate::error::Fault;
use crate::ledger::Snapshot;
use crate::model::cann_support::{is_newer_cann, newest_cann_for};
use crate::model::facts::NpuFacts;
use crate::model::image::ImageProbe;
use crate::profile::Pin;
use anyhow::Result;
use serde::{Deserialize, Serialize};

/// The oldest glibc that VS Code's server and most Python wheels run on.
const LEAST_GLIBC: (u32, u32) = (2, 28);
/// The oldest C++ library that they run on: that of GCC 8.
const LEAST_GLIBCXX: (u32, u32, u32) = (3, 4, 25);
/// Free space that a home needs for an editor's server, its extensions and their caches.
const LEAST_HOME: u64 = 1 << 30;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageVerdict {
    Ok,
    Warn,
    Fail,
    /// It could not be checked, or does not apply.
    Skipped,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageFinding {
    /// One of these, which scripts may rely on: `image.user`, `image.shell`, `image.glibc`, `image.libstdcxx`,
    /// `image.tar`, `image.home`, `image.cann`, `image.arch`, `image.download`, `image.vscode` (all that VS Code's
    /// server needs, in one). An image for another architecture gets `image.arch` only.
    pub id: String,
    pub verdict: ImageVerdict,
    pub seen: String,
    pub remedy: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageCheck {
    pub schema: u32,
    pub image: String,
    pub image_id: String,
    pub findings: Vec<ImageFinding>,
}

impl ImageCheck {
    pub fn failed(&self) -> bool {
        self.findings.iter().any(|finding| finding.verdict == ImageVerdict::Fail)
    }
}

impl Node {
    pub async fn check_image(&self, caller: &Caller, name: &str) -> Result<ImageCheck> {
        self.ration(caller, Act::Look)?;
        if let Some(own) = &caller.user
            && let Some(snapshot) = self.named_snapshot(caller, own, name).await?
        {
            return self.check_of_snapshot(&snapshot).await;
        }
        let catalogue = self.catalogue().await?;
        let image = catalogue.resolve(name)?;
        let engine = self.engine().await?;
        let info = super::image_pin::look(&engine, image).await?.ok_or_else(|| {
            if image.is_imported() || matches!(image.pin(), Some(Pin::Id(_))) {
                return super::image_pin::not_from_a_registry(image);
            }
            Fault::refused(format!("image {name} is not on this node yet"))
                .help(format!("berth image pull {name}"))
        })?;
        let users = image.users.clone().unwrap_or_else(|| self.settings().profile.berth.users.clone());
        self.check_of(name.to_owned(), info, &users).await
    }

    /// The same for an image that somebody made of a berth. What is somebody else's is not there.
    pub async fn check_snapshot(&self, caller: &Caller, owner: &str, name: &str) -> Result<ImageCheck> {
        self.ration(caller, Act::Look)?;
        let snapshot = self.own_snapshot(caller, owner, name).await?;
        self.check_of_snapshot(&snapshot).await
    }

    async fn check_of_snapshot(&self, snapshot: &Snapshot) -> Result<ImageCheck> {
        let (info, users) = self.snapshot_content(&self.settings().profile, snapshot).await?;
        self.check_of(format!("{}/{}", snapshot.owner, snapshot.name), info, &users).await
    }

    async fn check_of(&self, image: String, info: ImageInfo, users: &[String]) -> Result<ImageCheck> {
        let progress = ProgressSender::nobody();
        let mut found = vec![arch(&info.arch)];
        // Nothing in an image for another machine can be started to look around.
        if found.iter().all(|finding| finding.verdict != ImageVerdict::Fail) {
            let probe = self.probe(&info, users, &progress).await?;
            let npu = self.npu_lately().await?;
            found.extend(findings(&probe, &npu));
        }
        Ok(ImageCheck { schema: 1, image, image_id: info.id, findings: found })
    }
}

fn finding(id: &str, verdict: ImageVerdict, seen: impl Into<String>, remedy: Option<&str>) -> ImageFinding {
    ImageFinding { id: id.into(), verdict, seen: seen.into(), remedy: remedy.map(Into::into) }
}

fn findings(probe: &ImageProbe, npu: &NpuFacts) -> Vec<ImageFinding> {
    let mut found = vec![
        user(probe),
        shell(probe),
        home(probe),
        tar(probe),
        glibc(probe),
        libstdcxx(probe),
        download(probe),
    ];
    found.push(vscode(&found));
    found.push(cann(probe, npu));
    found
}

fn arch(arch: &str) -> ImageFinding {
    let node = super::images::node_arch();
    match arch {
        "" => finding("image.arch", ImageVerdict::Skipped, "the image does not say", None),
        arch if arch == node => finding("image.arch", ImageVerdict::Ok, arch, None),
        arch => {
            let seen = format!("{arch}, but this node is {node}");
            finding(
                "image.arch",
                ImageVerdict::Fail,
                seen,
                Some("pull or import the image's variant for this node"),
            )
        }
    }
}

fn user(probe: &ImageProbe) -> ImageFinding {
    match &probe.user {
        Some(user) => finding(
            "image.user",
            ImageVerdict::Ok,
            format!("{} (uid {}, gid {})", user.name, user.uid, user.gid),
            None,
        ),
        None => finding(
            "image.user",
            ImageVerdict::Fail,
            probe.user_error.clone().unwrap_or_else(|| "nobody".into()),
            Some("give the image an account, or name one in the catalogue: users = [\"…\"]"),
        ),
    }
}

fn shell(probe: &ImageProbe) -> ImageFinding {
    let remedy = "install bash: VS Code's server is started by it";
    let shells: Vec<String> = probe.shells.iter().map(|shell| shell.display().to_string()).collect();
    match shells.as_slice() {
        [] => finding("image.shell", ImageVerdict::Fail, "no shell", Some(remedy)),
        some if some.iter().any(|shell| shell.ends_with("/bash")) => {
            finding("image.shell", ImageVerdict::Ok, some.join(", "), None)
        }
        some => finding("image.shell", ImageVerdict::Warn, some.join(", "), Some(remedy)),
    }
}

fn home(probe: &ImageProbe) -> ImageFinding {
    let Some(user) = &probe.user else {
        return finding("image.home", ImageVerdict::Skipped, "nobody's", None);
    };
    let home = user.home.display().to_string();
    let remedy = "editors keep their servers under home: make it, owned by that user, with 1 GiB free";
    let why = match user.home_free {
        _ if !user.home_exists => "is not there".to_owned(),
        _ if !user.home_writable => "cannot be written by its user".into(),
        Some(free) if free < LEAST_HOME => format!("has {} MiB free", free >> 20),
        _ => return finding("image.home", ImageVerdict::Ok, home, None),
    };
    finding("image.home", ImageVerdict::Warn, format!("{home} {why}"), Some(remedy))
}

fn tar(probe: &ImageProbe) -> ImageFinding {
    if probe.tar {
        finding("image.tar", ImageVerdict::Ok, "tar is there", None)
    } else {
        finding(
            "image.tar",
            ImageVerdict::Warn,
            "no tar",
            Some("install tar: editors unpack their servers with it"),
        )
    }
}

fn glibc(probe: &ImageProbe) -> ImageFinding {
    let remedy = "VS Code Remote-SSH needs glibc 2.28 or newer: choose a newer base image";
    match (&probe.glibc, probe.musl) {
        (Some(version), _) if parse_pair(version) >= Some(LEAST_GLIBC) => {
            finding("image.glibc", ImageVerdict::Ok, format!("glibc {version}"), None)
        }
        (Some(version), _) => {
            finding("image.glibc", ImageVerdict::Warn, format!("glibc {version}"), Some(remedy))
        }
        (None, true) => finding(
            "image.glibc",
            ImageVerdict::Warn,
            "musl, no glibc",
            Some(
                "VS Code's server and most wheels are built for glibc 2.28 or newer: choose an image with it",
            ),
        ),
        (None, false) => finding("image.glibc", ImageVerdict::Warn, "no glibc", Some(remedy)),
    }
}

fn libstdcxx(probe: &ImageProbe) -> ImageFinding {
    let remedy = "VS Code's server needs the libstdc++6 of GCC 8 or newer (GLIBCXX_3.4.25): install it";
    let (verdict, seen) = match &probe.glibcxx {
        Some(version) if parse_three(version) >= Some(LEAST_GLIBCXX) => {
            (ImageVerdict::Ok, format!("up to GLIBCXX_{version}"))
        }
        Some(version) => (ImageVerdict::Warn, format!("up to GLIBCXX_{version}")),
        None => (ImageVerdict::Warn, "no libstdc++".into()),
    };
    finding("image.libstdcxx", verdict, seen, Some(remedy).filter(|_| verdict != ImageVerdict::Ok))
}

/// Whether the image has a program to download the server with. A lack is no fault, because the editor can download
/// the server on the developer's machine and copy it here.
fn download(probe: &ImageProbe) -> ImageFinding {
    if probe.download {
        return finding("image.download", ImageVerdict::Ok, "curl or wget is there", None);
    }
    finding(
        "image.download",
        ImageVerdict::Skipped,
        "neither curl nor wget",
        Some(
            "editors download their servers with these: without, they copy them from the developer's machine, or the \
              node has them (docs/ssh.md)",
        ),
    )
}

/// Whether VS Code's server will run, decided from the findings before it.
fn vscode(found: &[ImageFinding]) -> ImageFinding {
    const NEEDS: [&str; 6] =
        ["image.user", "image.shell", "image.home", "image.tar", "image.glibc", "image.libstdcxx"];
    let missing: Vec<&str> = found
        .iter()
        .filter(|finding| NEEDS.contains(&finding.id.as_str()) && finding.verdict != ImageVerdict::Ok)
        .map(|finding| finding.id.trim_start_matches("image."))
        .collect();
    if missing.is_empty() {
        return finding("image.vscode", ImageVerdict::Ok, "VS Code Remote-SSH can run its server", None);
    }
    let seen = format!("VS Code Remote-SSH cannot run its server: {}", missing.join(", "));
    finding(
        "image.vscode",
        ImageVerdict::Warn,
        seen,
        Some("mend what is named; ssh, scp, rsync and JetBrains' Gateway ask for less"),
    )
}

fn cann(probe: &ImageProbe, npu: &NpuFacts) -> ImageFinding {
    let Some(cann) = &probe.cann else {
        return finding("image.cann", ImageVerdict::Skipped, "no CANN in the image", None);
    };
    let Some(driver) = &npu.driver_version else {
        let seen = format!("CANN {cann}; the driver's version could not be looked at");
        return finding("image.cann", ImageVerdict::Skipped, seen, None);
    };
    let seen = format!("CANN {cann} on driver {driver}");
    match newest_cann_for(driver) {
        None => finding("image.cann", ImageVerdict::Skipped, format!("{seen}: not in our table"), None),
        Some(newest) if is_newer_cann(cann, newest) => finding(
            "image.cann",
            ImageVerdict::Warn,
            seen,
            Some(
                "this CANN is newer than what is documented for the driver: upgrade the driver or take an older image",
            ),
        ),
        Some(_) => finding("image.cann", ImageVerdict::Ok, seen, None),
    }
}

fn parse_pair(version: &str) -> Option<(u32, u32)> {
    let (major, rest) = version.split_once('.')?;
    Some((major.parse().ok()?, rest.split('.').next()?.parse().ok()?))
}

fn parse_three(version: &str) -> Option<(u32, u32, u32)> {
    let mut parts = version.splitn(3, '.').map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?, parts.next().unwrap_or(Ok(0)).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe() -> ImageProbe {
        let user = crate::model::image::ProbedUser {
            name: "ma-user".into(),
            uid: 1000,
            gid: 100,
            home: "/home/ma-user".into(),
            shell: "/bin/bash".into(),
            home_exists: true,
            home_writable: true,
            home_free: Some(LEAST_HOME),
        };
        ImageProbe {
            schema: 1,
            arch: "aarch64".into(),
            user: Some(user),
            user_error: None,
            shells: vec!["/bin/bash".into()],
            glibc: Some("2.28".into()),
            musl: false,
            glibcxx: Some("3.4.25".into()),
            tar: true,
            download: false,
            cann: None,
        }
    }

    /// What is said of VS Code, and the verdict on what is to blame.
    fn vscode_of(change: impl FnOnce(&mut ImageProbe), blamed: &str) -> (ImageVerdict, String, ImageVerdict) {
        let mut probe = probe();
        change(&mut probe);
        let found = findings(&probe, &NpuFacts::default());
        let of = |id: &str| found.iter().find(|finding| finding.id == id).unwrap().clone();
        let (vscode, blamed) = (of("image.vscode"), of(blamed));
        assert!(blamed.verdict == ImageVerdict::Ok || blamed.remedy.is_some(), "{blamed:?}");
        (vscode.verdict, vscode.seen, blamed.verdict)
    }

    type Change = fn(&mut ImageProbe);

    #[test]
    fn vs_code_runs_on_what_its_server_asks_for_and_on_nothing_less() {
        let (verdict, seen, _) = vscode_of(|_| (), "image.glibc");
        assert_eq!((verdict, seen.as_str()), (ImageVerdict::Ok, "VS Code Remote-SSH can run its server"));
        let cases: [(&str, Change); 9] = [
            ("image.glibc", |probe| probe.glibc = Some("2.27".into())),
            ("image.glibc", |probe| (probe.glibc, probe.musl) = (None, true)),
            ("image.libstdcxx", |probe| probe.glibcxx = Some("3.4.24".into())),
            ("image.libstdcxx", |probe| probe.glibcxx = None),
            ("image.tar", |probe| probe.tar = false),
            ("image.shell", |probe| probe.shells = vec!["/bin/sh".into()]),
            ("image.home", |probe| probe.user.as_mut().unwrap().home_writable = false),
            ("image.home", |probe| probe.user.as_mut().unwrap().home_exists = false),
            ("image.home", |probe| probe.user.as_mut().unwrap().home_free = Some(LEAST_HOME - 1)),
        ];
        for (blamed, change) in cases {
            let (verdict, seen, of_blamed) = vscode_of(change, blamed);
            assert_eq!((verdict, of_blamed), (ImageVerdict::Warn, ImageVerdict::Warn), "{blamed}");
            assert!(seen.ends_with(blamed.trim_start_matches("image.")), "{seen}");
        }
    }

    #[test]
    fn a_newer_cann_than_documented_is_a_warning() {
        let verdict = |version: &str, driver: Option<&str>| {
            let npu = NpuFacts { driver_version: driver.map(Into::into), ..NpuFacts::default() };
            cann(&ImageProbe { cann: Some(version.into()), ..probe() }, &npu).verdict
        };
        assert_eq!(verdict("8.2.rc1", Some("24.1.0.3")), ImageVerdict::Ok);
        assert_eq!(verdict("8.5.0", Some("24.1.0.3")), ImageVerdict::Warn);
        assert_eq!(verdict("8.5.0", Some("22.0")), ImageVerdict::Skipped);
        assert_eq!(verdict("8.5.0", None), ImageVerdict::Skipped);
    }

    #[test]
    fn versions_compare_as_numbers() {
        assert!(parse_pair("2.9") < Some(LEAST_GLIBC));
        assert!(parse_pair("2.36") > Some(LEAST_GLIBC));
        assert_eq!(parse_pair("x"), None);
        assert!(parse_three("3.4.9") < Some(LEAST_GLIBCXX) && parse_three("3.4.30") > Some(LEAST_GLIBCXX));
    }
}
