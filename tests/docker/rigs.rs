//! What tests with containers stand on: the engine and the images that `scripts/test` prepared are what they claim.

use crate::machine::variable;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

fn version_of_engine(socket: &Path) -> String {
    let mut stream =
        UnixStream::connect(socket).unwrap_or_else(|error| panic!("{}: {error}", socket.display()));
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(b"GET /version HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn the_engine_speaks_an_api_that_we_support() {
    let Some(socket) = variable("BERTH_TEST_DOCKER") else { return };
    let answer = version_of_engine(&socket);
    let minor = answer
        .split_once("\"ApiVersion\":\"1.")
        .and_then(|(_, rest)| rest.split('"').next())
        .and_then(|minor| minor.parse::<u32>().ok());
    // 1.39 is Docker 18.09, the oldest on the node images that vendors ship.
    assert!(minor.is_some_and(|minor| minor >= 39), "{answer}");
}

fn members(image: &str) -> Option<Vec<String>> {
    let tar = variable("BERTH_TEST_IMAGES")?.join(image);
    let output = Command::new("tar").arg("tvf").arg(&tar).output().unwrap();
    assert!(output.status.success(), "{}: {}", tar.display(), String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}

#[test]
fn busybox_is_an_image_of_one_file() {
    let Some(members) = members("busybox.tar") else { return };
    let files: Vec<_> = members.iter().filter(|line| !line.starts_with('d')).collect();
    assert_eq!(files.len(), 1, "{members:#?}");
    assert!(files[0].ends_with("./bin/busybox"), "{members:#?}");
}

#[test]
fn images_for_people_have_ma_user_with_a_home_and_a_shell() {
    for (image, shell) in [("workspace.tar", "./bin/sh"), ("debian.tar", "bin/bash")] {
        let Some(members) = members(image) else { return };
        let home = members.iter().find(|line| line.ends_with("/home/ma-user/"));
        assert!(
            home.is_some_and(|line| line.contains("1000/100 ") || line.contains("ma-user/users ")),
            "{home:?}"
        );
        assert!(members.iter().any(|line| line.contains(shell)), "{image} has no {shell}");
    }
}
