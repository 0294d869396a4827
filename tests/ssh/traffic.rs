//! The server inside tells how much it carried: what an idle berth is told from.

use crate::rig::{Server, Setup, wait_until};
use std::io::Write;
use std::process::Stdio;

const SESSION: &str = r#"{"schema": 1, "traffic_seconds": 1}"#;

/// Bytes received, sent and typed in all lines so far.
fn carried(server: &Server) -> [u64; 3] {
    let mut sums = [0; 3];
    for line in server.events().lines().filter(|line| line.starts_with("{\"berth-traffic\":1,")) {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        for (sum, key) in sums.iter_mut().zip(["received", "sent", "typed"]) {
            *sum += line[key].as_u64().unwrap();
        }
    }
    sums
}

#[test]
fn what_programs_and_people_send_is_counted() {
    let server = Setup { session: SESSION, ..Setup::default() }.start();
    assert!(
        server.run_with_input("cat > /dev/null; head -c 100000 /dev/zero", &[b'x'; 5000]).status.success()
    );
    wait_until("a program's bytes are told", || carried(&server) == [5000, 100_000, 0]);
    let mut client = server.client(&["-tt"], &["head -n 1 > /dev/null"]);
    let mut child = client.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"a line\n").unwrap();
    assert!(child.wait().unwrap().success());
    wait_until("what was typed is told", || carried(&server)[2] == 7);
    // Nothing is counted twice, and a connection that nobody uses carries nothing.
    let before = carried(&server);
    let mut open = server.client(&["-N"], &[]).stdin(Stdio::null()).spawn().unwrap();
    let lines = server.events().lines().count();
    wait_until("some more lines", || server.events().lines().count() > lines + 3);
    assert_eq!(carried(&server), before);
    open.kill().unwrap();
    open.wait().unwrap();
}
