//! Forwards of command line clients: bytes go through both ways, and half a connection may end first.

use super::sessions::Client;
use super::site::{NOISE, Site};
use crate::rig::{PATIENCE, wait_until};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;

/// Sends back what it gets, then says how much that was.
fn echo(mut from: impl Read, mut to: impl Write) {
    let copied = std::io::copy(&mut from, &mut to).unwrap_or_default();
    let _ = write!(to, "={copied}");
}

fn tcp_echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || {
                echo(stream.try_clone().unwrap(), &stream);
                let _ = stream.shutdown(Shutdown::Write);
            });
        }
    });
    port
}

fn unix_echo(path: &Path) {
    let listener = UnixListener::bind(path).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || {
                echo(stream.try_clone().unwrap(), &stream);
                let _ = stream.shutdown(Shutdown::Write);
            });
        }
    });
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Everything goes there and comes back, and what is said after our end arrives, too.
fn talk(mut from: impl Read, mut to: impl Write + Send, end: impl FnOnce() + Send) {
    let mut answer = Vec::new();
    thread::scope(|scope| {
        scope.spawn(move || {
            to.write_all(&NOISE).unwrap();
            to.flush().unwrap();
            end();
        });
        from.read_to_end(&mut answer).unwrap();
    });
    let said = answer.split_off(NOISE.len().min(answer.len()));
    assert!(answer == *NOISE, "{} of {} bytes came back", answer.len(), NOISE.len());
    assert_eq!(String::from_utf8_lossy(&said), format!("={}", NOISE.len()));
}

fn talk_tcp(stream: &TcpStream) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    talk(stream, stream, || stream.shutdown(Shutdown::Write).unwrap());
}

fn talk_unix(stream: &UnixStream) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    talk(stream, stream, || stream.shutdown(Shutdown::Write).unwrap());
}

/// A client that runs until this goes.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        // `timeout` passes the signal on.
        let pid = nix::unistd::Pid::from_raw(self.0.id().try_into().unwrap());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

fn forward(site: &Site<'_>, client: Client, options: &[&str]) -> Running {
    let options: Vec<&str> =
        ["-N", "-o", "ExitOnForwardFailure=yes"].iter().chain(options).copied().collect();
    Running(client(site, &options, &[]).stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap())
}

impl Running {
    /// Connects as soon as the forward listens.
    fn until<T>(&mut self, connect: impl Fn() -> std::io::Result<T>) -> T {
        let mut stream = None;
        wait_until("the forward listens", || {
            assert!(self.0.try_wait().unwrap().is_none(), "the client ended: no forward");
            stream = connect().ok();
            stream.is_some()
        });
        stream.unwrap()
    }
    fn tcp(&mut self, port: u16) -> TcpStream {
        self.until(|| TcpStream::connect(("127.0.0.1", port)))
    }
    fn unix(&mut self, path: &Path) -> UnixStream {
        self.until(|| UnixStream::connect(path))
    }
}

pub fn local(site: &Site<'_>, client: Client) {
    let (port, target) = (free_port(), tcp_echo());
    let mut client = forward(site, client, &["-L", &format!("{port}:127.0.0.1:{target}")]);
    let first = client.tcp(port);
    // A second one while the first is open.
    talk_tcp(&client.tcp(port));
    talk_tcp(&first);
}

pub fn remote(site: &Site<'_>, client: Client) {
    let (port, target) = (free_port(), tcp_echo());
    let mut client = forward(site, client, &["-R", &format!("{port}:127.0.0.1:{target}")]);
    talk_tcp(&client.tcp(port));
}

pub fn remote_any_port(site: &Site<'_>, client: Client) {
    let target = tcp_echo();
    let mut command =
        client(site, &["-N", "-o", "ExitOnForwardFailure=yes", "-R", &format!("0:127.0.0.1:{target}")], &[]);
    command.stdin(Stdio::null()).stderr(Stdio::piped());
    let mut child = Running(command.spawn().unwrap());
    let mut said = BufReader::new(child.0.stderr.take().unwrap()).lines().map_while(Result::ok);
    let port = said
        .find_map(|line| line.split("Allocated port ").nth(1)?.split(' ').next()?.parse().ok())
        .expect("the client says the port");
    talk_tcp(&child.tcp(port));
}

pub fn dynamic(site: &Site<'_>, client: Client) {
    let (port, target) = (free_port(), tcp_echo());
    let mut client = forward(site, client, &["-D", &port.to_string()]);
    let mut stream = client.tcp(port);
    // SOCKS 5 with a name, which is for the far end to look up.
    let mut ask = vec![5, 1, 0, 5, 1, 0, 3, 9];
    ask.extend(b"localhost");
    ask.extend(target.to_be_bytes());
    stream.write_all(&ask).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer[..4], [5, 0, 5, 0], "the proxy says no");
    talk_tcp(&stream);
}

pub fn streamlocal(site: &Site<'_>, client: Client) {
    unix_echo(&site.at("target"));
    let wanted = format!("{}:{}", site.text("here"), site.text("target"));
    let mut client = forward(site, client, &["-L", &wanted]);
    talk_unix(&client.unix(&site.at("here")));
}

pub fn remote_streamlocal(site: &Site<'_>, client: Client) {
    let wanted = format!("{}:127.0.0.1:{}", site.text("there"), tcp_echo());
    let mut client = forward(site, client, &["-R", &wanted]);
    talk_unix(&client.unix(&site.at("there")));
}

/// The client's own standard streams as one connection: `ssh -W`, `dbclient -B`, and how `ProxyJump` works.
pub fn stdio(site: &Site<'_>, client: Client, option: &str) {
    let target = format!("127.0.0.1:{}", tcp_echo());
    let mut child =
        client(site, &[option, &target], &[]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    talk(stdout, stdin, || {});
    child.wait().unwrap();
}
