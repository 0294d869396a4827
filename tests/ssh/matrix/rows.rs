//! The matrix: what is tried with which client. A cell that is not here is a client that has no such thing.

use super::dropbear::{self, dbclient};
use super::libraries::{net_ssh, phpseclib, ssh2};
use super::openssh::{self, ssh};
use super::putty::{self, plink};
use super::python::{asyncssh, paramiko};
use super::site::Site;
use super::{files, forwards, sessions, transfers};

pub const CLIENTS: [&str; 19] = [
    "ssh",
    "scp",
    "scp -O",
    "sftp",
    "rsync",
    "sshfs",
    "git",
    "dbclient",
    "plink",
    "psftp",
    "curl",
    "lftp",
    "rclone",
    "Ansible",
    "paramiko",
    "asyncssh",
    "ssh2 (node)",
    "phpseclib",
    "net-ssh",
];

/// Panics where the feature is not what it is to be.
pub type Check = fn(&Site<'_>);

#[derive(Clone, Copy)]
pub enum Cell {
    /// Whether it is tried against the servers whose start files print.
    Try(Check, bool),
    /// Only with berth, and why not with sshd.
    Alone(Check, &'static str),
    /// Works with sshd and is known not to with berth, and why.
    Differs(Check, &'static str),
    /// Does not work anywhere, and why.
    Note(&'static str),
}

pub struct Row {
    pub feature: &'static str,
    pub cells: Vec<(&'static str, Cell)>,
}

impl Row {
    fn with(mut self, client: &'static str, cell: Cell) -> Self {
        self.cells.push((client, cell));
        self
    }
}

fn row<const N: usize>(feature: &'static str, cells: [(&'static str, Check); N]) -> Row {
    let cells = cells.into_iter().map(|(client, check)| (client, Cell::Try(check, false))).collect();
    Row { feature, cells }
}

/// What needs the changes to russh in scripts/lib.
pub const OF_CHANGED_RUSSH: [&str; 2] = ["nobody reads", "`-w`"];

pub fn rows() -> Vec<Row> {
    [programs(), shells(), terminals(), connections(), transfers(), forwarding(), ends()]
        .into_iter()
        .flatten()
        .collect()
}

fn programs() -> Vec<Row> {
    vec![
        row(
            "exec with its exit status",
            [
                ("ssh", |s| sessions::status(s, ssh)),
                ("dbclient", |s| sessions::status(s, dbclient)),
                ("paramiko", |s| paramiko(s, "status")),
                ("asyncssh", |s| asyncssh(s, "status")),
                ("plink", |s| sessions::status(s, plink)),
                ("ssh2 (node)", |s| ssh2(s, "status")),
                ("phpseclib", |s| phpseclib(s, "status")),
                ("net-ssh", |s| net_ssh(s, "status")),
            ],
        ),
        row("output that nobody reads any more ends the program", [("ssh", openssh::unread_output)]),
        row("exit by a signal", [("ssh", openssh::killed), ("asyncssh", |s| asyncssh(s, "killed"))]),
        row(
            "input ends before output (half-close)",
            [
                ("ssh", |s| sessions::half_close(s, ssh)),
                ("dbclient", |s| sessions::half_close(s, dbclient)),
                ("paramiko", |s| paramiko(s, "half_close")),
                ("asyncssh", |s| asyncssh(s, "half_close")),
                ("plink", |s| sessions::half_close(s, plink)),
                ("ssh2 (node)", |s| ssh2(s, "half_close")),
            ],
        ),
        row(
            "standard error apart, nothing else in it",
            [
                ("ssh", |s| {
                    sessions::stderr_apart(s, ssh);
                    openssh::banner(s);
                }),
                ("dbclient", |s| sessions::stderr_apart(s, dbclient)),
                ("paramiko", |s| paramiko(s, "stderr")),
                ("asyncssh", |s| asyncssh(s, "stderr")),
                ("plink", |s| sessions::stderr_apart(s, plink)),
                ("ssh2 (node)", |s| ssh2(s, "stderr")),
                ("phpseclib", |s| phpseclib(s, "stderr")),
                ("net-ssh", |s| net_ssh(s, "stderr")),
            ],
        ),
        row(
            "large output intact",
            [
                ("ssh", |s| sessions::large_output(s, ssh)),
                ("dbclient", |s| sessions::large_output(s, dbclient)),
                ("paramiko", |s| paramiko(s, "output")),
                ("asyncssh", |s| asyncssh(s, "output")),
                ("plink", |s| sessions::large_output(s, plink)),
                ("ssh2 (node)", |s| ssh2(s, "both_ways")),
                ("phpseclib", |s| phpseclib(s, "output")),
                ("net-ssh", |s| net_ssh(s, "output")),
            ],
        ),
        row(
            "large input intact",
            [
                ("ssh", |s| sessions::large_input(s, ssh)),
                ("dbclient", |s| sessions::large_input(s, dbclient)),
                ("paramiko", |s| paramiko(s, "input")),
                ("asyncssh", |s| asyncssh(s, "input")),
                ("plink", |s| sessions::large_input(s, plink)),
                ("ssh2 (node)", |s| ssh2(s, "both_ways")),
            ],
        ),
        row(
            "all 256 bytes, both ways",
            [
                ("ssh", |s| sessions::eight_bit(s, ssh)),
                ("dbclient", |s| sessions::eight_bit(s, dbclient)),
                ("paramiko", |s| paramiko(s, "eight_bit")),
                ("asyncssh", |s| asyncssh(s, "eight_bit")),
                ("plink", |s| sessions::eight_bit(s, plink)),
            ],
        ),
    ]
}

fn shells() -> Vec<Row> {
    vec![
        row(
            "a script on the input (`bash -s`)",
            [
                ("ssh", |s| sessions::script_on_stdin(s, ssh)),
                ("dbclient", |s| sessions::script_on_stdin(s, dbclient)),
                ("paramiko", |s| paramiko(s, "script")),
                ("asyncssh", |s| asyncssh(s, "script")),
            ],
        ),
        row(
            "login shell",
            [
                ("ssh", |s| sessions::shell(s, ssh)),
                ("dbclient", |s| sessions::shell(s, dbclient)),
                ("paramiko", |s| paramiko(s, "shell")),
                ("asyncssh", |s| asyncssh(s, "shell")),
            ],
        ),
        row(
            "variables (`SetEnv`)",
            [
                ("ssh", openssh::environment),
                ("paramiko", |s| paramiko(s, "environment")),
                ("asyncssh", |s| asyncssh(s, "environment")),
            ],
        ),
        row("signals", []).with("asyncssh", Cell::Alone(|s| asyncssh(s, "signals"), SIGNALS)),
    ]
}

fn terminals() -> Vec<Row> {
    vec![
        row(
            "terminal: size, `TERM`, name",
            [
                ("ssh", |s| sessions::terminal(s, ssh)),
                ("dbclient", |s| sessions::terminal(s, dbclient)),
                ("paramiko", |s| paramiko(s, "terminal")),
                ("asyncssh", |s| asyncssh(s, "terminal")),
            ],
        ),
        row(
            "terminal: window change",
            [
                ("ssh", |s| sessions::window_change(s, ssh)),
                ("dbclient", |s| sessions::window_change(s, dbclient)),
                ("paramiko", |s| paramiko(s, "window")),
                ("asyncssh", |s| asyncssh(s, "window")),
            ],
        ),
        row(
            "terminal: Ctrl-C",
            [
                ("ssh", |s| sessions::ctrl_c(s, ssh)),
                ("dbclient", |s| sessions::ctrl_c(s, dbclient)),
                ("paramiko", |s| paramiko(s, "ctrl_c")),
                ("asyncssh", |s| asyncssh(s, "ctrl_c")),
            ],
        ),
    ]
}

fn connections() -> Vec<Row> {
    vec![
        row(
            "a channel that is stuck holds up no other",
            [
                ("ssh", openssh::no_head_of_line),
                ("paramiko", |s| paramiko(s, "channels")),
                ("asyncssh", |s| asyncssh(s, "channels")),
            ],
        ),
        row("many sessions on one connection (`ControlMaster`)", [("ssh", openssh::multiplexing)]),
        row(
            "keepalive of the client",
            [
                ("ssh", openssh::keepalive),
                ("dbclient", dropbear::keepalive),
                ("paramiko", |s| paramiko(s, "keepalive")),
                ("asyncssh", |s| asyncssh(s, "keepalive")),
            ],
        ),
        row(
            "rekeying under load",
            [
                ("ssh", |s| {
                    openssh::rekeying_down(s);
                    openssh::rekeying_up(s);
                }),
                ("paramiko", |s| paramiko(s, "rekeying")),
            ],
        )
        .with("asyncssh", Cell::Differs(|s| asyncssh(s, "rekeying"), REKEYING)),
        row(
            "compression",
            [
                ("ssh", openssh::compression),
                ("paramiko", |s| paramiko(s, "compression")),
                ("asyncssh", |s| asyncssh(s, "compression")),
            ],
        ),
    ]
}

fn transfers() -> Vec<Row> {
    let mut printing = row(
        "a start file that prints spoils nothing",
        [
            ("scp", |s| files::scp_both_ways(s, &[])),
            ("sftp", files::sftp_both_ways),
            ("sshfs", files::sshfs_both_ways),
            ("paramiko", |s| paramiko(s, "sftp_files")),
            ("asyncssh", |s| asyncssh(s, "sftp_files")),
        ],
    );
    for (_, cell) in &mut printing.cells {
        if let Cell::Try(_, noisy) = cell {
            *noisy = true;
        }
    }
    for client in ["scp -O", "rsync", "git"] {
        printing.cells.push((client, Cell::Note(PRINTING)));
    }
    vec![
        row(
            "files both ways, intact",
            [
                ("scp", |s| files::scp_both_ways(s, &[])),
                ("scp -O", |s| files::scp_both_ways(s, &["-O"])),
                ("sftp", files::sftp_both_ways),
                ("rsync", files::rsync_both_ways),
                ("sshfs", files::sshfs_both_ways),
                ("git", files::git_both_ways),
                ("paramiko", |s| paramiko(s, "sftp_files")),
                ("asyncssh", |s| asyncssh(s, "sftp_files")),
                ("psftp", putty::psftp_both_ways),
                ("curl", transfers::curl_both_ways),
                ("lftp", transfers::lftp_both_ways),
                ("rclone", transfers::rclone_both_ways),
                ("Ansible", transfers::ansible_both_ways),
                ("ssh2 (node)", |s| ssh2(s, "files")),
                ("phpseclib", |s| phpseclib(s, "files")),
                ("net-ssh", |s| net_ssh(s, "files")),
            ],
        ),
        row(
            "list, rename, links, remove",
            [
                ("sftp", files::sftp_list_and_rename),
                ("sshfs", files::sshfs_list_and_rename),
                ("paramiko", |s| paramiko(s, "sftp_list")),
                ("asyncssh", |s| asyncssh(s, "sftp_list")),
                ("psftp", putty::psftp_list_and_rename),
                ("curl", transfers::curl_list_and_rename),
                ("lftp", transfers::lftp_list_and_rename),
                ("rclone", transfers::rclone_list_and_rename),
                ("ssh2 (node)", |s| ssh2(s, "list")),
                ("phpseclib", |s| phpseclib(s, "list")),
                ("net-ssh", |s| net_ssh(s, "list")),
            ],
        ),
        row(
            "directories with modes and times",
            [
                ("scp", |s| files::scp_trees(s, &[])),
                ("scp -O", |s| files::scp_trees(s, &["-O"])),
                ("sftp", files::sftp_trees),
                ("rsync", files::rsync_trees),
                ("sshfs", files::sshfs_trees),
                ("asyncssh", |s| asyncssh(s, "trees")),
                ("lftp", transfers::lftp_trees),
            ],
        ),
        printing,
    ]
}

const REKEYING: &str = "the asyncssh 2.10 of Debian 12 goes on sending data while keys are exchanged, which RFC 4253 \
                        forbids: OpenSSH overlooks it, berth ends the connection; newer versions of asyncssh wait";
const SIGNALS: &str = "tried with berth alone: OpenSSH's sshd passes no signals on in a session of root";
const PRINTING: &str =
    "these run a program through the shell: what `~/.bashrc` prints comes first, as with OpenSSH";

fn forwarding() -> Vec<Row> {
    vec![
        row(
            "`-L`: a port of the berth here",
            [
                ("ssh", |s| forwards::local(s, ssh)),
                ("dbclient", |s| forwards::local(s, dbclient)),
                ("paramiko", |s| paramiko(s, "local_forward")),
                ("asyncssh", |s| asyncssh(s, "local_forward")),
                ("plink", |s| forwards::local(s, plink)),
                ("ssh2 (node)", |s| ssh2(s, "local_forward")),
                ("net-ssh", |s| net_ssh(s, "local_forward")),
            ],
        ),
        row(
            "`-D`: SOCKS",
            [("ssh", |s| forwards::dynamic(s, ssh)), ("asyncssh", |s| asyncssh(s, "dynamic"))],
        ),
        row(
            "`-W`: one connection as input and output",
            [
                ("ssh", |s| forwards::stdio(s, ssh, "-W")),
                ("dbclient", |s| forwards::stdio(s, dbclient, "-B")),
            ],
        ),
        row(
            "one server through another (`-J`)",
            [("ssh", openssh::two_hops), ("dbclient", dropbear::two_hops)],
        ),
        row(
            "`-R`: a port of mine there",
            [
                ("ssh", |s| forwards::remote(s, ssh)),
                ("dbclient", |s| forwards::remote(s, dbclient)),
                ("paramiko", |s| paramiko(s, "remote_forward")),
                ("plink", |s| forwards::remote(s, plink)),
            ],
        ),
        row(
            "`-R 0`: any free port",
            [
                ("ssh", |s| forwards::remote_any_port(s, ssh)),
                ("paramiko", |s| paramiko(s, "remote_forward_any")),
                ("asyncssh", |s| asyncssh(s, "remote_forward_any")),
            ],
        ),
        row(
            "`-L` of a socket",
            [
                ("ssh", |s| forwards::streamlocal(s, ssh)),
                ("asyncssh", |s| asyncssh(s, "streamlocal")),
                ("ssh2 (node)", |s| ssh2(s, "streamlocal")),
            ],
        ),
        row(
            "`-R` of a socket",
            [
                ("ssh", |s| forwards::remote_streamlocal(s, ssh)),
                ("asyncssh", |s| asyncssh(s, "remote_streamlocal")),
                ("ssh2 (node)", |s| ssh2(s, "remote_streamlocal")),
            ],
        ),
        row(
            "agent forwarding",
            [
                ("ssh", openssh::agent),
                ("dbclient", dropbear::agent),
                ("paramiko", |s| paramiko(s, "agent")),
                ("asyncssh", |s| asyncssh(s, "agent")),
            ],
        ),
        row(
            "X11 is refused, the session goes on",
            [
                ("ssh", openssh::x11_refused),
                ("paramiko", |s| paramiko(s, "x11")),
                ("asyncssh", |s| asyncssh(s, "x11")),
            ],
        ),
        row(
            "`-w` (unknown channels) is refused, the session goes on",
            [("ssh", openssh::tunnel_refused), ("paramiko", |s| paramiko(s, "unknown_channels"))],
        ),
    ]
}

fn ends() -> Vec<Row> {
    vec![
        row(
            "the client goes away: SIGHUP",
            [
                ("ssh", |s| sessions::hangup(s, ssh)),
                ("dbclient", |s| sessions::hangup(s, dbclient)),
                ("paramiko", |s| paramiko(s, "hangup")),
                ("asyncssh", |s| asyncssh(s, "hangup")),
            ],
        ),
        row(
            "`tmux` and `nohup` stay",
            [("ssh", |s| sessions::detached(s, ssh)), ("dbclient", |s| sessions::detached(s, dbclient))],
        ),
    ]
}
