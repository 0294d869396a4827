//! SFTP against real clients: OpenSSH's sftp and scp, sshfs, paramiko, asyncssh. Needs root.

use crate::copies::{PYTHON, batch, client, place, succeed};
use crate::rig::{PATIENCE, Server, Setup, wait_until};
use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

/// 中文 in GBK, which is no UTF-8.
const GBK: &[u8] = b"\xd6\xd0\xce\xc4";

fn start() -> Server {
    Setup::default().start()
}

/// Bytes that do not compress and do not repeat.
fn noise(count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    fs::File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
    bytes
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn openssh_does_with_files_what_it_can() {
    let server = start();
    let dir = server.dir.path();
    let data = noise(3_000_000);
    fs::write(dir.join("local"), &data).unwrap();
    fs::write(dir.join("old"), "old").unwrap();
    fs::set_permissions(dir.join("local"), fs::Permissions::from_mode(0o640)).unwrap();
    let output = batch(
        &server,
        &format!(
            "cd {}\nput -p local remote\nrename remote old\nget -p old back\nln -s old link\nln old hard\n\
             chmod 751 old\nmkdir d\nmkdir e\nrmdir e\nrename d f\ncopy old f/copy\nls -l\ndf\n\
             symlink nowhere dangling\n-get dangling\nrm hard\n",
            dir.display()
        ),
    );
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    for file in ["old", "back", "f/copy"] {
        assert!(fs::read(dir.join(file)).unwrap() == data, "{file}");
    }
    assert_eq!((mode(&dir.join("back")), mode(&dir.join("old"))), (0o640, 0o751));
    let time = |name: &str| fs::metadata(dir.join(name)).unwrap().mtime();
    assert_eq!((time("back"), time("old")), (time("local"), time("local")));
    assert_eq!(fs::read_link(dir.join("link")).unwrap(), Path::new("old"));
    assert!(!dir.join("hard").exists() && !dir.join("remote").exists() && !dir.join("e").exists());
    assert!(said.contains("-rwxr-x--x    ? root     root      3000000"), "{said}");
    assert!(said.contains("lrwxrwxrwx"), "{said}");
    assert!(said.contains("%Capacity"), "{said}");
    assert!(said.contains("No such file or directory"), "{said}");
}

#[test]
fn transfers_that_broke_off_go_on() {
    let server = start();
    let dir = server.dir.path();
    let data = noise(2_000_000);
    fs::write(dir.join("whole"), &data).unwrap();
    fs::write(dir.join("half"), &data[..777_777]).unwrap();
    fs::write(dir.join("remote-half"), &data[..1_234_567]).unwrap();
    let dir_name = dir.display();
    let output = batch(&server, &format!("cd {dir_name}\nreget whole half\nreput whole remote-half\n"));
    assert!(output.status.success(), "{output:?}");
    assert!(fs::read(dir.join("half")).unwrap() == data);
    assert!(fs::read(dir.join("remote-half")).unwrap() == data);
}

#[test]
fn trees_with_names_in_any_encoding_come_back_as_they_went() {
    let server = start();
    let dir = server.dir.path();
    let tree = dir.join("tree");
    fs::create_dir_all(tree.join(OsStr::from_bytes(GBK)).join("sub dir")).unwrap();
    fs::write(tree.join(OsStr::from_bytes(GBK)).join("sub dir/file"), "x").unwrap();
    fs::write(tree.join("emoji 🚀"), "y").unwrap();
    fs::write(tree.join("new\nline"), "z").unwrap();
    for number in 0..1000 {
        fs::write(tree.join(format!("{number}")), number.to_string()).unwrap();
    }
    let remote = dir.join("remote");
    succeed(
        client(&server, "scp").args(["-q", "-r"]).arg(&tree).arg(place(&server, remote.to_str().unwrap())),
    );
    succeed(client(&server, "scp").args(["-q", "-r", &place(&server, remote.to_str().unwrap()), "back"]));
    succeed(Command::new("diff").arg("-r").arg(&tree).arg(dir.join("back")));
}

#[test]
fn nothing_of_the_image_comes_between() {
    let noise_file = tempfile::NamedTempFile::new().unwrap();
    fs::write(noise_file.path(), "echo NOISE; echo NOISE >&2\n").unwrap();
    let environment = [
        ("BASH_ENV", noise_file.path().to_str().unwrap()),
        ("ENV", noise_file.path().to_str().unwrap()),
        ("LD_LIBRARY_PATH", "/nonsense"),
        ("LD_PRELOAD", "/nonsense/evil.so"),
    ];
    let server = Setup { environment: &environment, ..Setup::default() }.start();
    assert!(String::from_utf8_lossy(&server.run("echo x").stdout).contains("NOISE"));
    let output = batch(&server, "pwd\n");
    assert_eq!(output.stdout, b"sftp> pwd\nRemote working directory: /root\n", "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn an_image_without_shell_and_proc_has_sftp() {
    let root = tempfile::tempdir().unwrap();
    let server = Setup { root: Some(root.path()), ..Setup::default() }.start();
    let output = batch(&server, "cd /\nls -l\nmkdir /made\nput key\n");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("etc-berth"), "{output:?}");
    assert!(root.path().join("made").is_dir() && root.path().join("key").is_file());
}

#[test]
fn files_are_the_session_users() {
    let setup =
        Setup { session: r#"{"schema": 1, "users": ["nobody"]}"#, user: "nobody", ..Setup::default() };
    let server = setup.start();
    let shared = server.dir.path().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o777)).unwrap();
    fs::write(server.dir.path().join("file"), "x").unwrap();
    let commands = format!(
        "put file {}\n-get /etc/shadow shadow\n-put file /etc/x\n-chown 0 {}/file\n",
        shared.display(),
        shared.display()
    );
    let output = batch(&server, &commands);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(said.matches("Permission denied").count(), 3, "{output:?}");
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap().uid.as_raw();
    assert_eq!(fs::metadata(shared.join("file")).unwrap().uid(), nobody);
    assert!(!Path::new("/etc/x").exists());
}

/// A mounted directory that is unmounted whatever happens.
struct Mount(std::path::PathBuf);

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("fusermount3").arg("-uz").arg(&self.0).output();
    }
}

#[test]
fn sshfs_is_a_file_system() {
    if !Path::new("/dev/fuse").exists() {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "CI has FUSE");
        eprintln!("SKIPPED: no /dev/fuse here");
        return;
    }
    let server = start();
    let (remote, local) = (server.dir.path().join("remote"), server.dir.path().join("mounted"));
    fs::create_dir_all(remote.join("sub")).unwrap();
    fs::create_dir(&local).unwrap();
    let source = place(&server, remote.to_str().unwrap());
    succeed(client(&server, "sshfs").arg(source).arg(&local));
    let mount = Mount(local.clone());
    let data = noise(5_000_000);
    fs::write(local.join("file"), &data).unwrap();
    fs::write(local.join("other"), "other").unwrap();
    assert!(fs::read(remote.join("file")).unwrap() == data);
    fs::rename(local.join("file"), local.join("other")).unwrap();
    assert!(fs::read(local.join("other")).unwrap() == data && !remote.join("file").exists());
    let file = fs::OpenOptions::new().write(true).open(local.join("other")).unwrap();
    file.set_len(1000).unwrap();
    file.sync_all().unwrap();
    drop(file);
    assert!(fs::read(remote.join("other")).unwrap() == data[..1000]);
    fs::OpenOptions::new().append(true).open(local.join("other")).unwrap().write_all(b"end").unwrap();
    assert!(fs::read(remote.join("other")).unwrap().ends_with(b"end"));
    std::os::unix::fs::symlink("other", local.join("link")).unwrap();
    fs::hard_link(local.join("other"), local.join("hard")).unwrap();
    assert_eq!(fs::read_link(local.join("link")).unwrap(), Path::new("other"));
    fs::set_permissions(local.join("other"), fs::Permissions::from_mode(0o604)).unwrap();
    assert_eq!(mode(&remote.join("other")), 0o604);
    fs::write(local.join(OsStr::from_bytes(GBK)), "gbk").unwrap();
    let mut names: Vec<_> = fs::read_dir(&local).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(
        names,
        [OsStr::new("hard"), "link".as_ref(), "other".as_ref(), "sub".as_ref(), OsStr::from_bytes(GBK)]
    );
    let there = nix::sys::statvfs::statvfs(&remote).unwrap();
    let seen = nix::sys::statvfs::statvfs(&local).unwrap();
    assert_eq!(seen.blocks() * seen.fragment_size(), there.blocks() * there.fragment_size());
    fs::remove_dir(local.join("sub")).unwrap();
    fs::remove_file(local.join("link")).unwrap();
    assert_eq!(fs::remove_file(local.join("link")).unwrap_err().kind(), std::io::ErrorKind::NotFound);
    succeed(Command::new("fusermount3").arg("-u").arg(&mount.0));
    wait_until("it is unmounted", || !local.join("other").exists());
}

#[test]
fn rsync_brings_a_tree_up_to_date() {
    let server = start();
    let dir = server.dir.path();
    fs::create_dir_all(dir.join("tree/sub")).unwrap();
    fs::write(dir.join("tree/sub/big"), noise(1_000_000)).unwrap();
    fs::write(dir.join("tree").join(OsStr::from_bytes(GBK)), "x").unwrap();
    let options: Vec<String> =
        crate::copies::options(&server).iter().map(|option| format!("-o {option}")).collect();
    let shell = format!("ssh -F none {}", options.join(" "));
    let copy = format!("{}/copy/", dir.display());
    for _ in 0..2 {
        let mut rsync = Command::new("timeout");
        rsync.arg(PATIENCE.as_secs().to_string()).args(["rsync", "-a", "--delete", "-e", &shell]);
        succeed(rsync.arg(dir.join("tree/")).arg(place(&server, &copy)));
        succeed(Command::new("diff").arg("-r").arg(dir.join("tree")).arg(dir.join("copy")));
        fs::write(dir.join("tree/sub/big"), "changed").unwrap();
        fs::remove_file(dir.join("tree").join(OsStr::from_bytes(GBK))).unwrap_or_default();
    }
}

/// Runs one of our scripts with the client's library.
fn python(server: &Server, script: &str) {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ssh");
    let mut command = Command::new("timeout");
    command.arg(PATIENCE.as_secs().to_string()).args([PYTHON, "-W", "ignore"]).arg(scripts.join(script));
    command.arg(server.port.to_string()).arg(server.key()).arg(server.dir.path());
    succeed(&mut command);
}

#[test]
fn paramiko_finds_all_it_asks_for() {
    let server = start();
    python(&server, "sftp_paramiko.py");
    let mut sparse = fs::File::open(server.dir.path().join("sparse")).unwrap();
    let meta = sparse.metadata().unwrap();
    assert_eq!(meta.len(), (5 << 30) + 3);
    assert!(meta.blocks() < 1000, "{} blocks: it is not sparse", meta.blocks());
    sparse.seek(SeekFrom::End(-3)).unwrap();
    let mut end = String::new();
    sparse.read_to_string(&mut end).unwrap();
    assert_eq!(end, "end");
}

#[test]
fn asyncssh_asks_for_much_at_once() {
    let server = start();
    python(&server, "sftp_asyncssh.py");
}
