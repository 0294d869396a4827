"""One container with three SSH servers, and the client's config that names them."""

import pathlib
import shutil
import subprocess
import time

NAME = "berth-bench-ssh"
IMAGE = "berth-bench-ssh:latest"
PORTS = {"berth": 22, "openssh": 2022, "dropbear": 2023}
GIB = 1 << 30
SSHD = """Port 2022
HostKey /keys/host_key
AuthorizedKeysFile /keys/authorized_keys
StrictModes no
UsePAM no
PermitRootLogin yes
PasswordAuthentication no
MaxStartups 1000
MaxSessions 1000
PermitUserEnvironment no
Subsystem sftp /usr/lib/openssh/sftp-server
"""
START = """set -e
mkdir -p /run/sshd /root/.ssh
cp /keys/authorized_keys /root/.ssh/authorized_keys && chmod -R go= /root/.ssh
/usr/sbin/sshd -f /keys/sshd_config
dropbearkey -t ed25519 -f /tmp/dropbear_key >/dev/null
dropbear -r /tmp/dropbear_key -p 2023 -P /tmp/dropbear.pid
socat TCP-LISTEN:7000,fork,reuseaddr SYSTEM:'head -c 1073741824 /dev/zero' &
socat -u TCP-LISTEN:7001,fork,reuseaddr OPEN:/dev/null &
socat TCP-LISTEN:7002,fork,reuseaddr,nodelay PIPE &
exec /opt/berth/bin/berth inside serve --etc /keys/etc --listen 0.0.0.0:22
"""


class Servers:
    def __init__(self, engine, options):
        self.engine, self.dir = engine, pathlib.Path(options.dir)
        self.berth, self.cipher = options.berth, options.cipher
        self.config = self.dir / "ssh_config"

    def __enter__(self):
        self.engine.remove(NAME)
        self.engine.docker("import", str(self.dir / "images/sshd.tar"), IMAGE)
        self.write_keys()
        program = self.dir / "berth"
        shutil.copy(self.berth, program)
        self.engine.docker(
            "run", "-d", "--name", NAME, "--init", "--tmpfs", "/data:size=3g",
            "-v", f"{self.dir / 'keys'}:/keys:ro", "-v", f"{program}:/opt/berth/bin/berth:ro",
            IMAGE, "bash", "-c", START,
        )  # fmt: skip
        address = self.engine.docker("inspect", "-f", "{{.NetworkSettings.IPAddress}}", NAME)
        self.write_config(address)
        for server in PORTS:
            self.wait_for(server)
        self.run("openssh", "head -c 1073741824 /dev/urandom > /data/big; mkdir -p /data/small && cd /data/small && "
                 "for i in $(seq 10000); do head -c 1024 /dev/zero > $i; done")
        return self

    def __exit__(self, *_):
        self.engine.remove(NAME)

    def write_keys(self):
        keys = self.dir / "keys"
        shutil.rmtree(keys, ignore_errors=True)
        (keys / "etc").mkdir(parents=True)
        for key in (self.dir / "key", keys / "host_key"):
            key.unlink(missing_ok=True)
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        public = (self.dir / "key.pub").read_text()
        (keys / "authorized_keys").write_text(public)
        (keys / "sshd_config").write_text(SSHD)
        (keys / "etc/authorized_keys").write_text(public)
        (keys / "etc/session.json").write_text('{"schema": 1}')
        shutil.copy(keys / "host_key", keys / "etc/host_key")

    def write_config(self, address):
        hosts = "".join(f"Host {server}\n  Port {port}\n" for server, port in PORTS.items())
        self.config.write_text(
            f"{hosts}Host *\n  HostName {address}\n  User root\n  IdentityFile {self.dir / 'key'}\n  IdentitiesOnly yes\n"
            f"  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n  LogLevel ERROR\n  Ciphers ^{self.cipher}\n"
        )

    def wait_for(self, server):
        for _ in range(200):
            if subprocess.run(self.ssh(server, "true"), capture_output=True).returncode == 0:
                return
            time.sleep(0.1)
        raise RuntimeError(f"{server} does not answer: {self.engine.docker('logs', '--tail', '5', NAME)}")

    def ssh(self, server, *words):
        return ["ssh", "-F", str(self.config), server, *words]

    def sftp(self, server):
        return ["sftp", "-q", "-F", str(self.config), "-b", "-", server]

    def run(self, server, command):
        return subprocess.run(self.ssh(server, command), check=True, capture_output=True, text=True).stdout

    def versions(self):
        lines = subprocess.run(["ssh", "-V"], capture_output=True, text=True).stderr.strip().split(",")[0]
        there = self.run("openssh", "/usr/sbin/sshd -V 2>&1 | grep -o 'OpenSSH_[^ ,]*'; dropbear -V 2>&1").split("\n")
        ours = subprocess.run([self.berth, "--version"], capture_output=True, text=True).stdout.strip()
        return f"{ours}; servers {' '.join(filter(None, there))}; client {lines}"

    def memory(self, program):
        """The sum, in KiB, of what the processes of that name have for themselves (Pss)."""
        script = f"for p in $(pgrep -x {program}); do cat /proc/$p/smaps_rollup 2>/dev/null; done"
        text = self.engine.docker("exec", NAME, "bash", "-c", script)
        return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
