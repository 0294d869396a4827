//! A berth as the server inside it sees it: its files, which are read again at each login, and where sessions
//! start.

use super::notices::Notices;
use super::script::ScriptCache;
use super::shell::Shell;
use super::shutdown::Sessions;
use super::sourced;
use crate::model::session::SessionConfig;
use crate::ssh::channel::environment::{self, Environment};
use crate::ssh::user::account::Account;
use crate::ssh::user::image;
use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};

/// What the connections share: the berth's files and the container's environment.
pub(in crate::ssh) struct InsideBerth {
    pub(super) etc: PathBuf,
    pub(in crate::ssh) config: SessionConfig,
    pub(in crate::ssh) container: Environment,
    pub(super) scripts: ScriptCache,
    pub(in crate::ssh) sessions: Sessions,
    pub(in crate::ssh) programs: PathBuf,
    pub(in crate::ssh) notices: Notices,
}

impl InsideBerth {
    pub(in crate::ssh) fn authorized_keys_path(&self) -> PathBuf {
        self.etc.join("authorized_keys")
    }

    /// The keys as they are now. Unreadable is an error; only absent means nobody.
    pub(in crate::ssh) fn authorized_keys(&self) -> Result<String> {
        image::read_table(&self.authorized_keys_path()).context("reading authorized_keys")
    }

    /// The session user as the image describes it now.
    pub(in crate::ssh) fn account(&self) -> Result<Account> {
        let table =
            |path: &str| image::read_table(Path::new(path)).with_context(|| format!("reading {path}"));
        Ok(Account::choose(&self.config, &table("/etc/passwd")?, &table("/etc/group")?)?)
    }

    pub(in crate::ssh) async fn script_environment(&self, account: &Account) -> Environment {
        let base = base_environment(self, account);
        self.scripts.apply(sourced::scripts(&self.config, account), account, base).await
    }
}

/// Where the session starts; an image without `/etc/passwd` says nothing of homes.
pub(in crate::ssh) fn home_of(account: &Account) -> PathBuf {
    account.home.clone().unwrap_or_else(|| {
        let root_home = Path::new("/root");
        if account.uid == 0 && root_home.is_dir() { root_home.into() } else { "/".into() }
    })
}

/// What a session of this account starts from, before any script.
pub(in crate::ssh) fn base_environment(berth: &InsideBerth, account: &Account) -> Environment {
    environment::base(
        &berth.container,
        &berth.config.environment,
        account,
        &home_of(account),
        &Shell::of(account).path,
    )
}
