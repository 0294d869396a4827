//! A session that has to go on answering, whatever others do to the server.

use crate::rig::{PATIENCE, Server};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::Instant;

pub struct Live {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    asked: u32,
}

impl Live {
    pub fn start(server: &Server, options: &[&str]) -> Self {
        let mut child = server
            .client(options, &["while read line; do echo $line; done"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (to, from) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut live = Self { child, to, from, asked: 0 };
        live.answers();
        live
    }

    /// It answers, and soon.
    pub fn answers(&mut self) {
        self.asked += 1;
        let question = format!("{}\n", self.asked);
        let asked = Instant::now();
        self.to.write_all(question.as_bytes()).unwrap();
        let mut answer = String::new();
        self.from.read_line(&mut answer).unwrap();
        assert_eq!(answer, question);
        assert!(asked.elapsed() < PATIENCE / 4, "it took {:?}", asked.elapsed());
    }

    /// Waits until the server ends it; returns what the client said.
    pub fn ends(self) -> String {
        let Self { child, to, .. } = self;
        let ended = child.wait_with_output().unwrap();
        drop(to);
        String::from_utf8_lossy(&ended.stderr).into_owned()
    }
}
