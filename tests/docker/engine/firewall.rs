//! A stand-in for a cloud's metadata service, which containers reach until the rule is there.

use super::rig::Rig;
use crate::machine::{run, until};
use berth::host::RealHost;
use berth::host::firewall::{Changed, ensure_metadata_closed};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const RULE: [&str; 6] = ["DOCKER-USER", "-d", "169.254.169.254/32", "-j", "REJECT", "--wait"];

/// A network namespace with the well-known address, serving one page.
struct Metadata {
    namespace: String,
    link: String,
    server: Option<Child>,
}

impl Metadata {
    fn start(rig: &Rig) -> Self {
        let id = std::process::id();
        let (namespace, link, inner) = (format!("berth-t{id}"), format!("bt{id}"), format!("bi{id}"));
        let mut metadata = Self { namespace, link, server: None };
        let (ns, link) = (metadata.namespace.as_str(), metadata.link.as_str());
        for line in [
            format!("netns add {ns}"),
            format!("link add {link} type veth peer name {inner} netns {ns}"),
            format!("addr add 169.254.169.253/30 dev {link}"),
            format!("link set {link} up"),
            format!("-n {ns} addr add 169.254.169.254/30 dev {inner}"),
            format!("-n {ns} link set {inner} up"),
            format!("-n {ns} link set lo up"),
            format!("-n {ns} route add default via 169.254.169.253"),
        ] {
            run("ip", &line.split(' ').collect::<Vec<_>>());
        }
        std::fs::create_dir_all(rig.path("www")).unwrap();
        std::fs::write(rig.path("www/index.html"), "the host's secrets\n").unwrap();
        let server = Command::new("ip")
            .args(["netns", "exec", ns, "busybox", "httpd", "-f", "-p", "80", "-h"])
            .arg(rig.path("www"))
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        metadata.server = Some(server);
        metadata
    }
}

impl Drop for Metadata {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            let _ = server.kill();
            let _ = server.wait();
        }
        let _ = Command::new("ip").args(["link", "del", &self.link]).output();
        let _ = Command::new("ip").args(["netns", "del", &self.namespace]).output();
    }
}

fn iptables(action: &str) -> bool {
    Command::new("iptables").arg(action).args(RULE).output().unwrap().status.success()
}

fn own(action: &str) -> bool {
    let rule = ["INPUT", "!", "-i", "lo", "-d", "169.254.169.254/32", "-j", "REJECT", "--wait"];
    Command::new("iptables").arg(action).args(rule).output().unwrap().status.success()
}

/// The well-known address on the host's own loopback, serving the same page.
struct Local(Child);

impl Local {
    fn start(rig: &Rig) -> Self {
        run("ip", &["addr", "add", "169.254.169.254/32", "dev", "lo"]);
        let server = Command::new("busybox")
            .args(["httpd", "-f", "-p", "169.254.169.254:80", "-h"])
            .arg(rig.path("www"))
            .stdin(Stdio::null())
            .spawn();
        Self(server.unwrap())
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        let _ = Command::new("ip").args(["addr", "del", "169.254.169.254/32", "dev", "lo"]).output();
    }
}

/// Leaves the rule as it was found: the machine may be somebody's.
struct Restore(bool);

impl Drop for Restore {
    fn drop(&mut self) {
        if self.0 {
            if !iptables("-C") {
                iptables("-I");
            }
        } else {
            while iptables("-D") {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_reach_the_metadata_service_until_it_is_closed() {
    let rig = Rig::new().await;
    rig.image().await;
    let _restore = Restore(iptables("-C"));
    while iptables("-D") {}
    let had_own = own("-C");
    let metadata = Metadata::start(&rig);
    let name = rig.name("curious");
    rig.docker(&[
        "run",
        "-d",
        "--name",
        &name,
        &format!("{}:base", rig.prefix),
        "/bin/busybox",
        "sleep",
        "600",
    ]);
    // Not wget: a static busybox dies of looking up names.
    let request = r"printf 'GET / HTTP/1.0\r\n\r\n' | busybox nc -w 3 169.254.169.254 80";
    let ask = || rig.exec(&name, request);
    until("an answer from the metadata service", Duration::from_secs(15), || {
        Some(ask()).filter(|answer| answer.contains("the host's secrets"))
    });
    let host = RealHost::default();
    assert_eq!(ensure_metadata_closed(&host).unwrap(), Changed::Yes);
    assert_eq!(ensure_metadata_closed(&host).unwrap(), Changed::No);
    let answer = ask();
    assert!(!answer.contains("secrets") && answer.contains("Connection refused"), "{answer}");

    // The host itself has the address, as where a proxy of the cloud's agent runs: nothing is forwarded then.
    drop(metadata);
    let _local = Local::start(&rig);
    while own("-D") {}
    until("an answer from the host's own address", Duration::from_secs(15), || {
        Some(ask()).filter(|answer| answer.contains("the host's secrets"))
    });
    assert_eq!(ensure_metadata_closed(&host).unwrap(), Changed::Yes);
    let answer = ask();
    assert!(!answer.contains("secrets") && answer.contains("Connection refused"), "{answer}");
    if !had_own {
        while own("-D") {}
    }
}
