//! The addresses of the cards' network ports: from hccn_tool, and from /etc/hccn.conf, for the driver's next start.

use crate::host::{Host, RunError, Tool, find_text, read_text};
use crate::model::check_facts::HccnConf;
use crate::model::driver::{HccnSeen, PortAddress};
use crate::profile::Tools;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

pub const CONF: &str = "/etc/hccn.conf";
const TIMEOUT: Duration = Duration::from_secs(20);

/// `with_gateway`: asks for gateways too.
pub fn gather(host: &dyn Host, tools: &Tools, cards: u32, with_gateway: bool) -> Result<HccnSeen, String> {
    let asked: Result<Vec<PortAddress>, String> =
        (0..cards).map(|card| gather_port(host, tools, card, with_gateway)).collect();
    match asked {
        Ok(ports) => Ok(HccnSeen { ports, not_asked: None }),
        Err(why) => Ok(HccnSeen { ports: gather_conf(host, cards)?, not_asked: Some(why) }),
    }
}

/// Asks one card. An address that is not set is no error.
pub fn gather_port(
    host: &dyn Host,
    tools: &Tools,
    card: u32,
    with_gateway: bool,
) -> Result<PortAddress, String> {
    let of = |text: &str, name: &str| {
        parse_value(text, name).map_err(|said| format!("hccn_tool said no {name} of card {card}: {said:?}"))
    };
    let own = ask(host, tools, card, "-ip")?;
    let gateway = if with_gateway { Some(ask(host, tools, card, "-gateway")?) } else { None };
    let (address, netmask) = (of(&own, "ipaddr")?, of(&own, "netmask")?);
    if address.is_none() && !own.trim().is_empty() {
        return Err(format!("hccn_tool said no ipaddr of card {card}: {:?}", short(&own)));
    }
    let gateway = gateway.map(|text| of(&text, "gateway")).transpose()?.flatten();
    Ok(PortAddress { card, address, netmask, gateway })
}

fn ask(host: &dyn Host, tools: &Tools, card: u32, what: &str) -> Result<String, String> {
    let tool = Tool::HccnTool(tools.hccn_tool.clone());
    let cmd = tool.cmd().args(["-i", &card.to_string(), what, "-g"]).timeout(TIMEOUT);
    host.run(&cmd).map(|output| output.stdout).map_err(|error: RunError| error.to_string())
}

/// `ipaddr:29.1.112.213`, `default gateway:29.1.0.1, Iface:eth0`; nothing at all where none is set. A line whose value
/// is no address is an error.
fn parse_value(text: &str, name: &str) -> Result<Option<String>, String> {
    let found = text.lines().find_map(|line| {
        let (before, after) = line.split_once(':')?;
        before.trim().to_ascii_lowercase().ends_with(name).then_some((line, after))
    });
    let Some((line, value)) = found else { return Ok(None) };
    let value = value.split(',').next().unwrap_or_default().trim();
    value.parse::<Ipv4Addr>().map(|address| Some(address.to_string())).map_err(|_| short(line))
}

fn short(text: &str) -> String {
    text.trim().chars().take(80).collect()
}

/// The addresses that the file has for each card, or what is at its path instead.
pub fn look_at_conf(host: &dyn Host, cards: u32) -> Result<HccnConf, String> {
    match read_text(host, Path::new(CONF)) {
        Ok(text) => {
            let ports = parse_conf(&text, cards);
            Ok(HccnConf::Addresses(ports.into_iter().map(|port| port.address).collect()))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(HccnConf::Missing),
        Err(error) if error.kind() == ErrorKind::IsADirectory => Ok(HccnConf::Directory),
        Err(error) => Err(format!("{CONF} cannot be read: {error}")),
    }
}

fn gather_conf(host: &dyn Host, cards: u32) -> Result<Vec<PortAddress>, String> {
    Ok(parse_conf(&find_text(host, Path::new(CONF))?.unwrap_or_default(), cards))
}

/// Parses lines such as `address_0=29.1.137.205`. A card without a line gets an empty entry.
pub fn parse_conf(text: &str, cards: u32) -> Vec<PortAddress> {
    let value = |name: &str, card: u32| {
        let key = format!("{name}_{card}");
        let of_line = |line: &str| {
            let (before, after) = line.split_once('=')?;
            (before.trim() == key).then(|| after.trim().to_owned())
        };
        text.lines().find_map(of_line)?.parse::<Ipv4Addr>().ok().map(|address| address.to_string())
    };
    let port = |card| PortAddress {
        card,
        address: value("address", card),
        netmask: value("netmask", card),
        gateway: value("gateway", card),
    };
    (0..cards).map(port).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::FakeHost;

    fn tools() -> Tools {
        Tools { hccn_tool: "/hccn".into(), ..Tools::default() }
    }

    #[test]
    fn cards_say_what_they_have() {
        let host = FakeHost::default()
            .with_output("/hccn -i 0 -ip -g", 0, "ipaddr:29.1.112.213\nnetmask:255.255.0.0\n", "")
            .with_output("/hccn -i 0 -gateway -g", 0, "default gateway:29.1.0.1, Iface:eth0\n", "")
            .with_output("/hccn -i 1 -ip -g", 0, "\n", "")
            .with_output("/hccn -i 1 -gateway -g", 0, "", "");
        let seen = gather(&host, &tools(), 2, true).unwrap();
        assert_eq!(seen.not_asked, None);
        assert_eq!(seen.ports[0].address.as_deref(), Some("29.1.112.213"));
        assert_eq!(seen.ports[0].netmask.as_deref(), Some("255.255.0.0"));
        assert_eq!(seen.ports[0].gateway.as_deref(), Some("29.1.0.1"));
        assert_eq!(seen.ports[1], PortAddress { card: 1, ..PortAddress::default() });
    }

    #[test]
    fn without_the_tool_the_file_tells_and_says_so() {
        let conf = "address_0=29.1.137.205\nnetmask_0=255.255.0.0\nnetdetect_0=29.1.0.1\ngateway_0=29.1.0.1\n\
                    send_arp_status_0=1\naddress_1=nonsense\naddress_10=1.2.3.4\n";
        let host = FakeHost::default().with_missing("/hccn -i 0 -ip -g").with_file(CONF, conf);
        let seen = gather(&host, &tools(), 2, false).unwrap();
        assert!(seen.not_asked.unwrap().contains("is not on this machine"));
        assert_eq!(seen.ports[0].gateway.as_deref(), Some("29.1.0.1"));
        assert_eq!((seen.ports[1].address.as_deref(), seen.ports.len()), (None, 2));
        let bare = gather(&FakeHost::default().with_hang("/hccn -i 0 -ip -g"), &tools(), 1, false).unwrap();
        assert_eq!(bare.ports[0], PortAddress::default());
        assert!(bare.not_asked.unwrap().contains("did not end"));
    }

    #[test]
    fn an_answer_that_cannot_be_read_is_none() {
        let port = |ip: &str, gateway: &str| {
            let host = FakeHost::default().with_output("/hccn -i 0 -ip -g", 0, ip, "").with_output(
                "/hccn -i 0 -gateway -g",
                0,
                gateway,
                "",
            );
            gather_port(&host, &tools(), 0, true)
        };
        for ip in [
            "ipaddr:\u{1b}[31m1.2.3.4",
            "ipaddr:1.2.3.4.5",
            "ipaddr:",
            "ipaddr 1.2.3.4",
            "\0:::\n",
            "hccn_tool is busy, please retry.\n",
            "netmask:255.0.0.0\n",
            "ipaddr:1.2.3.4\nnetmask:?\n",
        ] {
            let why = port(ip, "").unwrap_err();
            assert!(why.starts_with("hccn_tool said no "), "{ip:?}: {why}");
        }
        assert!(port("ipaddr:1.2.3.4\n", "default gateway:x\n").unwrap_err().contains("no gateway"));
        assert_eq!(port(" \n", "\n"), Ok(PortAddress::default()));
        // Who only looks is told, and the plan refuses.
        let busy = FakeHost::default().with_output("/hccn -i 0 -ip -g", 0, "busy\n", "");
        assert!(gather(&busy, &tools(), 1, false).unwrap().not_asked.unwrap().contains("busy"));
    }
}
