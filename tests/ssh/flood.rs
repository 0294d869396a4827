//! A flood of half-open connections does not stop a login, from wherever it comes. Needs root and ssh.

use crate::rig::{PATIENCE, Server, Setup, wait_until};
use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// As many connections the flood keeps open, if it can: more than the server has places.
const OPEN: usize = 2500;

/// One flood at a time, or they keep each other from the processor.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Connections as fast as they can be made, from addresses of 127.0.0.0/8, or all from 127.0.0.1.
struct Flood {
    stop: Arc<AtomicBool>,
    made: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    fn start(port: u16, hello: &'static [u8], many_addresses: bool) -> Self {
        let (stop, made) = (Arc::new(AtomicBool::default()), Arc::new(AtomicU64::default()));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&made));
        let thread = std::thread::spawn(move || {
            let mut open = VecDeque::new();
            while !stopped.load(Ordering::Relaxed) {
                let number = count.fetch_add(1, Ordering::Relaxed);
                let [.., a, b, c] = number.to_be_bytes();
                let from = if many_addresses { [127, a, b, c.max(2)] } else { [127, 0, 0, 1] };
                if let Some(mut stream) = connect(from, port) {
                    // The server may have had to let it go already.
                    let _ = stream.write_all(hello);
                    open.push_back(stream);
                }
                if open.len() > OPEN {
                    open.pop_front();
                }
            }
        });
        Self { stop, made, thread: Some(thread) }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// A flood does not wait: where the server's queue is full, the kernel would try again a second later.
fn connect(from: [u8; 4], port: u16) -> Option<TcpStream> {
    use rustix::io::Errno;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with, sockopt};
    const NO_LONGER: Duration = Duration::from_millis(20);
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::NONBLOCK, None).ok()?;
    sockopt::set_socket_reuseaddr(&socket, true).ok()?;
    bind(&socket, &SocketAddr::from((from, 0))).ok()?;
    let (server, began) = (SocketAddr::from(([127, 0, 0, 1], port)), Instant::now());
    loop {
        match connect(&socket, &server) {
            Ok(()) | Err(Errno::ISCONN) => break,
            Err(Errno::INPROGRESS | Errno::ALREADY) if began.elapsed() < NO_LONGER => {
                std::thread::yield_now();
            }
            Err(_) => return None,
        }
    }
    let stream = TcpStream::from(socket);
    stream.set_nonblocking(false).ok()?;
    Some(stream)
}

/// Logs in again and again while the flood runs; a client that waits for long counts as turned away.
fn logs_in_during(server: &Server, flood: &Flood) {
    let before = flood.made.load(Ordering::Relaxed);
    let during = || flood.made.load(Ordering::Relaxed) - before;
    let began = Instant::now();
    let mut logins = 0;
    // On a fast machine three are over before it was a flood.
    while logins < 3 || during() <= 1000 && began.elapsed() < PATIENCE {
        logins += 1;
        let started = Instant::now();
        let output = server.client(&["-o", "ConnectTimeout=30"], &["echo in"]).output().unwrap();
        assert_eq!(output.stdout, b"in\n", "{output:?}\n{}", server.log());
        assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    }
    assert!(during() > 1000, "this was no flood: {} connections", during());
}

fn full(server: &Server) -> bool {
    server.events().contains("made room")
}

/// What a client sends without any mathematics: its version and its algorithms, always the same.
fn half_way() -> Vec<u8> {
    let mut payload = vec![20];
    payload.extend([7; 16]);
    let (kex, key, cipher) = ("curve25519-sha256", "ssh-ed25519", "aes256-gcm@openssh.com");
    let (mac, none) = ("hmac-sha2-256-etm@openssh.com", "none");
    for names in [kex, key, cipher, cipher, mac, mac, none, none, "", ""] {
        payload.extend(u32::try_from(names.len()).unwrap().to_be_bytes());
        payload.extend(names.bytes());
    }
    payload.extend([0; 5]);
    let mut bytes = b"SSH-2.0-flood\r\n".to_vec();
    bytes.extend(packet(&payload));
    bytes
}

/// As far as a client gets with a key that is always the same; the server has to do its mathematics.
fn expensive() -> Vec<u8> {
    let mut payload = vec![30, 0, 0, 0, 32, 9];
    payload.resize(5 + 32, 0);
    [half_way(), packet(&payload)].concat()
}

/// A packet in the clear.
fn packet(payload: &[u8]) -> Vec<u8> {
    let padding = 16 - (5 + payload.len()) % 8;
    let mut packet = u32::try_from(1 + payload.len() + padding).unwrap().to_be_bytes().to_vec();
    packet.push(u8::try_from(padding).unwrap());
    packet.extend(payload);
    packet.resize(packet.len() + padding, 0);
    packet
}

#[test]
fn a_silent_flood_from_everywhere_does_not_stop_a_login() {
    let _alone = alone();
    let server = Setup::default().start();
    let flood = Flood::start(server.port, b"", true);
    wait_until("the places are taken", || full(&server));
    logs_in_during(&server, &flood);
}

#[test]
fn a_silent_flood_from_ones_own_address_does_not_stop_a_login() {
    let _alone = alone();
    let server = Setup::default().start();
    let flood = Flood::start(server.port, b"", false);
    wait_until("the places are taken", || full(&server));
    logs_in_during(&server, &flood);
}

#[test]
fn a_flood_that_speaks_ssh_does_not_stop_a_login() {
    let _alone = alone();
    for many_addresses in [true, false] {
        let server = Setup::default().start();
        let flood = Flood::start(server.port, b"SSH-2.0-flood\r\n", many_addresses);
        wait_until("the places are taken", || full(&server));
        logs_in_during(&server, &flood);
        drop(flood);
        let server = Setup::default().start();
        let flood = Flood::start(server.port, half_way().leak(), many_addresses);
        wait_until("the places are taken", || full(&server));
        logs_in_during(&server, &flood);
    }
}

#[test]
fn a_flood_that_makes_the_server_compute_does_not_stop_a_login() {
    let _alone = alone();
    let server = Setup::default().start();
    let flood = Flood::start(server.port, expensive().leak(), false);
    wait_until("the places are taken", || full(&server));
    logs_in_during(&server, &flood);
}

#[test]
fn a_flood_costs_bounded_memory_and_leaves_sessions_alone() {
    let _alone = alone();
    let server = Setup::default().start();
    let mut session = server
        .client(&[], &["while read line; do echo $line; done"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let (mut to, mut from) = (session.stdin.take().unwrap(), session.stdout.take().unwrap());
    let mut answers = |number: u8| {
        let asked = Instant::now();
        to.write_all(&[b'0' + number, b'\n']).unwrap();
        let mut answer = [0; 2];
        from.read_exact(&mut answer).unwrap();
        assert_eq!(answer, [b'0' + number, b'\n']);
        assert!(asked.elapsed() < PATIENCE / 4, "{:?}", asked.elapsed());
    };
    answers(0);
    let before = server.peak_memory();
    let flood = Flood::start(server.port, b"SSH-2.0-flood\r\n", true);
    for number in 1..10 {
        answers(number);
        let made = flood.made.load(Ordering::Relaxed);
        wait_until("the flood goes on", || flood.made.load(Ordering::Relaxed) > made + 500);
    }
    drop(flood);
    drop(to);
    session.wait().unwrap();
    // 1024 that wait, of 50 KiB each, and those on their way out: how many depends on how fast the machine is.
    let grown = server.peak_memory() - before;
    assert!(grown < 64 << 10, "{grown} KiB more than the {before} KiB before");
    // Strangers are counted, not told one by one.
    assert!(server.log().lines().count() < 200, "{}", server.log().lines().count());
}

#[test]
fn who_has_to_make_room_is_told_why() {
    let _alone = alone();
    let server = Setup::default().start();
    let address: SocketAddr = ([127, 0, 0, 1], server.port).into();
    let mut first = TcpStream::connect(address).unwrap();
    first.set_read_timeout(Some(PATIENCE)).unwrap();
    let flood: Vec<_> = (0..1024).map(|_| TcpStream::connect(address).unwrap()).collect();
    let mut said = Vec::new();
    first.read_to_end(&mut said).unwrap();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(said.contains("too many connections have not logged in yet: try again"), "{said:?}");
    drop(flood);
}
