//! Reads the config again while the agent runs. What can change is changed, what cannot is named, and a wrong
//! config changes nothing.

use super::{Caller, Node};
use crate::error::flatten;
use crate::host::accounts::unknown_groups;
use crate::profile::{Changed, Config, Settings, load_profile};
use anyhow::Result;
use std::sync::Arc;

const RESTART: &str = "systemctl restart berth (berths go on)";

impl Node {
    /// Applies the config that was read. Each use case that begins from now on uses it.
    pub async fn reload(&self, read: Result<Config>) {
        let taken = match self.readable(read).await {
            Ok(new) => {
                let changed = self.take_up(new).await;
                Ok((changed, self.unknown_groups().await))
            }
            Err(error) => Err(flatten(&error)),
        };
        let (kind, text) = match taken {
            Ok((changed, unknown)) => ("config.read", told(&changed) + &warning(&unknown)),
            Err(fault) => {
                let help = fault.help.map(|help| format!(" ({help})")).unwrap_or_default();
                let text = format!("the agent goes on with the config it has: {}{help}", fault.message);
                ("config.refused", text)
            }
        };
        if kind == "config.read" {
            tracing::info!(kind, text);
        } else {
            tracing::error!(kind, text);
        }
        self.record_or_log(self.event(kind, &Caller::agent().name, text)).await;
    }

    /// Groups that the profile has limits for and that this node does not know.
    async fn unknown_groups(&self) -> Vec<String> {
        let host = self.host();
        let groups: Vec<String> = self.settings().profile.limits.group.keys().cloned().collect();
        if groups.is_empty() {
            return groups;
        }
        tokio::task::spawn_blocking(move || unknown_groups(&*host, &groups)).await.unwrap_or_default()
    }

    /// Says so in the log at the agent's start. Their limits count for nobody.
    pub async fn warn_of_unknown_groups(&self) {
        let unknown = self.unknown_groups().await;
        if !unknown.is_empty() {
            let groups = unknown.join(", ");
            tracing::warn!("limits for groups that this node does not know count for nobody: {groups}");
        }
    }

    /// The settings of this config. An error for everything for which the agent would refuse to start.
    async fn readable(&self, read: Result<Config>) -> Result<Settings> {
        let (host, accel, mut config) = (self.host(), self.accel(), read?);
        config.ssh.gateway_address()?;
        let old = self.settings();
        tokio::task::spawn_blocking(move || {
            let mut profile = load_profile(&*host, &config)?;
            // A node with places of its own, which no file names, keeps those that it has.
            if let Some(places) = accel.places(&old.config)? {
                places.apply(&mut config, &mut profile);
            }
            Ok(Settings { config, profile })
        })
        .await?
    }

    async fn take_up(&self, new: Settings) -> Changed {
        let old = self.settings();
        let (new, changed) = old.taken_up(new);
        let exempt_changed = old.config.docker.exempt != new.config.docker.exempt;
        self.set_settings(Arc::new(new));
        if exempt_changed {
            // It knows whom it may leave out from when it was made.
            self.looks.foreign.lock().await.value = None;
        }
        changed
    }
}

fn warning(unknown: &[String]) -> String {
    if unknown.is_empty() {
        return String::new();
    }
    format!(
        "; the profile has limits for groups that this node does not know, which count for nobody: {}",
        unknown.join(", ")
    )
}

fn told(changed: &Changed) -> String {
    let parts = [
        (&changed.now, "counts now: ", ""),
        (&changed.new_servers, "counts now for new berths, and for the gateway at the next start: ", ""),
        (&changed.next_start, "changes at the next start: ", RESTART),
    ];
    let mut text = "config and profile were read again".to_owned();
    for (keys, when, how) in parts.into_iter().filter(|(keys, ..)| !keys.is_empty()) {
        text = format!("{text}; {when}{}", keys.join(", "));
        if !how.is_empty() {
            text = format!("{text}: {how}");
        }
    }
    if *changed == Changed::default() { format!("{text}; nothing in them has changed") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::clock::TestClock;
    use crate::ledger::Event;
    use crate::profile::parse_toml;
    use std::path::Path;

    async fn last(node: &Node) -> Event {
        node.events(&Caller::agent(), 0, 100).await.unwrap().pop().unwrap()
    }

    #[tokio::test]
    async fn a_change_counts_for_who_begins_after_it() {
        let (node, dir) = Node::for_test(TestClock::at("2026-01-01T08:00:00Z"));
        let before = node.settings();
        let mut config = before.config.clone();
        config.docker.exempt = vec!["cadvisor".into()];
        config.ssh.limits.tries = 3;
        config.paths.state = "/elsewhere".into();
        node.reload(Ok(config)).await;
        let now = node.settings();
        assert_eq!(now.config.docker.exempt, ["cadvisor"]);
        assert_eq!(now.config.paths.state, before.config.paths.state);
        assert_eq!(node.berth_dir(7), dir.path().join("berth/berths/7"));
        assert!(before.config.docker.exempt.is_empty(), "who has begun goes on with what they took");
        let event = last(&node).await;
        assert_eq!(event.kind, "config.read");
        assert_eq!(
            event.text,
            "config and profile were read again; counts now: docker.exempt; counts now for new berths, and for the \
             gateway at the next start: ssh.limits.tries; changes at the next start: paths.state: systemctl restart \
             berth (berths go on)"
        );
        node.reload(Ok((*now).clone().config)).await;
        assert!(last(&node).await.text.ends_with("; nothing in them has changed"));
    }

    #[test]
    fn unknown_groups_are_named() {
        assert_eq!(warning(&[]), "");
        assert!(warning(&["a".into(), "b".into()]).ends_with("count for nobody: a, b"));
    }

    #[tokio::test]
    async fn a_wrong_config_changes_nothing_and_is_named_with_its_place() {
        let (node, _dir) = Node::for_test(TestClock::at("2026-01-01T08:00:00Z"));
        let before = node.settings();
        node.reload(parse_toml(Path::new("/etc/berth/berth.toml"), "[ssh]\nprots = \"1-2\"\n")).await;
        let event = last(&node).await;
        assert_eq!(event.kind, "config.refused");
        let start =
            "the agent goes on with the config it has: /etc/berth/berth.toml:2:1: unknown field `prots`";
        assert!(
            event.text.starts_with(start) && event.text.ends_with("(did you mean `ports`?)"),
            "{}",
            event.text
        );
        for wrong in [
            Config { profile: "nobodys".into(), ..before.config.clone() },
            Config {
                ssh: crate::profile::SshConfig { gateway: "here".into(), ..before.config.ssh.clone() },
                ..before.config.clone()
            },
        ] {
            node.reload(Ok(wrong)).await;
            assert_eq!(last(&node).await.kind, "config.refused");
        }
        assert!(Arc::ptr_eq(&before, &node.settings()));
    }
}
