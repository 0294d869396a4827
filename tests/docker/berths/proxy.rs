//! A socket in front of the engine that can die at one call, as an engine does, and come back.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// When the engine dies.
#[derive(Clone, Copy, Debug)]
pub enum Dies {
    Never,
    /// The call with this text in its first line never reaches it.
    Before(&'static str),
    /// It does the work, and its answer is lost.
    After(&'static str),
}

pub struct Proxy(Arc<Shared>);

struct Shared {
    path: PathBuf,
    engine: PathBuf,
    dies: Dies,
    dead: AtomicBool,
    open: Mutex<Vec<UnixStream>>,
}

impl Proxy {
    pub fn start(path: &Path, engine: &Path, dies: Dies) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let shared = Arc::new(Shared {
            path: path.to_owned(),
            engine: engine.to_owned(),
            dies,
            dead: AtomicBool::new(false),
            open: Mutex::default(),
        });
        let accepting = shared.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if accepting.dead.load(Ordering::SeqCst) {
                    return;
                }
                accepting.serve(client);
            }
        });
        Self(shared)
    }

    pub fn is_dead(&self) -> bool {
        self.0.dead.load(Ordering::SeqCst)
    }

    pub fn stop(&self) {
        self.0.die();
    }
}

impl Shared {
    fn serve(self: &Arc<Self>, client: UnixStream) {
        let server = UnixStream::connect(&self.engine).unwrap();
        self.open.lock().unwrap().extend([client.try_clone().unwrap(), server.try_clone().unwrap()]);
        let lost = Arc::new(AtomicBool::new(false));
        let (shared, told) = (self.clone(), lost.clone());
        let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        std::thread::spawn(move || {
            pump(from, to, |chunk| {
                let has = |text: &str| String::from_utf8_lossy(chunk).contains(text);
                match shared.dies {
                    Dies::Before(text) if has(text) => {
                        shared.die();
                        return false;
                    }
                    Dies::After(text) if has(text) => told.store(true, Ordering::SeqCst),
                    _ => {}
                }
                true
            });
        });
        let shared = self.clone();
        std::thread::spawn(move || {
            pump(server, client, |_| {
                let lost = lost.load(Ordering::SeqCst);
                if lost {
                    shared.die();
                }
                !lost
            });
        });
    }

    /// Nothing answers any more, as when a daemon is killed: its socket file stays.
    fn die(&self) {
        if self.dead.swap(true, Ordering::SeqCst) {
            return;
        }
        let _ = UnixStream::connect(&self.path);
        for stream in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn pump(mut from: UnixStream, mut to: UnixStream, mut keep: impl FnMut(&[u8]) -> bool) {
    let mut buffer = [0; 16 << 10];
    while let Ok(read) = from.read(&mut buffer) {
        if read == 0 || !keep(&buffer[..read]) || to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
