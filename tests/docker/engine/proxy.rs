//! A socket in front of the engine: it can be switched off, make the engine look older, and cut an answer short.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

#[derive(Clone, Default)]
pub struct Changes {
    /// The API version that the engine claims to speak, as long as its real one.
    pub api: Option<&'static str>,
    /// Answers to requests whose first line has this text end after this many bytes.
    pub cut: Option<(&'static str, usize)>,
}

pub struct Proxy {
    path: PathBuf,
    off: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<UnixStream>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    pub fn start(path: PathBuf, engine: &Path, changes: Option<Changes>) -> Self {
        let listener = UnixListener::bind(&path).unwrap();
        let proxy = Self { path, off: Arc::default(), open: Arc::default(), asked: Arc::default() };
        let (off, open, asked) = (proxy.off.clone(), proxy.open.clone(), proxy.asked.clone());
        let engine = engine.to_path_buf();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { return };
                if off.load(Ordering::SeqCst) {
                    return;
                }
                let server = UnixStream::connect(&engine).unwrap();
                open.lock().unwrap().extend([client.try_clone().unwrap(), server.try_clone().unwrap()]);
                let (changes, asked) = (changes.clone().unwrap_or_default(), asked.clone());
                std::thread::spawn(move || serve(&client, server, &changes, &asked));
            }
        });
        proxy
    }

    /// The first lines of all requests so far.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    pub fn stop(self) {
        self.off.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _ = UnixStream::connect(&self.path);
        std::fs::remove_file(&self.path).unwrap();
        for stream in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn serve(client: &UnixStream, server: UnixStream, changes: &Changes, asked: &Mutex<Vec<String>>) {
    let mut from_client = BufReader::new(client.try_clone().unwrap());
    let mut first = String::new();
    if from_client.read_line(&mut first).is_err() {
        return;
    }
    asked.lock().unwrap().push(first.trim_end().to_owned());
    let mut to_server = server.try_clone().unwrap();
    let line = first.clone();
    std::thread::spawn(move || {
        let _ = to_server.write_all(line.as_bytes());
        let _ = std::io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Write);
    });
    answer(client, server, &first, changes);
    let _ = client.shutdown(Shutdown::Both);
}

fn answer(mut client: &UnixStream, mut server: UnixStream, first: &str, changes: &Changes) {
    let mut room =
        changes.cut.filter(|(text, _)| first.contains(text)).map_or(usize::MAX, |(_, bytes)| bytes);
    let mut buffer = [0; 16 << 10];
    while let Ok(read) = server.read(&mut buffer) {
        let mut chunk = buffer[..read.min(room)].to_vec();
        if first.starts_with("GET /version") {
            chunk = older(chunk, changes.api);
        }
        if client.write_all(&chunk).is_err() || read == 0 || read >= room {
            break;
        }
        room -= read;
    }
    let _ = server.shutdown(Shutdown::Both);
}

fn older(chunk: Vec<u8>, api: Option<&str>) -> Vec<u8> {
    let Some(api) = api else { return chunk };
    let mut text = String::from_utf8(chunk).unwrap();
    for key in ["\"ApiVersion\":\"", "Api-Version: "] {
        let starts: Vec<usize> = text.match_indices(key).map(|(at, _)| at + key.len()).collect();
        for start in starts {
            text.replace_range(start..start + api.len(), api);
        }
    }
    text.into_bytes()
}
