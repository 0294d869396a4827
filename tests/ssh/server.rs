//! The SSH server of a berth against real clients: OpenSSH and dropbear. Needs root, ssh, dbclient, busybox-static.

use crate::rig::{PATIENCE, Server, Setup, wait_until};
use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

pub fn start() -> Server {
    Setup::default().start()
}

/// Bytes that do not compress and do not repeat.
fn noise(count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    fs::File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
    bytes
}

#[test]
fn a_command_has_its_status_and_its_streams_apart() {
    let server = start();
    let output = server.run("echo out; echo err >&2; exit 7");
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(output.stdout, b"out\n");
    assert!(output.stderr.ends_with(b"err\n"), "{output:?}");
    assert!(!output.stdout.windows(3).any(|window| window == b"err"));
    assert_eq!(server.run("/no/such/program").status.code(), Some(127));
}

#[test]
fn ten_megabytes_arrive_whole_both_ways() {
    let server = start();
    let data = noise(10_000_000);
    fs::write(server.dir.path().join("data"), &data).unwrap();
    let down = server.run(&format!("cat {}", server.dir.path().join("data").display()));
    assert!(down.stdout == data, "{} bytes came down", down.stdout.len());
    let up = server.run_with_input("sha256sum", &data);
    let sum = Command::new("sha256sum").arg(server.dir.path().join("data")).output().unwrap().stdout;
    assert_eq!(up.stdout[..64], sum[..64]);
}

#[test]
fn input_and_output_at_once_do_not_wait_for_each_other() {
    let server = start();
    let data = noise(20_000_000);
    assert!(server.run_with_input("cat", &data).stdout == data);
}

#[test]
fn the_tail_of_the_output_is_never_lost() {
    let server = start();
    for _ in 0..5 {
        let output = server.run("head -c 3000000 /dev/zero; exit 7");
        assert_eq!((output.stdout.len(), output.status.code()), (3_000_000, Some(7)));
    }
}

#[test]
fn a_program_that_does_not_read_stops_only_its_own_input() {
    let server = start();
    let socket = server.dir.path().join("mux").display().to_string();
    let go = server.dir.path().join("go");
    let mux = ["-o", "ControlMaster=auto", "-o", &format!("ControlPath={socket}")];
    let waits = format!("echo ready; while [ ! -e {} ]; do sleep 0.05; done; wc -c", go.display());
    let mut stuck =
        server.client(&mux, &[&waits]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut ready = [0; 6];
    let mut output = stuck.stdout.take().unwrap();
    output.read_exact(&mut ready).unwrap();
    let mut input = stuck.stdin.take().unwrap();
    let writer = std::thread::spawn(move || {
        let block = vec![0; 1 << 20];
        (0..100).try_for_each(|_| input.write_all(&block))
    });
    for _ in 0..5 {
        let other =
            server.client(&mux, &["head -c 1000000 /dev/zero"]).stdin(Stdio::null()).output().unwrap();
        assert_eq!(other.stdout.len(), 1_000_000, "{}", server.log());
    }
    fs::write(go, "").unwrap();
    let mut count = String::new();
    output.read_to_string(&mut count).unwrap();
    writer.join().unwrap().unwrap();
    assert_eq!(count.trim(), (100 << 20).to_string());
    stuck.wait().unwrap();
    assert!(server.peak_memory() < 80 << 10, "{} KiB", server.peak_memory());
}

#[test]
fn a_terminal_has_a_size_that_follows_the_client() {
    use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
    let server = start();
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    unlockpt(&ours).unwrap();
    let theirs = ioctl_tiocgptpeer(&ours, OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    let resize = |rows, columns| {
        let size = rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&ours, size).unwrap();
    };
    resize(40, 100);
    // setsid --ctty: the client has to be told by the kernel that its terminal changed.
    let ssh = server.client(&["-tt"], &["sh"]);
    let mut client = Command::new("setsid")
        .args(["--ctty", "--wait"])
        .args(ssh.get_args().skip(1))
        .stdin(theirs.try_clone().unwrap())
        .stdout(theirs.try_clone().unwrap())
        .stderr(theirs)
        .spawn()
        .unwrap();
    let mut screen = fs::File::from(ours.try_clone().unwrap());
    let mut keyboard = screen.try_clone().unwrap();
    let seen = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    let shown = std::sync::Arc::clone(&seen);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = screen.read(&mut buffer) {
            shown.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    });
    for (rows, columns) in [(40, 100), (50, 120)] {
        resize(rows, columns);
        wait_until(&format!("the size is {rows} {columns}: {}", seen.lock().unwrap()), || {
            keyboard.write_all(b"stty size\n").unwrap();
            seen.lock().unwrap().contains(&format!("{rows} {columns}"))
        });
    }
    keyboard.write_all(b"exit 5\n").unwrap();
    assert_eq!(client.wait().unwrap().code(), Some(5));
}

#[test]
fn a_terminal_belongs_to_the_user_and_loses_no_output() {
    let server =
        Setup { session: r#"{"schema": 1, "users": ["nobody"]}"#, user: "nobody", ..Setup::default() };
    let server = server.start();
    let command = "stat -c %U $SSH_TTY; echo $TERM; tty </dev/tty; seq 1 20000; exit 3";
    let output =
        server.client(&["-tt"], &[command]).env("TERM", "xterm").stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(3), "{text}");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..3], ["nobody", "xterm", "/dev/tty"]);
    assert_eq!(*lines.last().unwrap(), "20000");
}

#[test]
fn a_login_shell_is_a_login_shell() {
    let server = start();
    let output = server.run_with_input("", b"echo $0; exit 4\n");
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("-bash\n"), "{output:?}");
}

#[test]
fn the_environment_is_the_containers_the_berths_and_a_little_of_the_clients() {
    let setup = Setup {
        session: r#"{"schema": 1, "environment": {"ASCEND_VISIBLE_DEVICES": "2,3"}}"#,
        environment: &[("LD_LIBRARY_PATH", "/usr/local/Ascend/lib64")],
        ..Setup::default()
    };
    let server = setup.start();
    let set = "SetEnv=LANG=zh_CN.UTF-8 LC_ALL=C LD_PRELOAD=/evil.so BASH_ENV=/evil";
    let output = server.client(&["-o", set], &["env"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let has = |line: &str| text.lines().any(|found| found == line);
    for line in ["ASCEND_VISIBLE_DEVICES=2,3", "LD_LIBRARY_PATH=/usr/local/Ascend/lib64", "LANG=zh_CN.UTF-8"]
    {
        assert!(has(line), "{line} is not in\n{text}");
    }
    assert!(has("LC_ALL=C") && has("USER=root") && has("HOME=/root"), "{text}");
    assert!(text.contains("SSH_CONNECTION=127.0.0.1 "), "{text}");
    assert!(!text.contains("/evil"), "{text}");
}

#[test]
fn the_environment_script_runs_once_as_the_user() {
    let dir = tempfile::tempdir().unwrap();
    Command::new("chmod").arg("755").arg(dir.path()).status().unwrap();
    let script = dir.path().join("set_env.sh");
    let runs = dir.path().join("runs");
    fs::write(&runs, "").unwrap();
    Command::new("chmod").arg("666").arg(&runs).status().unwrap();
    let body =
        format!("echo noise\nid -u >> {}\nexport CANN='two\nlines' PATH=/cann:$PATH\n", runs.display());
    fs::write(&script, body).unwrap();
    let session = format!(
        r#"{{"schema": 1, "users": ["nobody"], "environment_scripts": ["/absent", "{}"]}}"#,
        script.display()
    );
    let server = Setup { session: &session, user: "nobody", ..Setup::default() }.start();
    for _ in 0..2 {
        assert_eq!(server.text("echo \"$CANN\"; echo ${PATH%%:*}"), "two\nlines\n/cann\n");
    }
    let id = server.text("id -u");
    assert_eq!(fs::read_to_string(runs).unwrap(), id);
}

/// As `docker run` would: what the entrypoint sources, and NNAL beside CANN.
#[test]
fn every_script_that_an_image_would_source_is_part_of_a_session() {
    let dir = tempfile::tempdir().unwrap();
    Command::new("chmod").arg("755").arg(dir.path()).status().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    fs::write(at("set_env.sh"), "export CANN=1 PATH=/cann:$PATH\n").unwrap();
    fs::write(at("set_env_atb.sh"), "export ATB=$CANN$CANN\n").unwrap();
    fs::write(at("set_env_broken.sh"), "exit 3\n").unwrap();
    fs::write(at("set_env_image.sh"), "export OF_IMAGE=$ATB\n").unwrap();
    let session = format!(
        r#"{{"schema": 1, "users": ["nobody"], "environment_scripts": ["{}"], "more_scripts": ["{}", "{}", "/absent"],
            "entrypoint": ["/bin/bash", "-c", "source {} && exec \"$@\"", "--"]}}"#,
        at("set_env.sh"),
        at("set_env_atb.sh"),
        at("set_env_broken.sh"),
        at("set_env_image.sh")
    );
    let server = Setup { session: &session, user: "nobody", ..Setup::default() }.start();
    assert_eq!(server.text("echo $CANN $ATB $OF_IMAGE ${PATH%%:*}"), "1 11 11 /cann\n");
}

#[test]
fn a_broken_environment_script_is_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("set_env.sh");
    fs::write(&script, "exit 3\n").unwrap();
    let session = format!(r#"{{"schema": 1, "environment_scripts": ["{}"]}}"#, script.display());
    let server = Setup { session: &session, ..Setup::default() }.start();
    assert_eq!(server.text("echo in"), "in\n");
    assert!(server.log().contains("sessions do without this script"), "{}", server.log());
}

#[test]
fn a_program_killed_by_a_signal_says_so() {
    let server = start();
    for signal in ["9", "TERM"] {
        let output = server.client(&["-v"], &[&format!("kill -{signal} $$")]).output().unwrap();
        assert_eq!(output.status.code(), Some(255));
        assert!(String::from_utf8_lossy(&output.stderr).contains("rtype exit-signal"), "{output:?}");
    }
}

#[test]
fn a_client_that_goes_away_hangs_its_session_up() {
    let server = start();
    let told = server.dir.path().join("told");
    let script =
        format!("trap 'echo hup > {}; exit' HUP; echo ready; while :; do sleep 0.05; done", told.display());
    // Without the `timeout` before it: this very process is to be killed.
    let command = server.client(&[], &[&script]);
    let mut words = command.get_args().skip(1);
    let mut client = Command::new(words.next().unwrap())
        .args(words)
        .stdout(Stdio::piped())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    client.stdout.as_mut().unwrap().read_exact(&mut [0; 6]).unwrap();
    client.kill().unwrap();
    client.wait().unwrap();
    wait_until("the program was told", || told.exists());
}

#[test]
fn sessions_may_save_their_work_when_the_container_stops() {
    let mut server = start();
    let saved = server.dir.path().join("saved");
    let leader = format!("trap 'echo bye > {}; exit' TERM HUP; echo ready;", saved.display());
    // Its session's leader has ended and it does not listen to hangups; it takes its time.
    let left = server.dir.path().join("left");
    let script = format!(
        "trap '' HUP; trap 'sleep 0.5; echo bye > {}; exit' TERM; touch {}; while :; do sleep 0.05; done",
        left.display(),
        server.dir.path().join("runs").display()
    );
    server.run(&format!("sh -c \"{script}\" >/dev/null 2>&1 &"));
    wait_until("the background job runs", || server.dir.path().join("runs").exists());
    let mut client = server
        .client(&[], &[&format!("{leader} while :; do sleep 0.05; done")])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    client.stdout.as_mut().unwrap().read_exact(&mut [0; 6]).unwrap();
    server.terminate();
    assert!(server.wait().success(), "{}", server.log());
    assert!(saved.exists() && left.exists(), "{}", server.log());
    let heard = String::from_utf8(client.wait_with_output().unwrap().stderr).unwrap();
    assert!(heard.contains("this berth stops: it was stopped or released"), "{heard}");
}

#[test]
fn without_sessions_a_stop_is_quick() {
    let mut server = start();
    let stopped = Instant::now();
    server.terminate();
    assert!(server.wait().success());
    assert!(stopped.elapsed() < Duration::from_secs(5), "{:?}", stopped.elapsed());
}

#[test]
fn a_session_ends_with_its_last_writer_as_with_openssh() {
    let server = start();
    let output = server.run("(sleep 1; echo late) & echo now; exit 6");
    assert_eq!((output.stdout.as_slice(), output.status.code()), (b"now\nlate\n".as_slice(), Some(6)));
    let started = Instant::now();
    let output = server.run("sleep 50 >/dev/null 2>&1 & echo started; exit 6");
    assert_eq!((output.stdout.as_slice(), output.status.code()), (b"started\n".as_slice(), Some(6)));
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
}

#[test]
fn a_child_in_the_background_does_not_hold_a_terminal() {
    let server = start();
    let started = Instant::now();
    for (command, status) in
        [("trap '' HUP; sleep 50 & echo started; exit 6", 6), ("trap '' HUP; yes & exit 0", 0)]
    {
        let output = server.client(&["-tt"], &[command]).stdin(Stdio::null()).output().unwrap();
        assert_eq!(output.status.code(), Some(status), "{command}");
    }
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
}

#[test]
fn sessions_run_as_their_user_and_nothing_more() {
    let setup = Setup {
        session: r#"{"schema": 1, "users": ["absent", "nobody"], "groups": [12345]}"#,
        user: "nobody",
        ..Setup::default()
    };
    let server = setup.start();
    let nobody =
        String::from_utf8(Command::new("id").args(["-u", "nobody"]).output().unwrap().stdout).unwrap();
    assert_eq!(server.text("id -u"), nobody);
    assert_eq!(server.text("id -ru"), nobody);
    assert!(server.text("id -G").split_whitespace().any(|gid| gid == "12345"));
    assert!(!server.text("id -G").split_whitespace().any(|gid| gid == "0"));
    assert_eq!(server.text("grep CapEff /proc/self/status | tr -d '\t'"), "CapEff:0000000000000000\n");
    // Rust programs ignore SIGPIPE; what they start must not.
    assert_eq!(server.text("sh -c 'kill -PIPE $$; echo ignored'; echo $?"), "141\n");
    assert!(!server.run("cat /etc/shadow").status.success());
}

#[test]
fn an_image_with_nothing_but_busybox_works() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("bin")).unwrap();
    fs::copy("/bin/busybox", root.path().join("bin/busybox")).unwrap();
    let server = Setup { root: Some(root.path()), ..Setup::default() }.start();
    assert_eq!(server.text("echo $HOME $USER; busybox ls /"), "/ root\nberth\nbin\ndev\netc-berth\n");
    assert_eq!(server.run("exit 9").status.code(), Some(9));
    let shell = server.run_with_input("", b"echo $0\nexit 2\n");
    assert_eq!((shell.stdout.as_slice(), shell.status.code()), (b"-sh\n".as_slice(), Some(2)));
    let terminal = server.client(&["-tt"], &["true"]).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&terminal.stderr).into_owned();
    assert!(said.contains("PTY allocation request failed"), "no /dev/ptmx here: {said}");
}

#[test]
fn an_image_without_a_shell_says_so() {
    let root = tempfile::tempdir().unwrap();
    let server = Setup { root: Some(root.path()), ..Setup::default() }.start();
    let output = server.run("id");
    assert_eq!(output.status.code(), Some(127), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("/bin/sh: No such file"), "{output:?}");
}

#[test]
fn dropbear_gets_in_too() {
    let server = start();
    let key = server.dir.path().join("dropbear");
    let converted = Command::new("dropbearconvert")
        .args(["openssh", "dropbear"])
        .args([&server.key(), &key])
        .output()
        .unwrap();
    assert!(converted.status.success(), "{converted:?}");
    let client = |command: &str| {
        let mut dbclient = Command::new("timeout");
        dbclient.arg(PATIENCE.as_secs().to_string()).args(["dbclient", "-y", "-y", "-i"]).arg(&key);
        dbclient.args(["-p", &server.port.to_string(), "root@127.0.0.1", command]).stdin(Stdio::null());
        dbclient.output().unwrap()
    };
    let output = client("echo out; echo err >&2; exit 7");
    assert_eq!(
        (output.stdout.as_slice(), output.status.code()),
        (b"out\n".as_slice(), Some(7)),
        "{output:?}"
    );
    assert_eq!(client("head -c 3000000 /dev/zero").stdout.len(), 3_000_000);
}

#[test]
fn what_is_not_supported_is_refused_with_a_reason() {
    let server = start();
    let mut with_x11 = server.client(&["-X"], &["echo the session goes on"]);
    let output = with_x11.env("DISPLAY", ":77").stdin(Stdio::null()).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("berth: no X11 here"), "{output:?}");
    assert_eq!(output.stdout, b"the session goes on\n");
    let output = server.client(&["-s"], &["netconf"]).stdin(Stdio::null()).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("subsystem request failed"), "{output:?}");
}

#[test]
fn a_probe_describes_the_image() {
    let output = Command::new(env!("CARGO_BIN_EXE_berth"))
        .args(["inside", "probe", "--users", "absent,nobody", "--image-user", "root"])
        .output()
        .unwrap();
    let probe: berth::model::image::ImageProbe = serde_json::from_slice(&output.stdout).unwrap();
    let user = probe.user.unwrap();
    assert_eq!(user.name, "nobody");
    assert!(!user.home_writable && probe.tar);
    assert!(probe.glibc.is_some_and(|version| version.starts_with("2.")));
    assert!(probe.shells.iter().any(|shell| shell == Path::new("/bin/sh")));
}

/// No command line client sends signals; a library does.
struct TrustsAll;

impl russh::client::Handler for TrustsAll {
    type Error = russh::Error;
    async fn check_server_key(
        &mut self,
        _: &russh::keys::PublicKeyOrCertificate,
    ) -> Result<bool, russh::Error> {
        Ok(true)
    }
}

#[tokio::test]
async fn a_signal_reaches_the_whole_process_group() {
    let server = start();
    let key = russh::keys::load_secret_key(server.key(), None).unwrap();
    let key = russh::keys::PrivateKeyWithHashAlg::new(std::sync::Arc::new(key), None);
    let address = ("127.0.0.1", server.port);
    let mut client = russh::client::connect(std::sync::Arc::default(), address, TrustsAll).await.unwrap();
    assert!(client.authenticate_publickey("root", key).await.unwrap().success());
    let mut channel = client.channel_open_session().await.unwrap();
    // The inner shell is in the same group: both have to go.
    channel.exec(true, "sh -c 'echo ready; sleep 600'; echo not reached").await.unwrap();
    let mut ended = None;
    let talk = async {
        while let Some(message) = channel.wait().await {
            match message {
                russh::ChannelMsg::Data { data } => {
                    assert_eq!(&data[..], b"ready\n");
                    channel.signal(russh::Sig::TERM).await.unwrap();
                }
                russh::ChannelMsg::ExitSignal { signal_name, .. } => ended = Some(format!("{signal_name:?}")),
                _ => {}
            }
        }
    };
    tokio::time::timeout(PATIENCE, talk).await.unwrap();
    assert_eq!(ended.as_deref(), Some("TERM"));
}

#[test]
fn a_terminal_that_goes_away_hangs_its_programs_up_and_leaves_no_zombie() {
    let server = start();
    let told = server.dir.path().join("told");
    let script =
        format!("trap 'echo hup > {}; exit' HUP; echo $$; while :; do sleep 0.05; done", told.display());
    let command = server.client(&["-tt"], &[&script]);
    let mut words = command.get_args().skip(1);
    let mut client = Command::new(words.next().unwrap())
        .args(words)
        .stdout(Stdio::piped())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let mut pid = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(client.stdout.as_mut().unwrap()), &mut pid)
        .unwrap();
    client.kill().unwrap();
    client.wait().unwrap();
    wait_until("the program was told", || told.exists());
    wait_until("it was waited for", || !Path::new("/proc").join(pid.trim()).exists());
}
