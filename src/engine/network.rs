//! The bridge network of berths: its interface on the host, its containers, and reconnecting a container to it.

use super::client::{Engine, LONG, SHORT, clean};
use super::lifecycle::checked;
use crate::error::Fault;
use crate::model::Mac;
use anyhow::{Context as _, Result};
use bollard::models::{NetworkConnectRequest, NetworkDisconnectRequest, NetworkInspect};
use bollard::query_parameters::InspectNetworkOptions;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The option of a Docker network that names its bridge.
const BRIDGE_NAME: &str = "com.docker.network.bridge.name";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeNetwork {
    /// The interface on the host.
    pub bridge: String,
    /// Whether its containers have addresses of IPv6 too.
    pub ipv6: bool,
    /// The containers on it, by their ids.
    pub members: BTreeMap<String, Member>,
}

/// How a container is reached on a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The addresses that Docker gave it.
    pub addresses: Vec<IpAddr>,
    pub mac: Option<Mac>,
}

impl Engine {
    pub async fn bridge_network(&self, name: &str) -> Result<BridgeNetwork> {
        let doing = || format!("looking at Docker's network {name}");
        let docker = self.docker();
        let network = self
            .call(SHORT, docker.inspect_network(checked(name)?, None::<InspectNetworkOptions>))
            .await
            .with_context(doing)?;
        bridge_of(network).with_context(doing)
    }

    /// Disconnects a running container from its network and connects it again, so that Docker publishes its ports
    /// anew. Its processes go on. Its address may change.
    pub async fn connect_anew(&self, network: &str, container: &str) -> Result<()> {
        let docker = self.docker();
        let (network, container) = (checked(network)?, checked(container)?);
        let leave = NetworkDisconnectRequest { container: container.to_owned(), force: Some(false) };
        self.call(LONG, docker.disconnect_network(network, leave)).await.context("leaving its network")?;
        let join =
            || NetworkConnectRequest { container: container.to_owned(), ..NetworkConnectRequest::default() };
        let joined = self.call(LONG, docker.connect_network(network, join())).await;
        // Out of its network is the worst place to leave it at.
        match joined {
            Ok(()) => Ok(()),
            Err(_) => Ok(self
                .call(LONG, docker.connect_network(network, join()))
                .await
                .map_err(|fault| fault.help(format!("docker network connect {network} {container}")))
                .context("joining its network again")?),
        }
    }
}

fn bridge_of(network: NetworkInspect) -> Result<BridgeNetwork, Fault> {
    let driver = network.driver.unwrap_or_default();
    if driver != "bridge" {
        let driver = clean(&driver);
        return Err(Fault::docker(format!("it is of the driver {driver}, and no bridge on this host")).help(
            "name one of the driver bridge in docker.network, or set docker.between-berths = \"open\"",
        ));
    }
    let named = network.options.and_then(|mut options| options.remove(BRIDGE_NAME));
    // As Docker names a bridge that nobody named.
    let by_id = || Some(format!("br-{}", network.id.as_ref()?.get(..12)?));
    let bridge = named
        .filter(|name| !name.is_empty())
        .or_else(by_id)
        .ok_or_else(|| Fault::docker("it has no name of its bridge"))?;
    let members = network.containers.unwrap_or_default().into_iter();
    let members = members.map(|(id, member)| {
        let given = [member.ipv4_address, member.ipv6_address].into_iter().flatten();
        let addresses = given.filter_map(|address| address.split('/').next()?.parse().ok()).collect();
        (id, Member { addresses, mac: member.mac_address.and_then(|mac| mac.parse().ok()) })
    });
    Ok(BridgeNetwork { bridge, ipv6: network.enable_ipv6.unwrap_or(false), members: members.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Result<BridgeNetwork, Fault> {
        bridge_of(serde_json::from_str(text).unwrap())
    }

    #[test]
    fn a_bridge_has_a_name_and_members() {
        let seen = network(
            r#"{"Driver": "bridge", "Id": "40d1b1a5ea93753ec24d", "EnableIPv6": false, "Containers": {
                "a1": {"IPv4Address": "172.17.0.2/16", "IPv6Address": "fd00::2/64", "MacAddress": "02:42:ac:11:00:02"},
                "b2": {"IPv4Address": "-j ACCEPT"}, "c3": {}},
                "Options": {"com.docker.network.bridge.name": "docker0"}}"#,
        )
        .unwrap();
        let addresses = ["172.17.0.2", "fd00::2"].map(|address| address.parse().unwrap());
        let nothing = || Member { addresses: Vec::new(), mac: None };
        let first = Member { addresses: addresses.to_vec(), mac: "02:42:ac:11:00:02".parse().ok() };
        let members = [("a1", first), ("b2", nothing()), ("c3", nothing())];
        let members = members.map(|(id, member)| (id.to_owned(), member)).into();
        assert_eq!(seen, BridgeNetwork { bridge: "docker0".into(), ipv6: false, members });
        let own =
            network(r#"{"Driver": "bridge", "Id": "40d1b1a5ea93753ec24d", "EnableIPv6": true}"#).unwrap();
        assert_eq!((own.bridge.as_str(), own.ipv6), ("br-40d1b1a5ea93", true));
        assert!(network(r#"{"Driver": "macvlan", "Id": "40d1b1a5ea93753ec24d"}"#).is_err());
        assert!(network(r#"{"Driver": "bridge", "Id": "4"}"#).is_err());
    }
}
