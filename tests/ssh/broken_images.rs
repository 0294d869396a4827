//! Images that would break a server of their own: loader variables, a libc that is none, start files that print.

use crate::rig::{Server, Setup};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// What the SFTP client gets to see of a file.
fn fetch(server: &Server, path: &Path) -> Vec<u8> {
    let to = server.dir.path().join("fetched");
    let mut scp = Command::new("timeout");
    scp.args(["30", "scp", "-q", "-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"]);
    scp.arg("-o").arg(format!("UserKnownHostsFile={}", server.dir.path().join("known").display()));
    scp.args(["-P", &server.port.to_string(), "-i"]).arg(server.key());
    scp.arg(format!("{}@127.0.0.1:{}", server.user, path.display())).arg(&to);
    let output = scp.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    fs::read(to).unwrap()
}

#[test]
fn a_libc_that_is_none_breaks_the_images_programs_and_nothing_of_ours() {
    let broken = tempfile::tempdir().unwrap();
    fs::set_permissions(broken.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    fs::write(broken.path().join("libc.so.6"), "no library").unwrap();
    fs::write(broken.path().join("note"), "readable").unwrap();
    let libraries = broken.path().display().to_string();
    let preload = broken.path().join("libc.so.6").display().to_string();
    let environment = [("LD_LIBRARY_PATH", libraries.as_str()), ("LD_PRELOAD", preload.as_str())];
    let server = Setup { environment: &environment, ..Setup::default() }.start();
    // The image's own shell is linked with it: it says so, with the status of a program that does not start.
    let output = server.run("echo in");
    assert_eq!(output.status.code(), Some(127), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("libc.so.6"), "{output:?}");
    // What is berth's own does not load it.
    assert_eq!(fetch(&server, &broken.path().join("note")), b"readable");
}

#[test]
fn a_static_shell_does_not_mind_the_images_loader_variables() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("bin")).unwrap();
    fs::copy("/bin/busybox", root.path().join("bin/busybox")).unwrap();
    let environment = [("LD_LIBRARY_PATH", "/bad"), ("LD_PRELOAD", "/bad/evil.so")];
    let server = Setup { root: Some(root.path()), environment: &environment, ..Setup::default() }.start();
    assert_eq!(server.text("echo $LD_LIBRARY_PATH $LD_PRELOAD"), "/bad /bad/evil.so\n");
}

#[test]
fn what_start_files_print_is_not_in_files_that_are_fetched() {
    let home = tempfile::tempdir().unwrap();
    for name in [".bashrc", ".profile", ".bash_profile"] {
        fs::write(home.path().join(name), "echo printed by $0\nmesg n\n").unwrap();
    }
    fs::write(home.path().join("file"), "content").unwrap();
    let server = Setup { home: Some(home.path()), ..Setup::default() }.start();
    assert_eq!(fetch(&server, Path::new("/root/file")), b"content");
    let shell = server.client(&["-T"], &[]).stdin(Stdio::null()).output().unwrap();
    assert!(String::from_utf8_lossy(&shell.stdout).contains("printed by -bash"), "{shell:?}");
}
