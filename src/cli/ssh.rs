//! `berth ssh` and `berth ssh-config`: the real OpenSSH client, with the berth's host key pinned.

use super::call::{berth_path, wait_for};
use super::{Global, render};
use crate::agent::types::{BerthView, Berths};
use crate::error::Fault;
use crate::host::ssh_client;
use crate::model::{Berth, BerthState};
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
    let words = client_words(&view.berth, &known_hosts, global.config()?.ssh.address, args.command);
    Err(ssh_client::replace_with(&words).into())
}

fn client_words(berth: &Berth, known_hosts: &Path, address: IpAddr, command: Vec<String>) -> Vec<String> {
    // The agent answers on this machine: so does the berth's port, where it listens.
    let host = if address.is_unspecified() { "localhost".to_owned() } else { address.to_string() };
    let mut words = vec![
        "-p".to_owned(),
        berth.port.to_string(),
        "-o".into(),
        format!("HostKeyAlias={}", alias(berth)),
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

/// Print a block for ~/.ssh/config
#[derive(clap::Args)]
#[command(after_long_help = "\
VS Code Remote-SSH, JetBrains and plain ssh read these blocks. The line with
the host key goes to ~/.ssh/known_hosts of the machine you connect from.

Example:
  berth ssh-config train >> ~/.ssh/config")]
pub(crate) struct ConfigArgs {
    /// Its name, or OWNER/NAME; all of yours when left out
    name: Option<String>,
}

pub(crate) fn config(global: &Global, args: ConfigArgs) -> Result<ExitCode> {
    let client = global.client()?;
    let views: Vec<BerthView> = wait_for(async {
        let names: Vec<String> = match args.name {
            Some(name) => vec![name],
            None => {
                let berths: Berths = client.get("/v1/berths").await?;
                let live = berths.berths.iter().filter(|berth| berth.state == BerthState::Live);
                live.map(|berth| format!("{}/{}", berth.owner, berth.name)).collect()
            }
        };
        let mut views = Vec::new();
        for name in names {
            views.push(client.get(&berth_path(&name)?).await?);
        }
        anyhow::Ok(views)
    })?;
    if global.json {
        let blocks: Vec<_> = views.iter().map(json_block).collect();
        render::json(&blocks)?;
        return Ok(ExitCode::SUCCESS);
    }
    for view in &views {
        render::line(&block(view));
    }
    if views.is_empty() {
        render::note("no live berths");
    }
    Ok(ExitCode::SUCCESS)
}

fn block(view: &BerthView) -> String {
    let berth = &view.berth;
    let alias = alias(berth);
    let known = known_hosts_line(berth).map(|line| format!("# known_hosts: {line}\n")).unwrap_or_default();
    format!(
        "{known}Host {alias}\n  HostName {}\n  Port {}\n  User {}\n  HostKeyAlias {alias}\n",
        view.ssh_host, berth.port, berth.ssh_user
    )
}

fn json_block(view: &BerthView) -> serde_json::Value {
    let berth = &view.berth;
    serde_json::json!({
        "host": alias(berth),
        "host_name": view.ssh_host,
        "port": berth.port,
        "user": berth.ssh_user,
        "known_hosts": known_hosts_line(berth),
    })
}

/// The name under which editors and known_hosts files know a berth: its port may be another's tomorrow.
fn alias(berth: &Berth) -> String {
    format!("berth-{}-{}", berth.owner, berth.name)
}

fn known_hosts_line(berth: &Berth) -> Option<String> {
    berth.host_key.as_ref().map(|key| format!("{} {key}", alias(berth)))
}

/// What a person types.
pub(crate) fn command_line(view: &BerthView) -> String {
    let berth = &view.berth;
    render::printable(&format!("ssh -p {} {}@{}", berth.port, berth.ssh_user, view.ssh_host))
}

/// Writes the berth's host key where only this berth's connections look for it.
fn pin(view: &BerthView) -> Result<PathBuf> {
    let berth = &view.berth;
    let line = known_hosts_line(berth).ok_or_else(|| {
        Fault::busy(format!(
            "berth {}/{} is {} and has no host key yet",
            berth.owner, berth.name, berth.state
        ))
    })?;
    ssh_client::write_known_hosts(&alias(berth), &line).context("pinning the berth's host key")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_is_told_where_the_port_listens_and_takes_no_word_for_an_option() {
        let berth: Berth = serde_json::from_value(serde_json::json!({
            "id": 1, "owner": "anna", "name": "train", "state": "live", "cards": [0], "port": 42000,
            "ssh_user": "ma-user", "image": "i", "image_id": "sha256:1", "container_id": null, "memory": null,
            "cpus": null, "host_key": null, "created_at": "2025-01-01T00:00:00Z", "until": null,
            "ended_at": null, "note": null,
        }))
        .unwrap();
        for (address, host) in [("0.0.0.0", "localhost"), ("::", "localhost"), ("10.0.0.5", "10.0.0.5")] {
            let command = vec!["-v".to_owned(), "x".into()];
            let words = client_words(&berth, Path::new("/k"), address.parse().unwrap(), command);
            assert_eq!(words[words.len() - 6..], ["-l", "ma-user", "--", host, "-v", "x"], "{address}");
        }
    }
}
