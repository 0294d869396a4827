//! A real registry on loopback.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// alice, `s3cret?~>`
const HTPASSWD: &str = "alice:$2b$04$DXsyCb329GCpTAJ9uC6VcO1YohPDiK/dBAdiejy7ngUu64qSuUcZy\n";

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub struct Registry {
    process: Child,
    pub address: String,
}

impl Registry {
    pub fn start(root: &Path, name: &str, private: bool) -> Self {
        let address = format!("127.0.0.1:{}", free_port());
        let dir = root.join(name);
        std::fs::create_dir_all(dir.join("data")).unwrap();
        std::fs::write(dir.join("htpasswd"), HTPASSWD).unwrap();
        let mut config = format!(
            "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {address}\n",
            dir.join("data").display()
        );
        if private {
            let file = dir.join("htpasswd");
            config.push_str("auth:\n  htpasswd:\n    realm: test\n    path: ");
            config.push_str(file.to_str().unwrap());
        }
        std::fs::write(dir.join("config.yml"), config).unwrap();
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(dir.join("config.yml"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry is installed");
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(&address).is_err() {
            assert!(Instant::now() < deadline, "the registry does not answer");
            std::thread::yield_now();
        }
        Self { process, address }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
