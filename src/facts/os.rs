//! The operating system, from os-release and the kernel.

use crate::host::{Host, read_text, sysctl};
use crate::model::facts::OsFacts;
use std::path::Path;

pub fn gather(host: &dyn Host) -> Result<OsFacts, String> {
    let release = ["/etc/os-release", "/usr/lib/os-release"]
        .iter()
        .find_map(|path| read_text(host, Path::new(path)).ok())
        .unwrap_or_default();
    Ok(OsFacts {
        // What os-release(5) says to assume when the file has no ID.
        id: field(&release, "ID").unwrap_or_else(|| "linux".into()),
        version: field(&release, "VERSION_ID"),
        pretty_name: field(&release, "PRETTY_NAME"),
        kernel: sysctl::need(host, sysctl::KERNEL)?,
        // This program runs natively, so its own architecture is the machine's.
        arch: std::env::consts::ARCH.into(),
        hostname: sysctl::need(host, sysctl::HOSTNAME)?,
    })
}

/// A shell assignment, in quotes or not.
fn field(text: &str, key: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='))?.trim();
    let quoted = |quote: char| value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    let value = quoted('"').or_else(|| quoted('\'')).unwrap_or(value);
    (!value.is_empty()).then(|| value.replace("\\\"", "\"").replace("\\$", "$"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::FakeHost;

    #[test]
    fn os_release_is_read_with_quotes_and_without() {
        let host = FakeHost::default()
            .with_file(
                "/etc/os-release",
                "NAME=x\nVERSION_ID='2.0'\nID=\"euleros\"\nPRETTY_NAME=\"EulerOS 2.0 (SP10)\"\n",
            )
            .with_file("/proc/sys/kernel/osrelease", "4.19.90\n")
            .with_file("/proc/sys/kernel/hostname", "node1\n");
        let os = gather(&host).unwrap();
        assert_eq!((os.id.as_str(), os.version.as_deref()), ("euleros", Some("2.0")));
        assert_eq!(os.pretty_name.as_deref(), Some("EulerOS 2.0 (SP10)"));
        assert_eq!((os.kernel.as_str(), os.hostname.as_str()), ("4.19.90", "node1"));
        assert!(gather(&FakeHost::default()).unwrap_err().contains("/proc/sys/kernel/osrelease"));
    }
}
