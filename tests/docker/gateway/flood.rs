//! A flood of whole key exchanges at the gateway: they are computed on its own threads, and calls to the agent go on.

use super::visitor::{fewer_ports, port, start_with};
use crate::rig::{Rig, Setup};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const CLIENTS: usize = 16;
/// Of the server's: its half of the exchange, with its signature.
const REPLY: u8 = 31;

/// A packet in the clear.
fn packet(payload: &[u8]) -> Vec<u8> {
    let padding = 16 - (5 + payload.len()) % 8;
    let mut packet = u32::try_from(1 + payload.len() + padding).unwrap().to_be_bytes().to_vec();
    packet.push(u8::try_from(padding).unwrap());
    packet.extend(payload);
    packet.resize(packet.len() + padding, 0);
    packet
}

/// Always the same, and without any mathematics: version, algorithms, a key. The server has to sign, with its RSA key.
fn hello() -> Vec<u8> {
    let mut offer = vec![20];
    offer.extend([7; 16]);
    let (kex, key, cipher) = ("curve25519-sha256", "rsa-sha2-512", "aes256-gcm@openssh.com");
    let (mac, none) = ("hmac-sha2-256-etm@openssh.com", "none");
    for names in [kex, key, cipher, cipher, mac, mac, none, none, "", ""] {
        offer.extend(u32::try_from(names.len()).unwrap().to_be_bytes());
        offer.extend(names.bytes());
    }
    offer.extend([0; 5]);
    let mut half = vec![30, 0, 0, 0, 32];
    half.resize(5 + 32, 9);
    [b"SSH-2.0-flood\r\n".to_vec(), packet(&offer), packet(&half)].concat()
}

/// Whether the server answered the exchange.
fn exchange(port: u16, hello: &[u8]) -> Option<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    stream.write_all(hello).ok()?;
    let mut byte = [0];
    while byte != *b"\n" {
        stream.read_exact(&mut byte).ok()?;
    }
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length).ok()?;
        let mut packet = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut packet).ok()?;
        if packet.get(1) == Some(&REPLY) {
            return Some(());
        }
    }
}

struct Flood {
    stop: Arc<AtomicBool>,
    made: Arc<AtomicU64>,
    clients: Vec<JoinHandle<()>>,
}

impl Flood {
    fn start(port: u16) -> Self {
        let (stop, made) = (Arc::new(AtomicBool::default()), Arc::new(AtomicU64::default()));
        let client = || {
            let (stop, made, hello) = (Arc::clone(&stop), Arc::clone(&made), hello());
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    if exchange(port, &hello).is_some() {
                        made.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        };
        let clients = (0..CLIENTS).map(|_| client()).collect();
        Self { stop, made, clients }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients.drain(..) {
            client.join().unwrap();
        }
    }
}

/// What the agent's threads have computed so far, in ticks: the gateway's, and all others.
fn computed(rig: &Rig) -> (u64, u64) {
    let tasks = format!("/proc/{}/task", rig.agent.as_ref().unwrap().id());
    let (mut gateway, mut others) = (0, 0);
    for task in std::fs::read_dir(tasks).unwrap().flatten() {
        // A thread may end in between.
        let Ok(stat) = std::fs::read_to_string(task.path().join("stat")) else { continue };
        let (name, rest) = stat.rsplit_once(')').unwrap();
        let ticks =
            rest.split_whitespace().skip(11).take(2).map(|word| word.parse::<u64>().unwrap()).sum::<u64>();
        if name.ends_with("(gateway") { gateway += ticks } else { others += ticks }
    }
    (gateway, others)
}

#[test]
fn a_flood_of_key_exchanges_is_computed_beside_the_agent() {
    let Some(rig) = start_with(Setup { image: "", ..fewer_ports() }) else { return };
    let list = || {
        let began = Instant::now();
        rig.ok(&["list"]);
        began.elapsed()
    };
    let quiet = list();
    let before = computed(&rig);
    let flood = Flood::start(port(&rig));
    let began = Instant::now();
    let mut times = Vec::new();
    while times.len() < 20 || flood.made.load(Ordering::Relaxed) < 200 {
        times.push(list());
        assert!(began.elapsed() < Duration::from_mins(2), "{} exchanges", flood.made.load(Ordering::Relaxed));
    }
    let (made, seconds) = (flood.made.load(Ordering::Relaxed), began.elapsed().as_secs_f64());
    let after = computed(&rig);
    drop(flood);
    times.sort();
    let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
    let (gateway, others) = (after.0 - before.0, after.1 - before.1);
    eprintln!(
        "{made} exchanges in {seconds:.1} s; list {quiet:?} alone, beside them {median:?} (median of {}), {worst:?} (worst); \
         ticks: {gateway} of the gateway's threads, {others} of others",
        times.len()
    );
    assert!(gateway > 4 * others, "{gateway} {others}");
    assert!(worst < Duration::from_secs(3), "{worst:?}");
}
