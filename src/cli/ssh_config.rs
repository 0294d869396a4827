//! `berth ssh-config`: blocks for an ssh client's config, to print or to keep in `~/.ssh/config`.

use super::call::{berth_path, wait_for};
use super::ssh::{alias, key_alias, known_hosts_lines, plain_name};
use super::{Global, render};
use crate::agent::types::{BerthView, Berths};
use crate::error::Fault;
use crate::host::ssh_files;
use crate::keys::known_hosts;
use crate::model::BerthState;
use crate::ops::gateway::GatewayView;
use anyhow::Result;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::process::ExitCode;

/// Print blocks for ~/.ssh/config, or keep them there
#[derive(clap::Args)]
#[command(after_long_help = "\
VS Code Remote-SSH, JetBrains and plain ssh read these blocks. A block leads to
the berth's own port, and its first lines are those for ~/.ssh/known_hosts.
With --gateway it leads over the node's one port for everybody, and host keys
are looked for in ~/.ssh/berth_known_hosts: write both files.

--install keeps one marked block at the top of your ~/.ssh/config, and that
file, up to date; nothing else is touched. Run it again after a request.
Links of your own are followed; what is somebody else's is not written to.

Examples:
  berth ssh-config train >> ~/.ssh/config
  berth ssh-config --install
  berth ssh-config --gateway > ~/.ssh/berth_config
  berth ssh-config --gateway --known-hosts > ~/.ssh/berth_known_hosts")]
pub(crate) struct Args {
    #[command(flatten)]
    what: What,
    /// Keep the blocks of all your berths in ~/.ssh/config
    #[arg(long, conflicts_with_all = ["name", "known_hosts"])]
    install: bool,
}

/// The part that writes no files, for the gateway.
#[derive(clap::Args)]
#[command(about = "Print blocks for ~/.ssh/config")]
#[command(after_long_help = "\
VS Code Remote-SSH, JetBrains and plain ssh read these blocks, which lead over
this gateway unless you say --direct. On your own machine, each time that you
have a new berth:
  berth ssh-config > ~/.ssh/berth_config
  berth ssh-config --known-hosts > ~/.ssh/berth_known_hosts
Once, as the first line of ~/.ssh/config:
  Include berth_config")]
pub(crate) struct Shown {
    #[command(flatten)]
    what: What,
}

#[derive(clap::Args)]
struct What {
    /// A berth's name, or OWNER/NAME; all of yours when left out
    name: Option<String>,
    /// Blocks that lead over the node's gateway, which needs one port only
    #[arg(long)]
    gateway: bool,
    /// Blocks that lead to each berth's own port of the node
    #[arg(long, conflicts_with = "gateway")]
    direct: bool,
    /// Print the lines for ~/.ssh/berth_known_hosts instead
    #[arg(long)]
    known_hosts: bool,
}

/// What was asked for: berths, and the gateway they are behind.
struct Found {
    views: Vec<BerthView>,
    gateway: Option<GatewayView>,
}

pub(crate) fn run(global: &Global, args: Args) -> Result<ExitCode> {
    let found = find(global, &args.what, args.what.gateway)?;
    if !args.install {
        return print(global, &args.what, &found);
    }
    let blocks: String = found.blocks().iter().map(|block| block.pinned() + "\n").collect();
    let installed = ssh_files::install(blocks.trim_end(), &found.known_hosts())?;
    if global.json {
        render::json(&installed)?;
        return Ok(ExitCode::SUCCESS);
    }
    let count = found.views.len();
    let berths = if count == 1 { "one berth".to_owned() } else { format!("{count} berths") };
    render::line(&format!("{} has {berths}", installed.config.display()));
    if let Some(first) = found.views.first() {
        render::line(&format!("ssh {}", alias(&first.berth)));
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn show(global: &Global, args: &Shown) -> Result<ExitCode> {
    // Whoever comes this way may reach nothing else.
    let found = find(global, &args.what, !args.what.direct)?;
    print(global, &args.what, &found)
}

fn find(global: &Global, what: &What, over_gateway: bool) -> Result<Found> {
    let client = global.client()?;
    wait_for(async {
        let gateway: Option<GatewayView> =
            if over_gateway { Some(client.get("/v1/gateway").await?) } else { None };
        if gateway.as_ref().is_some_and(|gateway| !gateway.on) {
            return Err(Fault::refused("the gateway of this node is switched off")
                .help("an administrator switches it on with ssh.gateway in the config; --direct needs none")
                .into());
        }
        let names: Vec<String> = match &what.name {
            Some(name) => vec![name.clone()],
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
        Ok(Found { views, gateway })
    })
}

fn print(global: &Global, what: &What, found: &Found) -> Result<ExitCode> {
    let blocks = found.blocks();
    if global.json {
        render::json(&blocks.iter().map(Block::json).collect::<Vec<_>>())?;
        return Ok(ExitCode::SUCCESS);
    }
    if what.known_hosts {
        render::bytes(found.known_hosts().as_bytes());
    } else {
        for block in &blocks {
            render::line(&if found.gateway.is_some() { block.pinned() } else { block.plain() });
        }
    }
    if found.views.is_empty() {
        render::note("no live berths");
    }
    Ok(ExitCode::SUCCESS)
}

/// One `Host` of a config.
struct Block {
    alias: String,
    key_alias: String,
    host: String,
    port: u16,
    user: Option<String>,
    jump: Option<String>,
    known_hosts: Option<String>,
}

impl Found {
    fn blocks(&self) -> Vec<Block> {
        let gate = self.gateway.as_ref().map(|gateway| self.gate(gateway));
        let jump = gate.as_ref().map(|gate| gate.alias.clone());
        let berths = self.views.iter().map(|view| block(view, jump.as_deref()));
        let berths: Vec<Block> = berths.collect();
        gate.into_iter().chain(berths).collect()
    }

    /// The gateway's own block. It names the user where all berths belong to one user.
    fn gate(&self, gateway: &GatewayView) -> Block {
        let owners: BTreeSet<&str> = self.views.iter().map(|view| view.berth.owner.as_str()).collect();
        let alias = format!("berth-gateway-{}", plain_name(&gateway.host));
        let known_hosts = gateway.host_key.as_ref().map(|key| known_hosts(&alias, key));
        let user = owners.first().filter(|_| owners.len() == 1).map(|owner| (*owner).to_owned());
        let key_alias = alias.clone();
        Block {
            alias,
            key_alias,
            host: gateway.host.clone(),
            port: gateway.port,
            user,
            jump: None,
            known_hosts,
        }
    }

    fn known_hosts(&self) -> String {
        let lines = self.blocks().into_iter().filter_map(|block| block.known_hosts);
        lines.map(|line| line + "\n").collect()
    }
}

fn block(view: &BerthView, jump: Option<&str>) -> Block {
    let berth = &view.berth;
    let (host, port) = match jump {
        Some(_) => (berth.name.clone(), 22),
        None => (view.ssh_host.clone(), berth.port),
    };
    Block {
        alias: alias(berth),
        key_alias: key_alias(view),
        host,
        port,
        user: Some(berth.ssh_user.clone()),
        jump: jump.map(|gate| format!("{}@{gate}", berth.owner)),
        known_hosts: known_hosts_lines(view),
    }
}

impl Block {
    /// The block for people who append it to a file, and append the host key to another.
    fn plain(&self) -> String {
        let mut known = String::new();
        for line in self.known_hosts.iter().flat_map(|lines| lines.lines()) {
            // Writing to a string cannot go wrong.
            let _ = writeln!(known, "# known_hosts: {line}");
        }
        format!("{known}{}", self.text())
    }

    /// The block with the host key in berth's own known_hosts file. It accepts no other key.
    fn pinned(&self) -> String {
        let file = ssh_files::KNOWN_HOSTS;
        format!("{}  UserKnownHostsFile ~/.ssh/{file}\n  StrictHostKeyChecking yes\n", self.text())
    }

    fn text(&self) -> String {
        let mut text = format!("Host {}\n  HostName {}\n  Port {}\n", self.alias, self.host, self.port);
        for (key, value) in [("User", &self.user), ("ProxyJump", &self.jump)] {
            if let Some(value) = value {
                // Writing to a string cannot go wrong.
                let _ = writeln!(text, "  {key} {value}");
            }
        }
        let _ = writeln!(text, "  HostKeyAlias {}", self.key_alias);
        render::printable(&text)
    }

    fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "host": self.alias,
            "host_key_alias": self.key_alias,
            "host_name": self.host,
            "port": self.port,
            "user": self.user,
            "proxy_jump": self.jump,
            "known_hosts": self.known_hosts,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(owner: &str, name: &str) -> BerthView {
        serde_json::from_value(serde_json::json!({
            "id": 1, "owner": owner, "name": name, "state": "live", "cards": [0], "port": 42000,
            "ssh_user": "ma-user", "image": "i", "image_id": "sha256:1", "container_id": null, "memory": null,
            "cpus": null, "host_key": "ssh-ed25519 BERTH", "created_at": "2025-01-01T00:00:00Z", "until": null,
            "ended_at": null, "note": null, "ssh_host": "node1",
        }))
        .unwrap()
    }

    fn gateway() -> GatewayView {
        GatewayView { on: true, host: "node1".into(), port: 2222, host_key: Some("ssh-ed25519 GATE".into()) }
    }

    #[test]
    fn a_direct_block_is_one_to_append() {
        let found = Found { views: vec![view("alice", "train")], gateway: None };
        let blocks = found.blocks();
        assert_eq!(blocks.len(), 1);
        assert_eq!(
            blocks[0].plain(),
            "# known_hosts: berth-alice@train@node1 ssh-ed25519 BERTH\nHost berth-alice-train\n  HostName node1\n  Port 42000\n  \
             User ma-user\n  HostKeyAlias berth-alice@train@node1\n"
        );
    }

    #[test]
    fn berths_of_the_same_name_on_two_nodes_have_two_names_in_one_known_hosts_file() {
        let here = view("alice", "train");
        let there = BerthView { ssh_host: "node 2/*".into(), ..here.clone() };
        let names: Vec<String> = [&here, &there].map(|view| block(view, None).key_alias).into();
        assert_eq!(names, ["berth-alice@train@node1", "berth-alice@train@node-2--"]);
        // Nor do those of two users, whatever dashes their names have.
        assert_ne!(key_alias(&view("a-b", "c")), key_alias(&view("a", "b-c")));
    }

    #[test]
    fn over_the_gateway_the_berth_is_a_name_behind_it() {
        let found = Found { views: vec![view("alice", "train")], gateway: Some(gateway()) };
        let text: String = found.blocks().iter().map(Block::pinned).collect();
        let pin = "  UserKnownHostsFile ~/.ssh/berth_known_hosts\n  StrictHostKeyChecking yes\n";
        assert_eq!(
            text,
            format!(
                "Host berth-gateway-node1\n  HostName node1\n  Port 2222\n  User alice\n  HostKeyAlias berth-gateway-node1\n{pin}\
                 Host berth-alice-train\n  HostName train\n  Port 22\n  User ma-user\n  \
                 ProxyJump alice@berth-gateway-node1\n  HostKeyAlias berth-alice@train@node1\n{pin}"
            )
        );
        assert_eq!(
            found.known_hosts(),
            "berth-gateway-node1 ssh-ed25519 GATE\nberth-alice@train@node1 ssh-ed25519 BERTH\n"
        );
    }

    #[test]
    fn an_administrator_s_berths_each_jump_as_their_owner() {
        let found = Found { views: vec![view("alice", "a"), view("bob", "b")], gateway: Some(gateway()) };
        let blocks = found.blocks();
        assert_eq!(blocks[0].user, None);
        assert_eq!(blocks[2].jump.as_deref(), Some("bob@berth-gateway-node1"));
        assert_eq!(plain_name("no de*1\n"), "no-de-1-");
    }
}
