//! OpenSSH's own server in the place of berth's: what a client's feature does there is what it is to do here.

use crate::rig::{Server, Setup};
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

const TRIES: usize = 5;

impl Setup<'_> {
    /// Starts Debian's sshd with a configuration of its own on a port of its own.
    pub fn start_sshd(&self) -> Server {
        let dir = tempfile::tempdir().unwrap();
        nix::sys::stat::fchmodat(
            nix::fcntl::AT_FDCWD,
            dir.path(),
            nix::sys::stat::Mode::from_bits_truncate(0o755),
            nix::sys::stat::FchmodatFlags::FollowSymlink,
        )
        .unwrap();
        self.make_keys(dir.path(), dir.path());
        fs::create_dir_all("/run/sshd").unwrap();
        // Between the choice of a port and its use another program may take it.
        let (child, port, log) = (0..TRIES).find_map(|_| self.try_sshd(dir.path())).expect("sshd listens");
        Server { dir, child, port, user: "root".into(), log, events: Arc::default() }
    }

    fn try_sshd(&self, dir: &Path) -> Option<(Child, u16, Arc<Mutex<String>>)> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = dir.join("sshd_config");
        fs::write(&config, configuration(dir, port, self.rsa)).unwrap();
        let mut command = self.at_home(Path::new("/usr/sbin/sshd"));
        command.args(["-D", "-e", "-f"]).arg(&config);
        command.envs(self.environment.iter().copied());
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(String::new()));
        loop {
            let Some(Ok(line)) = lines.next() else {
                child.wait().unwrap();
                return None;
            };
            let listens = line.contains("Server listening on");
            log.lock().unwrap().push_str(&(line + "\n"));
            if listens {
                break;
            }
        }
        let kept = Arc::clone(&log);
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                kept.lock().unwrap().push_str(&(line + "\n"));
            }
        });
        Some((child, port, log))
    }
}

fn configuration(dir: &Path, port: u16, rsa: bool) -> String {
    let dir = dir.display();
    let more = if rsa { format!("HostKey {dir}/host_key_rsa\n") } else { String::new() };
    format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {dir}/host_key\n{more}AuthorizedKeysFile {dir}/authorized_keys\n\
         PidFile {dir}/sshd.pid\nStrictModes no\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\n\
         AcceptEnv LANG LC_* TZ\nX11Forwarding no\nPrintMotd no\nPrintLastLog no\nMaxSessions 64\nMaxStartups 100\n\
         Subsystem sftp internal-sftp\n"
    )
}
