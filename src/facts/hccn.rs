//! The state of the cards' network ports, from hccn_tool: four questions for each card.

use crate::host::{Host, RunError, Tool};
use crate::model::check_facts::{HccnCard, Look, NotLooked};
use crate::profile::Tools;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(5);
const TLS: &str = "-tls";
/// The vendor's guide to HCCL's errors: this answer means that TLS is off.
const NO_CERTIFICATE: &str = "no certificate found";

/// Asks one card. After a question that hung, or if the tool is missing, the others are not asked.
pub fn gather_card(host: &dyn Host, tools: &Tools, id: u32) -> HccnCard {
    let mut given_up: Option<NotLooked> = None;
    let mut ask = |what: &str| -> Look<String> {
        if let Some(why) = &given_up {
            return Err(why.clone());
        }
        match run(host, tools, id, what) {
            Ok(text) => Ok(text),
            Err((why, is_final)) => {
                if is_final {
                    given_up = Some(why.clone());
                }
                Err(why)
            }
        }
    };
    let unknown = |what: &str, text: &str| {
        let shown: String = text.trim().chars().take(80).collect();
        NotLooked::from(format!("card {id}: hccn_tool said no {what}: {shown:?}"))
    };
    HccnCard {
        id,
        address: ask("-ip").and_then(|text| match parse_address(&text) {
            None if !text.trim().is_empty() => Err(unknown("address", &text)),
            address => Ok(address),
        }),
        link: ask("-link").and_then(|text| parse_link(&text).ok_or_else(|| unknown("link status", &text))),
        health: ask("-net_health")
            .and_then(|text| parse_health(&text).ok_or_else(|| unknown("net health", &text))),
        tls: ask(TLS).and_then(|text| parse_tls(&text).ok_or_else(|| unknown("TLS switch", &text))),
    }
}

fn says_no_certificate(text: &str) -> bool {
    text.to_ascii_lowercase().contains(NO_CERTIFICATE)
}

/// The output, or why there is none and whether it makes sense to go on.
fn run(host: &dyn Host, tools: &Tools, id: u32, what: &str) -> Result<String, (NotLooked, bool)> {
    let tool = Tool::HccnTool(tools.hccn_tool.clone());
    let cmd = tool.cmd().args(["-i", &id.to_string(), what, "-g"]).timeout(TIMEOUT);
    let ran = match host.run(&cmd) {
        // A card that was never given a certificate says so and may end with an error: TLS is off there.
        Err(RunError::Failed { stderr, .. }) if what == TLS && says_no_certificate(&stderr) => {
            return Ok(stderr);
        }
        ran => ran,
    };
    ran.map(|output| output.stdout).map_err(|error| match error {
        RunError::Missing { .. } => (
            NotLooked::new(
                error.to_string(),
                "it comes with the driver; or set tools.hccn-tool in the config",
            ),
            true,
        ),
        RunError::TimedOut { .. } => (NotLooked::new(error.to_string(), "dmesg | tail"), true),
        RunError::NotStarted { .. } | RunError::Failed { .. } => (
            NotLooked::new(
                error.to_string(),
                "hccn_tool needs root, and the host: sudo berth check --only hccn",
            ),
            false,
        ),
    })
}

/// `ipaddr:29.1.112.213`; the whole answer is blank where no address is set.
pub fn parse_address(text: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.trim().strip_prefix("ipaddr:"))?.trim();
    value.parse::<std::net::IpAddr>().ok().map(|address| address.to_string())
}

/// `link status: UP`
pub fn parse_link(text: &str) -> Option<String> {
    word_behind(text, "link status:").filter(|word| matches!(word.as_str(), "UP" | "DOWN"))
}

/// `net health status: Socket failed`
pub fn parse_health(text: &str) -> Option<String> {
    word_behind(text, "net health status:")
}

/// `dev_id:0, tls switch[0](0:disable, 1:enable), tls preconfigured[1](…), …`; the switch is off too where the answer
/// is that no certificate was found.
pub fn parse_tls(text: &str) -> Option<bool> {
    let Some((_, rest)) = text.split_once("tls switch[") else {
        return says_no_certificate(text).then_some(false);
    };
    match rest.split(']').next()?.trim() {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    }
}

fn word_behind(text: &str, name: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.trim().strip_prefix(name))?.trim();
    let fits = !value.is_empty()
        && value.len() <= 40
        && value.chars().all(|c| c.is_ascii_alphanumeric() || c == ' ');
    fits.then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::FakeHost;

    fn tools() -> Tools {
        Tools { hccn_tool: "/hccn".into(), ..Tools::default() }
    }

    #[test]
    fn answers_are_read() {
        assert_eq!(
            parse_address("ipaddr:29.1.112.213\nnetmask:255.255.0.0\n").as_deref(),
            Some("29.1.112.213")
        );
        assert_eq!(parse_address("\n"), None);
        assert_eq!(parse_link("link status: DOWN\n").as_deref(), Some("DOWN"));
        assert_eq!(parse_link("link status: \u{1b}[31m\n"), None);
        assert_eq!(parse_health("net health status: Socket failed\n").as_deref(), Some("Socket failed"));
        let tls =
            "dev_id:0, tls switch[1](0:disable, 1:enable), tls preconfigured[1](0:non-preset, 1:preset)\n";
        assert_eq!((parse_tls(tls), parse_tls("tls switch[")), (Some(true), None));
        let old = "dev_id:0, tls switch[0](0:disable, 1:enable), tls alarm time threshold[60]days\n";
        assert_eq!((parse_tls(old), parse_tls("[0] No certificate found.\n")), (Some(false), Some(false)));
        assert_eq!((parse_tls(""), parse_tls("no card found\n")), (None, None));
    }

    #[test]
    fn a_card_without_a_certificate_has_tls_off_however_the_tool_ends() {
        for (exit, out, err) in [(0, "no certificate found\n", ""), (1, "", "dev 0: no certificate found\n")]
        {
            let host = FakeHost::default().with_output("/hccn -i 0 -tls -g", exit, out, err);
            assert_eq!(gather_card(&host, &tools(), 0).tls, Ok(false), "{exit}");
        }
    }

    #[test]
    fn a_hang_is_not_repeated_and_a_refusal_is() {
        let hangs = gather_card(&FakeHost::default().with_hang("/hccn -i 0 -ip -g"), &tools(), 0);
        assert!(hangs.tls.unwrap_err().reason.contains("-ip -g did not end"));
        let host = FakeHost::default()
            .with_output("/hccn -i 1 -ip -g", 1, "", "Permission denied")
            .with_output("/hccn -i 1 -link -g", 0, "link status: UP\n", "")
            .with_output("/hccn -i 2 -ip -g", 0, "\n", "")
            .with_output("/hccn -i 3 -ip -g", 0, "hccn_tool is busy, please retry.\n", "")
            .with_output("/hccn -i 4 -ip -g", 0, "ipaddr:\nnetmask:\n", "")
            .with_output("/hccn -i 1 -net_health -g", 0, &"x".repeat(100_000), "")
            .with_output("/hccn -i 1 -tls -g", 0, "dev_id:1, tls switch[0](0:disable, 1:enable)\n", "");
        let card = gather_card(&host, &tools(), 1);
        assert!(card.address.is_err() && card.link.unwrap() == "UP" && !card.tls.unwrap());
        assert!(card.health.unwrap_err().reason.len() < 200);
        assert_eq!(gather_card(&host, &tools(), 2).address, Ok(None));
        for id in [3, 4] {
            let why = gather_card(&host, &tools(), id).address.unwrap_err().reason;
            assert!(why.contains("hccn_tool said no address"), "{why}");
        }
    }
}
