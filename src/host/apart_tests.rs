//! The rules between berths, and the tools that write them.

use super::*;
use crate::host::FakeHost;
use std::net::Ipv4Addr;

const ALL_BRIDGES: &str = "/proc/sys/net/bridge/bridge-nf-call-iptables";

fn neighbours(bridge: &str) -> Neighbours {
    let of = |last: &[u8]| last.iter().map(|last| IpAddr::from(Ipv4Addr::new(172, 17, 0, *last))).collect();
    Neighbours {
        bridge: bridge.into(),
        owners: BTreeMap::from([("alice".into(), of(&[2, 3])), ("-j ACCEPT".into(), of(&[4]))]),
        ipv6: false,
        macs: BTreeSet::new(),
        host_ports: vec![53],
        ssh_ports: PortRange::DEFAULT,
    }
}

#[test]
fn rules_are_addresses_and_one_owner_s_berths_come_first() {
    let chains = Chains::of("00ff00ff11", Ip::V4).unwrap();
    let rules = chains.rules(&neighbours("docker0")).unwrap();
    let wanted = "\
*filter
:BERTH-00ff00ff - [0:0]
:BERTH-00ff00ff-IN - [0:0]
-A BERTH-00ff00ff -s 172.17.0.2/32 -d 172.17.0.3/32 -j RETURN
-A BERTH-00ff00ff -s 172.17.0.3/32 -d 172.17.0.2/32 -j RETURN
-A BERTH-00ff00ff-IN -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN
-A BERTH-00ff00ff-IN -p tcp -m tcp --dport 20000:29999 -j RETURN
-A BERTH-00ff00ff-IN -p tcp -m tcp --dport 53 -j RETURN
-A BERTH-00ff00ff-IN -p udp -m udp --dport 53 -j RETURN
-A BERTH-00ff00ff -s 172.17.0.4/32 -i docker0 -o docker0 -p tcp -j REJECT --reject-with tcp-reset
-A BERTH-00ff00ff -s 172.17.0.4/32 -i docker0 -o docker0 -j REJECT
-A BERTH-00ff00ff -d 172.17.0.4/32 -i docker0 -o docker0 -p tcp -j REJECT --reject-with tcp-reset
-A BERTH-00ff00ff -d 172.17.0.4/32 -i docker0 -o docker0 -j REJECT
-A BERTH-00ff00ff-IN -s 172.17.0.4/32 -i docker0 -p tcp -j REJECT --reject-with tcp-reset
-A BERTH-00ff00ff-IN -s 172.17.0.4/32 -i docker0 -j REJECT
";
    assert!(rules.starts_with(wanted), "{rules}");
    assert!(rules.ends_with("COMMIT\n") && rules.matches("-j REJECT").count() == 18, "{rules}");
    for bridge in ["", "a b", "x\n-A INPUT -j ACCEPT", "-i", "sixteen-letters-"] {
        assert!(chains.rules(&neighbours(bridge)).is_err(), "{bridge:?}");
    }
    assert!(Chains::of("", Ip::V4).is_err() && Chains::of("../x", Ip::V4).is_err());
}

#[test]
fn one_bridge_is_filtered_or_all_are() {
    let flag = "/sys/class/net/docker0/bridge/nf_call_iptables";
    for (all, one, is) in [("1\n", "0\n", true), ("0\n", "1\n", true), ("0\n", "0\n", false)] {
        let host = FakeHost::default().with_file(ALL_BRIDGES, all).with_file(flag, one);
        assert_eq!(is_filtered(&host, "docker0", Ip::V4), is, "{all:?} {one:?}");
        assert!(can_filter_bridges(&host));
    }
    assert!(!is_filtered(&FakeHost::default(), "docker0", Ip::V4));
    let dry = "modprobe --dry-run br_netfilter";
    assert!(can_filter_bridges(&FakeHost::default().with_output(dry, 0, "", "")));
    assert!(!can_filter_bridges(&FakeHost::default().with_output(dry, 1, "", "not found")));
}

/// No such bridge is on the machine that tests it: nothing of that machine is changed.
#[test]
fn a_bridge_that_iptables_cannot_see_is_said() {
    let chains = Chains::of("00ff00ff", Ip::V4).unwrap();
    let fault = chains.replace(&FakeHost::default(), &neighbours("no-bridge"), Path::new("/r")).unwrap_err();
    assert!(fault.message.contains("iptables does not see") && fault.help.is_some(), "{}", fault.message);
}

#[test]
fn an_old_restore_is_asked_without_waiting() {
    let chains = Chains::of("00ff00ff", Ip::V4).unwrap();
    let host = |old: i32| {
        FakeHost::default()
            .with_file(ALL_BRIDGES, "1\n")
            .with_output("iptables-restore --wait --noflush /r", 2, "", "unrecognized option '--wait'\n")
            .with_output("iptables-restore --noflush /r", old, "", "")
            .with_output("iptables --wait -C DOCKER-USER -j BERTH-00ff00ff", 0, "", "")
            .with_output("iptables --wait -C INPUT -j BERTH-00ff00ff-IN", 1, "", "")
            .with_output("iptables --wait -I INPUT -j BERTH-00ff00ff-IN", 0, "", "")
    };
    chains.replace(&host(0), &neighbours("docker0"), Path::new("/r")).unwrap();
    let fault = chains.replace(&host(1), &neighbours("docker0"), Path::new("/r")).unwrap_err();
    assert!(fault.message.contains("unrecognized option"), "{}", fault.message);
}

#[test]
fn a_berth_s_addresses_of_ipv6_are_closed_whoever_chose_them() {
    let mac: Mac = "02:42:ac:11:00:04".parse().unwrap();
    let address = |text: &str| -> IpAddr { text.parse().unwrap() };
    let mut seen = neighbours("docker0");
    seen.ipv6 = true;
    seen.owners = BTreeMap::from([(
        "alice".into(),
        BTreeSet::from([address("172.17.0.4"), address("fd00::4"), mac.link_local().into()]),
    )]);
    seen.macs = BTreeSet::from([mac]);
    let rules = Chains::of("00ff00ff", Ip::V6).unwrap().rules(&seen).unwrap();
    let lines: Vec<&str> = rules.lines().collect();
    assert!(!rules.contains("172.17"), "{rules}");
    // Who has an address is asked before anything is refused.
    assert_eq!(lines[3], "-A BERTH-00ff00ff -p ipv6-icmp -m icmp6 --icmpv6-type 135 -j RETURN");
    for line in [
        "-A BERTH-00ff00ff-IN -p ipv6-icmp -m icmp6 --icmpv6-type 136 -j RETURN",
        "-A BERTH-00ff00ff -s fd00::4/128 -i docker0 -o docker0 -j REJECT",
        "-A BERTH-00ff00ff -d fe80::42:acff:fe11:4/128 -i docker0 -o docker0 -j REJECT",
        "-A BERTH-00ff00ff-IN -s fd00::4/128 -i docker0 -p tcp -j REJECT --reject-with tcp-reset",
        "-A BERTH-00ff00ff -i docker0 -m mac --mac-source 02:42:ac:11:00:04 -o docker0 -j REJECT",
        "-A BERTH-00ff00ff-IN -i docker0 -m mac --mac-source 02:42:ac:11:00:04 -j REJECT",
    ] {
        assert!(lines.contains(&line), "{line}: {rules}");
    }
    let rules = Chains::of("00ff00ff", Ip::V4).unwrap().rules(&seen).unwrap();
    assert!(
        rules.contains("-s 172.17.0.4/32") && !rules.contains("fd00") && !rules.contains("mac"),
        "{rules}"
    );
}

/// An older Docker leaves no chain for IPv6 to administrators.
#[test]
fn the_chain_of_ipv6_is_jumped_to_from_where_there_is_one() {
    let chains = Chains::of("00ff00ff", Ip::V6).unwrap();
    let host = |status| FakeHost::default().with_output("ip6tables --wait -S DOCKER-USER", status, "", "");
    assert_eq!(
        (chains.parent(&host(0)).unwrap(), chains.parent(&host(1)).unwrap()),
        ("DOCKER-USER", "FORWARD")
    );
}
