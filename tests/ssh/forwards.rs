//! What forwards must not do: be more than the session user is, be heard outside, hold others up, leave things behind.
//! That they work, with which client, is in the matrix. Needs root and ssh.

use crate::rig::{PATIENCE, Server, Setup, wait_until};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

fn as_nobody() -> Server {
    Setup { session: r#"{"schema": 1, "users": ["nobody"]}"#, user: "nobody", ..Setup::default() }.start()
}

/// A client that forwards and nothing else; ended when dropped.
struct Forwarding(Child);

impl Forwarding {
    fn start(server: &Server, options: &[&str]) -> Self {
        let mut all = vec!["-N", "-o", "ExitOnForwardFailure=yes"];
        all.extend(options);
        Self(server.client(&all, &[]).stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// What it said, once it has ended by itself.
    fn complaint(mut self) -> String {
        let mut text = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        text
    }

    fn end(&mut self) {
        // `timeout` passes it on.
        let pid = nix::unistd::Pid::from_raw(self.0.id().try_into().unwrap());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

impl Drop for Forwarding {
    fn drop(&mut self) {
        self.end();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A directory that everybody may use, for sockets of the session user.
fn shared_directory(server: &Server) -> std::path::PathBuf {
    let directory = server.dir.path().join("shared");
    fs::create_dir(&directory).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).unwrap();
    directory
}

fn connect(port: u16) -> TcpStream {
    let mut stream = None;
    wait_until("the forwarded port answers", || {
        stream = TcpStream::connect(("127.0.0.1", port)).ok();
        stream.is_some()
    });
    stream.unwrap()
}

fn connect_unix(path: &Path) -> UnixStream {
    let mut stream = None;
    wait_until("the forwarded socket answers", || {
        stream = UnixStream::connect(path).ok();
        stream.is_some()
    });
    stream.unwrap()
}

#[test]
fn a_socket_that_the_user_may_not_open_stays_closed() {
    let server = as_nobody();
    let theirs = server.dir.path().join("root.sock");
    let listener = UnixListener::bind(&theirs).unwrap();
    fs::set_permissions(&theirs, fs::Permissions::from_mode(0o600)).unwrap();
    let here = server.dir.path().join("here.sock");
    let _client = Forwarding::start(&server, &["-L", &format!("{}:{}", here.display(), theirs.display())]);
    let mut stream = connect_unix(&here);
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0, "the channel was to be refused");
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "root's socket was reached");
}

#[test]
fn a_listening_socket_is_the_users_and_goes_with_the_connection() {
    let server = as_nobody();
    let path = shared_directory(&server).join("there.sock");
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let spec = format!("{}:127.0.0.1:{}", path.display(), target.local_addr().unwrap().port());
    for round in ["new", "over one that was left behind"] {
        let mut client = Forwarding::start(&server, &["-R", &spec]);
        let mut stream = connect_unix(&path);
        let found = fs::symlink_metadata(&path).unwrap();
        let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap().uid.as_raw();
        assert!(found.file_type().is_socket() && found.uid() == nobody, "{round}");
        assert_eq!(found.mode() & 0o777, 0o600, "{round}");
        let (mut other, _) = target.accept().unwrap();
        other.write_all(b"hello").unwrap();
        let mut word = [0; 5];
        stream.read_exact(&mut word).unwrap();
        assert_eq!(&word, b"hello", "{round}");
        client.end();
        wait_until("the socket is gone", || !path.exists());
        // What a server that was killed leaves: nobody listens there.
        drop(UnixListener::bind(&path).unwrap());
        std::os::unix::fs::chown(&path, Some(nobody), None).unwrap();
    }
}

#[test]
fn a_file_in_the_way_is_not_replaced() {
    let server = as_nobody();
    let path = shared_directory(&server).join("precious");
    fs::write(&path, "precious").unwrap();
    let complaint =
        Forwarding::start(&server, &["-R", &format!("{}:127.0.0.1:9", path.display())]).complaint();
    assert!(complaint.contains("remote port forwarding failed"), "{complaint}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn listeners_are_on_loopback_whatever_is_asked_for() {
    let server = as_nobody();
    let port = free_port();
    let _client = Forwarding::start(&server, &["-R", &format!("0.0.0.0:{port}:127.0.0.1:9")]);
    drop(connect(port));
    let sockets = Command::new("ss").args(["-Hltn", &format!("sport = :{port}")]).output().unwrap();
    let sockets = String::from_utf8(sockets.stdout).unwrap();
    assert!(sockets.contains(&format!("127.0.0.1:{port}")), "{sockets}");
    for line in sockets.lines() {
        assert!(line.contains("127.0.0.1:") || line.contains("[::1]:"), "{line}");
    }
    let complaint = Forwarding::start(&server, &["-R", "81:127.0.0.1:9"]).complaint();
    assert!(complaint.contains("remote port forwarding failed"), "{complaint}");
    wait_until("the refusal is told", || server.events().contains("ports below 1024 are root's"));
}

#[test]
fn a_closed_port_is_refused_with_the_reason() {
    let server = as_nobody();
    let output = server.client(&["-W", &format!("127.0.0.1:{}", free_port())], &[]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("Connection refused"), "{said}");
    let output = server.client(&["-W", "no-such-name.invalid:80"], &[]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("no-such-name.invalid:80: "), "{said}");
}

#[test]
fn the_agents_socket_is_the_users_alone_and_goes_with_the_connection() {
    let server = as_nobody();
    let agent = server.dir.path().join("agent.sock");
    let mut process = Command::new("ssh-agent").arg("-D").arg("-a").arg(&agent).spawn().unwrap();
    wait_until("the agent listens", || agent.exists());
    let with_agent = |mut command: Command| command.env("SSH_AUTH_SOCK", &agent).output().unwrap();
    let add = Command::new("ssh-add").arg("-q").arg(server.key()).env("SSH_AUTH_SOCK", &agent).output();
    assert!(add.unwrap().status.success());
    let told = with_agent(server.client(
        &["-A"],
        &["stat -c '%U %a' $SSH_AUTH_SOCK $(dirname $SSH_AUTH_SOCK) && echo $SSH_AUTH_SOCK && ssh-add -l"],
    ));
    let without = with_agent(server.client(&["-a"], &["echo agent=$SSH_AUTH_SOCK"]));
    process.kill().unwrap();
    process.wait().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines[0].starts_with("nobody ") && lines[1] == "nobody 700", "{told}");
    assert!(lines[3].contains("ED25519"), "{told}");
    wait_until("the agent's directory is gone", || !Path::new(lines[2]).parent().unwrap().exists());
    assert_eq!(without.stdout, b"agent=\n");
}

/// A forward whose far end never reads, and which the client goes on filling.
#[test]
fn a_forward_that_nobody_reads_holds_neither_memory_nor_other_sessions() {
    let server = as_nobody();
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free_port();
    let control = server.dir.path().join("control");
    let control = format!("ControlPath={}", control.display());
    let spec = format!("{port}:127.0.0.1:{}", target.local_addr().unwrap().port());
    let _client = Forwarding::start(&server, &["-M", "-o", &control, "-L", &spec]);
    let stuck = connect(port);
    let (_never_read, _) = target.accept().unwrap();
    stuck.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    let (chunk, mut sent) = (vec![b'x'; 65536], 0);
    while let Ok(count) = (&stuck).write(&chunk) {
        sent += count;
        assert!(sent < 200_000_000, "nothing stops the client");
    }
    assert!(sent > 2_000_000, "only {sent} bytes were taken");
    // Over the same connection.
    for _ in 0..3 {
        let output = server.client(&["-o", &control], &["head -c 20000000 /dev/zero; cat"]);
        let output = { output }.stdin(Stdio::null()).output().unwrap();
        assert_eq!(output.stdout.len(), 20_000_000);
    }
    let mut echo = server
        .client(&["-o", &control], &["cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // More than one window; without limit it would stop when 16 MiB wait in the connection (docs/ssh.md).
    let data = vec![b'y'; 4_000_000];
    let (mut to, mut from) = (echo.stdin.take().unwrap(), echo.stdout.take().unwrap());
    let expected = data.clone();
    let writer = std::thread::spawn(move || to.write_all(&data).unwrap());
    let mut back = Vec::new();
    from.read_to_end(&mut back).unwrap();
    writer.join().unwrap();
    assert!(echo.wait().unwrap().success() && back == expected);
    let peak = server.peak_memory();
    assert!(peak < 120_000, "{peak} KiB at the most, within {PATIENCE:?}");
}

/// paramiko closes a channel without waiting for anything.
#[test]
fn what_was_sent_before_a_close_arrives() {
    let server = as_nobody();
    let file = shared_directory(&server).join("file");
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let script = format!(
        r#"
import paramiko, sys
client = paramiko.SSHClient()
client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
client.connect("127.0.0.1", {}, username="nobody", key_filename="{}", allow_agent=False, look_for_keys=False)
for kind in ("session", "direct-tcpip"):
    if kind == "session":
        channel = client.get_transport().open_session()
        channel.exec_command("sleep 1; cat > {}")
    else:
        channel = client.get_transport().open_channel(kind, ("127.0.0.1", {}), ("127.0.0.1", 1))
    channel.sendall(bytes(900 << 10))
    channel.close()
print("closed", flush=True)
sys.stdin.read()
"#,
        server.port,
        server.key().display(),
        file.display(),
        target.local_addr().unwrap().port()
    );
    let mut client = Command::new("/usr/bin/python3")
        .args(["-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut closed = [0; 7];
    client.stdout.as_mut().unwrap().read_exact(&mut closed).unwrap();
    // Only now somebody reads.
    let mut received = Vec::new();
    target.accept().unwrap().0.read_to_end(&mut received).unwrap();
    assert_eq!(received.len(), 900 << 10);
    wait_until("the file is whole", || fs::metadata(&file).is_ok_and(|found| found.len() == 900 << 10));
    drop(client.stdin.take());
    client.wait().unwrap();
}
