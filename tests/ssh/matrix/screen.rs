//! A person at a terminal: types, reads, makes the window larger.

use crate::rig::{PATIENCE, wait_until};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

pub struct Screen {
    control: OwnedFd,
    keyboard: File,
    shown: Arc<Mutex<String>>,
    client: Child,
}

impl Screen {
    /// Starts a client on a terminal of 33 by 101.
    pub fn start(client: &Command) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
        let control = openpt(flags).unwrap();
        unlockpt(&control).unwrap();
        let user = ioctl_tiocgptpeer(&control, flags).unwrap();
        // setsid --ctty: the kernel is to tell the client that its terminal changed.
        let mut command = Command::new("setsid");
        // Without the `timeout` before the client, which is to be this very process.
        command.args(["--ctty", "--wait"]).args(client.get_args().skip(1)).env("TERM", "xterm-256color");
        if let Some(dir) = client.get_current_dir() {
            command.current_dir(dir);
        }
        let stdio = || user.try_clone().unwrap();
        resize(&control, 33, 101);
        let client = command.stdin(stdio()).stdout(stdio()).stderr(stdio()).spawn().unwrap();
        drop(user);
        let mut screen = File::from(control.try_clone().unwrap());
        let keyboard = screen.try_clone().unwrap();
        let shown = Arc::new(Mutex::new(String::new()));
        let seen = Arc::clone(&shown);
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = screen.read(&mut buffer) {
                seen.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..count]));
            }
        });
        Self { control, keyboard, shown, client }
    }

    pub fn resize(&self, rows: u16, columns: u16) {
        resize(&self.control, rows, columns);
    }
    pub fn write(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).unwrap();
    }
    pub fn shows(&self, text: &str) -> bool {
        self.shown.lock().unwrap().contains(text)
    }
    pub fn wait_for(&self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.shows(text) {
            assert!(Instant::now() < deadline, "no {text:?} in {:?}", self.shown.lock().unwrap());
            thread::sleep(Duration::from_millis(20));
        }
    }
    /// Types until it shows: what was typed early may have been taken by something else.
    pub fn write_until(&mut self, text: &str, expected: &str) {
        wait_until(&format!("{expected} is shown"), || {
            self.write(text);
            thread::sleep(Duration::from_millis(100));
            self.shows(expected)
        });
    }
    pub fn status(mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.client.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "the client still runs: {:?}", self.shown.lock().unwrap());
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.client.kill();
        let _ = self.client.wait();
    }
}

fn resize(control: &OwnedFd, rows: u16, columns: u16) {
    tcsetwinsize(control, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
}
