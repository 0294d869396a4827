//! `berth ssh`: the real OpenSSH client, with the berth's host key pinned.

use super::call::{berth_path, wait_for};
use super::{Global, render};
use crate::agent::types::BerthView;
use crate::error::Fault;
use crate::host::ssh_client;
use crate::keys::known_hosts;
use crate::model::Berth;
use anyhow::{Context, Result};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Log in to a berth, or run a command in it
#[derive(clap::Args)]
#[command(after_long_help = "\
It starts the ssh client of this machine with the berth's port, user and host
key, so there is no question about the key's authenticity.

Examples:
  berth ssh train
  berth ssh train -- npu-smi info")]
pub(crate) struct SshArgs {
    /// Its name, or OWNER/NAME
    name: String,
    /// What to run there
    #[arg(last = true)]
    command: Vec<String>,
}

pub(crate) fn connect(global: &Global, args: SshArgs) -> Result<ExitCode> {
    let view: BerthView = wait_for(global.client()?.get(&berth_path(&args.name)?))?;
    let known_hosts = pin(&view)?;
    let words = client_words(&view, &known_hosts, global.config()?.ssh.address, args.command);
    Err(ssh_client::replace_with(&words).into())
}

fn client_words(view: &BerthView, known_hosts: &Path, address: IpAddr, command: Vec<String>) -> Vec<String> {
    let berth = &view.berth;
    // The agent answers on this machine: so does the berth's port, where it listens.
    let host = if address.is_unspecified() { "localhost".to_owned() } else { address.to_string() };
    let mut words = vec![
        "-p".to_owned(),
        berth.port.to_string(),
        "-o".into(),
        format!("HostKeyAlias={}", key_alias(view)),
        "-o".into(),
        format!("UserKnownHostsFile={}", known_hosts.display()),
        "-o".into(),
        "StrictHostKeyChecking=yes".into(),
        "-l".into(),
        berth.ssh_user.clone(),
        // Neither the host nor the command after it is an option.
        "--".into(),
        host,
    ];
    words.extend(command);
    words
}

/// The `Host` name of a berth in an ssh config, which people type and editors show.
pub(crate) fn alias(berth: &Berth) -> String {
    format!("berth-{}-{}", berth.owner, berth.name)
}

/// The name of a berth's key in known_hosts files. It is not the node's name and port: another berth may have the
/// port tomorrow, and another node may have a user and a berth of the same names. No name has an `@`.
pub(crate) fn key_alias(view: &BerthView) -> String {
    let berth = &view.berth;
    format!("berth-{}@{}@{}", berth.owner, berth.name, plain_name(&view.ssh_host))
}

pub(crate) fn known_hosts_lines(view: &BerthView) -> Option<String> {
    view.berth.host_key.as_ref().map(|key| known_hosts(&key_alias(view), key))
}

/// A node's name as part of an alias, with all characters replaced that would make it a pattern, two words or a
/// path.
pub(crate) fn plain_name(host: &str) -> String {
    host.chars().map(|c| if c.is_ascii_alphanumeric() || ".-_".contains(c) { c } else { '-' }).collect()
}

/// The command that a person types to log in.
pub(crate) fn command_line(view: &BerthView) -> String {
    let berth = &view.berth;
    render::printable(&format!("ssh -p {} {}@{}", berth.port, berth.ssh_user, view.ssh_host))
}

/// The same over the node's gateway, where there is one.
pub(crate) fn jump_line(view: &BerthView) -> Option<String> {
    let berth = &view.berth;
    let jump = view.ssh_jump.as_ref()?;
    Some(render::printable(&format!("ssh -J {jump} {}@{}", berth.ssh_user, berth.name)))
}

/// Writes the berth's host key to a known_hosts file that only connections to this berth use. Returns its path.
fn pin(view: &BerthView) -> Result<PathBuf> {
    let berth = &view.berth;
    let line = known_hosts_lines(view).ok_or_else(|| {
        Fault::busy(format!(
            "berth {}/{} is {} and has no host key yet",
            berth.owner, berth.name, berth.state
        ))
    })?;
    ssh_client::write_known_hosts(&key_alias(view), &line).context("pinning the berth's host key")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_is_told_where_the_port_listens_and_takes_no_word_for_an_option() {
        let view: BerthView = serde_json::from_value(serde_json::json!({
            "id": 1, "owner": "anna", "name": "train", "state": "live", "cards": [0], "port": 42000,
            "ssh_user": "ma-user", "image": "i", "image_id": "sha256:1", "container_id": null, "memory": null,
            "cpus": null, "host_key": null, "created_at": "2025-01-01T00:00:00Z", "until": null,
            "ended_at": null, "note": null, "ssh_host": "node1",
        }))
        .unwrap();
        for (address, host) in [("0.0.0.0", "localhost"), ("::", "localhost"), ("10.0.0.5", "10.0.0.5")] {
            let command = vec!["-v".to_owned(), "x".into()];
            let words = client_words(&view, Path::new("/k"), address.parse().unwrap(), command);
            assert!(words.contains(&"HostKeyAlias=berth-anna@train@node1".into()), "{words:?}");
            assert_eq!(words[words.len() - 6..], ["-l", "ma-user", "--", host, "-v", "x"], "{address}");
        }
    }
}
