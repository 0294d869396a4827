//! An editor's way to work on another machine, as the open counterparts of VS Code Remote-SSH go it: a script over
//! exec, a server under home, forwards, a browser that speaks HTTP and WebSocket through them, a connection that drops.

use crate::rig::{Server, Setup, wait_until};
use berth::host::RealHost;
use berth::host::editors;
use std::collections::HashMap;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const FOLDER: &str = ".vscodium-server";
const APP: &str = "codium-server";
const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/ssh/editor");
/// The system's Python: another one on the PATH would not see Debian's packages.
const PYTHON: &str = "/usr/bin/python3";

/// An admin's directory with one archive, packed as a release is.
fn admins_directory(dir: &Path) -> PathBuf {
    let top = dir.join("pack/vscodium-reh-linux-x64");
    fs::create_dir_all(top.join("bin")).unwrap();
    fs::create_dir_all(top.join("out")).unwrap();
    let product = format!(
        r#"{{"nameShort": "VSCodium", "commit": "{COMMIT}", "quality": "stable",
            "serverApplicationName": "{APP}", "serverDataFolderName": "{FOLDER}"}}"#
    );
    fs::write(top.join("product.json"), product).unwrap();
    fs::copy(format!("{HERE}/server.py"), top.join("out/server-main.py")).unwrap();
    let start = format!(
        "#!/bin/sh\nROOT=$(dirname \"$(dirname \"$(readlink -f \"$0\")\")\")\nexec {PYTHON} \"$ROOT/out/server-main.py\" \"$@\"\n"
    );
    let script = top.join("bin").join(APP);
    fs::write(&script, start).unwrap();
    assert!(Command::new("chmod").arg("755").arg(&script).status().unwrap().success());
    let editors = dir.join("editors");
    fs::create_dir(&editors).unwrap();
    let archive = editors.join("vscodium-reh-linux-x64-1.99.tar.gz");
    let mut tar = Command::new("tar");
    tar.arg("-czf").arg(&archive).arg("-C").arg(dir.join("pack")).arg("vscodium-reh-linux-x64");
    assert!(tar.status().unwrap().success());
    // It has been there for a while.
    fs::File::options()
        .write(true)
        .open(&archive)
        .unwrap()
        .set_modified(SystemTime::now() - Duration::from_mins(1))
        .unwrap();
    editors
}

/// Feeds the script to a shell, as editors do, and reads what it says between its markers.
fn install(server: &Server, name: &str, listen: &str) -> HashMap<String, String> {
    let script = fs::read_to_string(format!("{HERE}/install.sh")).unwrap();
    let head = format!("NAME={name} COMMIT={COMMIT} FOLDER={FOLDER} APP={APP} LISTEN={listen}\n");
    let mut client = server.client(&["-T"], &["bash"]);
    client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = client.spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), (head + &script).as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let said = text
        .split(&format!("{name}: start\n"))
        .nth(1)
        .and_then(|rest| rest.split(&format!("{name}: end\n")).next());
    let said = said.unwrap_or_else(|| panic!("no markers: {output:?}"));
    said.lines()
        .filter_map(|line| Some((line.split("==").next()?.into(), line.split("==").nth(1)?.into())))
        .collect()
}

/// A client with forwards, dropped as a network drops it: without a word.
struct Forward(Child);

impl Forward {
    fn start(server: &Server, options: &[&str]) -> Self {
        let options: Vec<&str> =
            ["-N", "-T", "-o", "ExitOnForwardFailure=yes"].iter().chain(options).copied().collect();
        let client = server.client(&options, &[]);
        // Without the `timeout` before it: this very process is to be killed.
        let mut words = client.get_args().skip(1);
        let child = Command::new(words.next().unwrap()).args(words).stdin(Stdio::null()).spawn().unwrap();
        Self(child)
    }
    fn wait_port(mut self, port: u16) -> Self {
        wait_until("the forward listens", || {
            assert!(self.0.try_wait().unwrap().is_none(), "the client ended: no forward");
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        self
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn browse(port: &str, text: &str, expected: &str, options: &[&str]) {
    let mut browser = Command::new("timeout");
    browser.args([
        "60",
        PYTHON,
        "-W",
        "ignore",
        &format!("{HERE}/browse.py"),
        &format!("http://127.0.0.1:{port}/"),
    ]);
    let profile = tempfile::tempdir().unwrap();
    browser.args([text, expected, &format!("--user-data-dir={}", profile.path().display())]).args(options);
    let output = browser.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn an_editor_works_through_the_forwards_and_after_a_drop() {
    let dir = tempfile::tempdir().unwrap();
    let admins = admins_directory(dir.path());
    let news = editors::prepare(&RealHost::default(), &admins).unwrap();
    assert!(news.len() == 1 && news[0].outcome.is_ok(), "{news:?}");
    let home = tempfile::tempdir().unwrap();
    let ready = editors::ready_dir(&admins).unwrap();
    let server = Setup { home: Some(home.path()), editors: Some(&ready), ..Setup::default() };
    // As a control: OpenSSH's sshd in the place of berth's server.
    let server = if std::env::var_os("BERTH_CONTROL").is_some() {
        let server = server.start_sshd();
        let link = concat!(
            env!("CARGO_BIN_EXE_berth"),
            " inside session --uid 0 --gid 0 --home /root --editors -- /bin/true; exit $?"
        );
        assert!(server.run(link).status.success());
        server
    } else {
        server.start()
    };

    let said = install(&server, "first", "--port=0");
    assert_eq!((said["exitCode"].as_str(), said["found"].as_str()), ("0", "yes"), "{said:?}");
    let port = said["listeningOn"].clone();
    assert_eq!(install(&server, "first", "--port=0")["listeningOn"], port, "it is started once");
    let home_of_it = home.path().join(FOLDER).join("bin").join(COMMIT);
    assert!(fs::read_link(home_of_it.join("bin")).unwrap().starts_with("/opt/berth/editors"));
    assert!(home_of_it.join("lock").is_file(), "editors keep files beside the server");

    let local = free_port();
    let forward = format!("{local}:127.0.0.1:{port}");
    let connection = Forward::start(&server, &["-L", &forward]).wait_port(local);
    browse(&local.to_string(), "kept=from-before; echo $((6*7))-seen", "42-seen", &[]);
    drop(connection);
    assert!(TcpStream::connect(("127.0.0.1", local)).is_err());
    let _again = Forward::start(&server, &["-L", &forward]).wait_port(local);
    browse(&local.to_string(), "echo $kept-and-after", "from-before-and-after", &[]);

    let socks = free_port();
    let _dynamic = Forward::start(&server, &["-D", &socks.to_string()]).wait_port(socks);
    let proxy = [&format!("--proxy-server=socks5://127.0.0.1:{socks}"), "--proxy-bypass-list=<-loopback>"];
    browse(&port, "echo $((6*8))-by-socks", "48-by-socks", &proxy);

    let socket = home.path().join("editor.sock");
    let said = install(&server, "second", "--socket-path=/root/editor.sock");
    assert_eq!(said["listeningOn"], "/root/editor.sock", "{said:?}");
    assert!(socket.exists());
    let local = free_port();
    let _streamlocal =
        Forward::start(&server, &["-L", &format!("{local}:/root/editor.sock")]).wait_port(local);
    browse(&local.to_string(), "echo $((6*9))-by-socket", "54-by-socket", &[]);
    server.run("kill $(cat .vscodium-server/.first.pid .vscodium-server/.second.pid)");
}

#[test]
fn without_a_server_on_the_node_an_offline_berth_cannot_have_one() {
    let home = tempfile::tempdir().unwrap();
    let server = Setup { home: Some(home.path()), ..Setup::default() }.start();
    let said = install(&server, "first", "--port=0");
    assert_eq!((said["exitCode"].as_str(), said["found"].as_str()), ("2", "no"), "{said:?}");
}
