//! Whether the clock is synchronised: asks systemd, else chrony.

use crate::host::{Host, Tool};
use crate::model::check_facts::{Clock, Look, NotLooked};

pub fn gather(host: &dyn Host) -> Look<Clock> {
    // systemd asks the kernel, whoever keeps its clock.
    let cmd = Tool::Timedatectl.cmd().args(["show", "--property=NTPSynchronized", "--value"]);
    let systemd =
        host.run(&cmd).map_err(|error| error.to_string()).and_then(|output| match output.stdout.trim() {
            "yes" => Ok(true),
            "no" => Ok(false),
            _ => Err("timedatectl says neither yes nor no".into()),
        });
    let first = match systemd {
        Ok(synchronised) => return Ok(Clock { synchronised, source: "timedatectl".into() }),
        Err(reason) => reason,
    };
    match host.run(&Tool::Chronyc.cmd().args(["-n", "tracking"])) {
        Ok(output) => parse_chrony(&output.stdout)
            .map(|synchronised| Clock { synchronised, source: "chronyc".into() })
            .ok_or_else(|| NotLooked::from(String::from("chronyc does not say whether it is synchronised"))),
        Err(second) => {
            let [first, second] =
                [first, second.to_string()].map(|why| why.chars().take(110).collect::<String>());
            Err(NotLooked::new(format!("{first}; {second}"), "timedatectl; chronyc tracking"))
        }
    }
}

/// `Leap status     : Normal`
pub fn parse_chrony(text: &str) -> Option<bool> {
    let line = text.lines().find_map(|line| line.trim().strip_prefix("Leap status"))?;
    let word = line.trim_start().strip_prefix(':')?.trim();
    Some(!word.eq_ignore_ascii_case("not synchronised"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::FakeHost;

    const SYSTEMD: &str = "timedatectl show --property=NTPSynchronized --value";

    #[test]
    fn systemd_is_asked_first_and_then_chrony() {
        let yes = gather(&FakeHost::default().with_output(SYSTEMD, 0, "yes\n", "")).unwrap();
        assert!(yes.synchronised && yes.source == "timedatectl");
        let chrony = FakeHost::default().with_missing(SYSTEMD).with_output(
            "chronyc -n tracking",
            0,
            "Stratum : 3\nLeap status     : Not synchronised\n",
            "",
        );
        assert!(!gather(&chrony).unwrap().synchronised);
        let neither = FakeHost::default().with_missing(SYSTEMD).with_missing("chronyc -n tracking");
        assert!(gather(&neither).unwrap_err().reason.contains("timedatectl is not on this machine"));
    }
}
