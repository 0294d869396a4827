//! Which shell a session gets, also in an image with few programs.

use crate::ssh::user::account::Account;
use crate::ssh::user::image;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Shells of last resort, most capable first; a lone busybox is asked for its `sh`.
const SHELLS: [&str; 6] =
    ["/bin/bash", "/usr/bin/bash", "/bin/sh", "/bin/busybox", "/usr/bin/busybox", "/busybox"];

/// A shell and how to call it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ssh) struct Shell {
    pub(in crate::ssh) path: PathBuf,
}

impl Shell {
    /// The account's own shell, or one that the image has. The last word is `/bin/sh`, so that the error names a shell.
    ///
    /// `nologin` and `false` count as no shell: the administrator named this account for logins, and service
    /// accounts are what images have.
    pub(in crate::ssh) fn of(account: &Account) -> Self {
        Self::choose(account.shell.as_deref(), image::is_program)
    }

    fn choose(own: Option<&Path>, is_program: impl Fn(&Path) -> bool) -> Self {
        let lets_in = |shell: &&Path| !shell.ends_with("nologin") && !shell.ends_with("false");
        let path = own
            .filter(lets_in)
            .into_iter()
            .chain(SHELLS.iter().map(Path::new))
            .find(|path| is_program(path))
            .unwrap_or(Path::new("/bin/sh"));
        Self { path: path.to_path_buf() }
    }

    /// The shells that this image has.
    pub(in crate::ssh) fn present() -> Vec<PathBuf> {
        ["/bin/bash", "/bin/zsh", "/usr/bin/zsh", "/usr/bin/fish", "/bin/sh", "/bin/dash", "/bin/busybox"]
            .iter()
            .map(PathBuf::from)
            .filter(|path| image::is_program(path))
            .collect()
    }

    fn is_busybox(&self) -> bool {
        self.path.ends_with("busybox")
    }

    /// `argv[0]` of a login shell starts with a dash.
    pub(in crate::ssh) fn login_name(&self) -> OsString {
        let mut name = OsString::from("-");
        name.push(if self.is_busybox() { "sh".as_ref() } else { self.path.file_name().unwrap_or_default() });
        name
    }

    /// The arguments that run one command line.
    pub(in crate::ssh) fn command_arguments(&self, command: OsString) -> Vec<OsString> {
        let applet = self.is_busybox().then(|| OsString::from("sh"));
        applet.into_iter().chain([OsString::from("-c"), command]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(own: Option<&str>, present: &[&str]) -> Shell {
        Shell::choose(own.map(Path::new), |path| present.iter().any(|known| path == Path::new(known)))
    }

    #[test]
    fn the_own_shell_then_what_there_is() {
        assert_eq!(choose(Some("/bin/zsh"), &["/bin/zsh", "/bin/bash"]).path, Path::new("/bin/zsh"));
        assert_eq!(choose(Some("/bin/zsh"), &["/bin/sh"]).path, Path::new("/bin/sh"));
        assert_eq!(
            choose(Some("/sbin/nologin"), &["/sbin/nologin", "/bin/bash"]).path,
            Path::new("/bin/bash")
        );
        assert_eq!(choose(None, &[]).path, Path::new("/bin/sh"));
    }

    #[test]
    fn a_lone_busybox_is_called_as_sh() {
        let shell = choose(None, &["/bin/busybox"]);
        assert_eq!(shell.login_name(), "-sh");
        assert_eq!(shell.command_arguments("id".into()), ["sh", "-c", "id"]);
        assert_eq!(choose(None, &["/bin/bash"]).login_name(), "-bash");
    }
}
