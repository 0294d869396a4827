//! Whether a process in a container uses the network now, by the kernel's tables of sockets.

use super::{Host, read_text};
use std::io;
use std::path::PathBuf;

/// As the kernel numbers the states of TCP: established, a connection that is being made, either way.
const TALKING: [&str; 3] = ["01", "02", "03"];
const LISTENING: &str = "0A";
const LOOPBACK_V6: &str = "00000000000000000000000001000000";
const MAPPED: &str = "0000000000000000FFFF0000";

/// Whether no process in this process's network namespace has a connection, or a socket bound to its address. Then the
/// address can go and come back without harm. Loopback does not count.
pub fn are_quiet(host: &dyn Host, pid: u32) -> io::Result<bool> {
    let net = PathBuf::from(format!("/proc/{pid}/net"));
    for table in ["tcp", "tcp6", "udp", "udp6"] {
        let text = match read_text(host, &net.join(table)) {
            // A kernel without IPv6.
            Err(error) if error.kind() == io::ErrorKind::NotFound && table.ends_with('6') => continue,
            text => text?,
        };
        if text.lines().skip(1).any(|line| is_talk(line, table.starts_with("tcp"))) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a line such as `0: 0100007F:0016 00000000:0000 0A …` is of such a socket. An unknown line counts as one.
fn is_talk(line: &str, is_tcp: bool) -> bool {
    let mut words = line.split_ascii_whitespace().skip(1);
    let (Some(local), Some(remote), Some(state)) = (words.next(), words.next(), words.next()) else {
        return !line.trim().is_empty();
    };
    let has_own_address = !is_anywhere(local) && !is_loopback(local);
    if is_tcp && !TALKING.contains(&state) {
        return state == LISTENING && has_own_address;
    }
    has_own_address || !is_anywhere(remote) && !is_loopback(remote)
}

fn address(end: &str) -> &str {
    end.split_once(':').map_or(end, |(address, _)| address)
}

fn is_anywhere(end: &str) -> bool {
    address(end).bytes().all(|digit| digit == b'0')
}

/// Words of an address are in the processor's order; Ascend's hosts are little-endian.
fn is_loopback(end: &str) -> bool {
    let address = address(end);
    let v4 = address.strip_prefix(MAPPED).unwrap_or(address);
    address == LOOPBACK_V6 || v4.len() == 8 && v4.ends_with("7F")
}

#[cfg(test)]
mod tests {
    use super::super::FakeHost;
    use super::*;

    const HEAD: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt\n";

    fn quiet(table: &str, line: &str) -> bool {
        let mut host = FakeHost::default();
        for name in ["tcp", "udp"] {
            let text = if name == table { format!("{HEAD}{line}\n") } else { HEAD.to_owned() };
            host = host.with_file(&format!("/proc/7/net/{name}"), &text);
        }
        if table.ends_with('6') {
            host = host.with_file(&format!("/proc/7/net/{table}"), &format!("{HEAD}{line}\n"));
        }
        are_quiet(&host, 7).unwrap()
    }

    #[test]
    fn whoever_has_an_address_of_the_network_is_not_disturbed() {
        for (table, line) in [
            ("tcp", "   0: 00000000:0016 00000000:0000 0A 00000000:00000000"),
            ("tcp", "   0: 0100007F:0016 0100007F:8000 01 00000000:00000000"),
            ("tcp", "   0: 020011AC:0016 010011AC:8000 06 00000000:00000000"),
            (
                "tcp6",
                "   0: 00000000000000000000000000000000:0016 00000000000000000000000000000000:0000 0A 0:0",
            ),
            ("tcp6", "   0: 0000000000000000FFFF00000100007F:0016 0000000000000000FFFF00000100007F:1 01 0:0"),
            ("udp", "   0: 00000000:0044 00000000:0000 07 00000000:00000000"),
        ] {
            assert!(quiet(table, line), "{line}");
        }
        for (table, line) in [
            ("tcp", "   0: 020011AC:0016 010011AC:8000 01 00000000:00000000"),
            ("tcp", "   0: 020011AC:8000 08080808:0035 02 00000000:00000000"),
            ("tcp", "   0: 020011AC:0016 00000000:0000 0A 00000000:00000000"),
            ("tcp6", "   0: 0000000000000000FFFF0000020011AC:0016 0000000000000000FFFF0000010011AC:1 01 0:0"),
            ("udp", "   0: 020011AC:8000 08080808:0035 01 00000000:00000000"),
            ("udp", "   what"),
        ] {
            assert!(!quiet(table, line), "{line}");
        }
        assert!(are_quiet(&FakeHost::default(), 7).is_err());
    }
}
