//! Every decision about the cards' addresses, as tables.

use super::tests::{accepted, bare, refused, with_driver};
use super::{Addresses, plan_addresses};
use crate::bootstrap::observed::{CardsSeen, Observed};
use crate::bootstrap::plan::Part;
use crate::model::driver::{HccnSeen, PortAddress};
use crate::profile::HccnWants;

fn hccn_wants(text: &str) -> HccnWants {
    toml::from_str(text).unwrap()
}

const TWO: &str = "addresses = [\n { card = 0, address = \"10.1.0.1\", netmask = \"255.255.0.0\", gateway = \"10.1.255.254\" },\n { card = 1, address = \"10.1.0.2\", netmask = \"255.255.0.0\" },\n]\n";

fn address(seen: &Observed, wants: &HccnWants, csv: Option<&str>, after_reboot: bool) -> Part {
    let request = Addresses {
        wants,
        cards: 2,
        csv: csv.map(|text| Ok(text.to_owned())),
        hostname: "node1.example",
        after_reboot,
    };
    plan_addresses(seen, &request)
}

fn port(card: u32, address: &str, gateway: Option<&str>) -> PortAddress {
    let text = |value: &str| Some(value.to_owned());
    PortAddress {
        card,
        address: text(address),
        netmask: text("255.255.0.0"),
        gateway: gateway.map(str::to_owned),
    }
}

#[test]
fn only_other_addresses_are_set() {
    let mut seen = with_driver("25.5.1", "7.8.0.6.201");
    seen.hccn = Some(HccnSeen {
        ports: vec![port(0, "10.1.0.1", Some("10.1.255.254")), port(1, "10.1.0.2", Some("1.2.3.4"))],
        not_asked: None,
    });
    let part = address(&seen, &hccn_wants(TWO), None, false);
    accepted(&part, &[]);
    assert_eq!(part.right, ["2 cards have their network addresses"]);

    seen.hccn.as_mut().unwrap().ports = vec![port(0, "10.1.0.1", None)];
    let part = address(&seen, &hccn_wants(TWO), None, false);
    accepted(&part, &["hccn.set"]);
    assert_eq!(part.steps[0].why, "card 0 has 10.1.0.1, card 1 has none");
    assert_eq!(
        part.steps[0].step.commands(),
        [
            "hccn_tool -i 0 -ip -s address 10.1.0.1 netmask 255.255.0.0",
            "hccn_tool -i 0 -gateway -s gateway 10.1.255.254",
            "hccn_tool -i 1 -ip -s address 10.1.0.2 netmask 255.255.0.0",
        ]
    );
    seen.cards = Some(CardsSeen { holders: vec!["card 0 is held by x".into()], not_looked: None });
    refused(&address(&seen, &hccn_wants(TWO), None, false), &["cannot change the cards' addresses: card 0"]);
    assert!(address(&seen, &HccnWants::default(), None, false).right.is_empty());
}

#[test]
fn cards_that_cannot_be_asked_are_refused_or_wait_for_the_reboot() {
    let mut seen = bare();
    seen.hccn = Some(HccnSeen { ports: vec![], not_asked: Some("hccn_tool is not on this machine".into()) });
    let wants = hccn_wants(TWO);
    refused(
        &address(&seen, &wants, None, false),
        &["could not be looked at: hccn_tool is not on this machine"],
    );
    let part = address(&seen, &wants, None, true);
    accepted(&part, &["hccn.set"]);
    assert!(part.steps[0].why.ends_with("(by /etc/hccn.conf)"));
}

#[test]
fn addresses_that_cannot_be_are_refused() {
    let one = |card: u32, rest: &str| format!("{{ card = {card}, {rest} }}");
    let good = one(0, "address = \"10.1.0.1\", netmask = \"255.255.0.0\"");
    for (second, why) in [
        (one(0, "address = \"10.1.0.2\", netmask = \"255.255.0.0\""), "card 0 has more than one address"),
        (one(2, "address = \"10.1.0.2\", netmask = \"255.255.0.0\""), "there is no card 2: this node has 2"),
        (one(2, "address = \"10.1.0.2\", netmask = \"255.255.0.0\""), "card 1 has no address"),
        (one(1, "address = \"10.1.0.1\", netmask = \"255.255.0.0\""), "cards 0 and 1 both have the address"),
        (one(1, "address = \"10.1.0.2\", netmask = \"255.0.255.0\""), "255.0.255.0 is no netmask"),
        (one(1, "address = \"10.1.0.2\", netmask = \"255.255.255.255\""), "is no netmask"),
        (one(1, "address = \"10.1.0.2\", netmask = \"0.0.0.0\""), "is no netmask"),
        (one(1, "address = \"10.1.0.0\", netmask = \"255.255.0.0\""), "is no address of a host"),
        (one(1, "address = \"10.1.255.255\", netmask = \"255.255.0.0\""), "is no address of a host"),
        (one(1, "address = \"127.0.0.2\", netmask = \"255.0.0.0\""), "is no address of a host"),
        (one(1, "address = \"224.1.2.3\", netmask = \"255.0.0.0\""), "is no address of a host"),
        (one(1, "address = \"0.1.2.3\", netmask = \"255.0.0.0\""), "is no address of a host"),
        (one(1, "address = \"250.1.2.3\", netmask = \"255.0.0.0\""), "is no address of a host"),
        (
            one(1, "address = \"10.1.0.2\", netmask = \"255.255.0.0\", gateway = \"10.2.0.1\""),
            "is not a neighbour",
        ),
        (
            one(1, "address = \"10.1.0.2\", netmask = \"255.255.0.0\", gateway = \"10.1.0.2\""),
            "is not a neighbour",
        ),
    ] {
        let wants = hccn_wants(&format!("addresses = [{good}, {second}]"));
        refused(&address(&bare(), &wants, None, true), &[why]);
    }
}

#[test]
fn a_table_for_the_fleet_names_this_node_by_name_or_machine_id() {
    let wants = hccn_wants("csv = \"/etc/berth/hccn.csv\"");
    let header = "host,card,address,netmask,gateway\n";
    let others = "other,0,10.1.0.9,255.255.0.0,\n";
    for host in ["node1", "NODE1.example", "m-0123"] {
        let csv = format!(
            "{header}{others}{host},1,10.1.0.2,255.255.0.0,10.1.0.254\n{host},0,10.1.0.1,255.255.0.0,\n"
        );
        let part = address(&bare(), &wants, Some(&csv), true);
        accepted(&part, &["hccn.set"]);
        assert!(part.steps[0].step.describe().ends_with("card 0 10.1.0.1, card 1 10.1.0.2"), "{host}");
    }
    let twice = format!("{header}node1,0,10.1.0.9,255.255.0.0,\nnode1,1,10.1.0.2,255.255.0.0,\n{others}");
    for (csv, why) in [
        (format!("{header}{others}"), "has no line for this node (node1.example or m-0123)"),
        (format!("{header}node1,0,10.1.0.1,255.255.0.0,\n"), "card 1 has no address"),
        (twice, "lines 2 and 4 both have the address 10.1.0.9"),
        ("node1,0,10.1.0.1\n".into(), "is no table of addresses: its first line names no column"),
    ] {
        refused(&address(&bare(), &wants, Some(&csv), true), &[why]);
    }
    let request = Addresses {
        wants: &wants,
        cards: 2,
        csv: Some(Err("/etc/berth/hccn.csv cannot be read: x".into())),
        hostname: "",
        after_reboot: true,
    };
    refused(&plan_addresses(&bare(), &request), &["cannot be read: x"]);
}
