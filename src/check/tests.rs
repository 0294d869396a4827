//! Tests of the table itself. What each check says of a node is tested in gather/tests.

use super::*;
use std::collections::BTreeSet;

#[test]
fn ids_are_unique_and_well_formed() {
    let ids: Vec<&str> = table().map(|check| check.id).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
    for check in table() {
        let (group, name) = check.id.split_once('.').unwrap();
        let fits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
        assert!(fits(group) && fits(name), "{}", check.id);
        assert!(!check.title.is_empty() && check.title.len() <= 44, "{}", check.title);
        assert!(!check.needs.is_empty() && area_of(check.id).is_some(), "{}", check.id);
    }
}

/// Scripts select by these; one that is gone breaks them.
#[test]
fn no_id_is_lost() {
    const PROMISED: [&str; 35] = [
        "npu.count",
        "npu.health",
        "npu.lost",
        "driver.version",
        "driver.firmware-pair",
        "driver.install-complete",
        "driver.kernel-headers",
        "cann.driver-pair",
        "hccn.ip",
        "hccn.link",
        "hccn.net-health",
        "hccn.tls",
        "os.supported",
        "os.arch",
        "kernel.version",
        "kernel.ip-forward",
        "kernel.limits",
        "memory.total",
        "numa.nodes",
        "disk.data",
        "disk.root-space",
        "disk.full",
        "disk.fstab-nofail",
        "disk.smart",
        "docker.version",
        "docker.data-root",
        "docker.log-rotation",
        "docker.runtime",
        "docker.metadata-closed",
        "coexist.kubelet",
        "coexist.container-manager",
        "net.time-sync",
        "net.registry",
        "user.hwhiaiuser",
        "holders.foreign",
    ];
    for id in PROMISED {
        assert!(table().any(|check| check.id == id), "{id}");
    }
}
