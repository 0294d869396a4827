"""What is measured: each part runs both servers in turn and adds its rows to the table."""

import os
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import threading
import time

from servers import GIB
from table import INFO, MISSED, OK, spread, verdict

BOTH = ("berth", "openssh")
SESSIONS = 50
LOGINS = 200


def in_turn(servers, options, job):
    """Seconds by server. The order changes from round to round."""
    times = {server: [] for server in BOTH}
    for number in range(options.rounds):
        for server in BOTH if number % 2 == 0 else BOTH[::-1]:
            began = time.monotonic()
            job(server)
            times[server].append(time.monotonic() - began)
    return times


def add_rate(table, what, times, size=GIB):
    ours, theirs = (size / statistics.median(times[server]) / 1e6 for server in BOTH)
    reached = verdict(ours >= theirs)
    table.add(what, f"{ours:.0f} MB/s", f"{theirs:.0f} MB/s", f"{ours / theirs:.2f} (>= 1)", reached, seconds=times)


def add_time(table, what, times, limit=1.0):
    ours, theirs = (statistics.median(times[server]) for server in BOTH)
    reached = verdict(ours <= theirs * limit)
    table.add(what, spread(times["berth"]), spread(times["openssh"]), f"{ours / theirs:.2f} (<= {limit:g})", reached, seconds=times)


def bulk(servers, table, options):
    def out(server):
        subprocess.run(servers.ssh(server, "head -c 1073741824 /dev/zero"), stdout=subprocess.DEVNULL, check=True)

    def into(server):
        source = subprocess.Popen(["head", "-c", str(GIB), "/dev/zero"], stdout=subprocess.PIPE)
        subprocess.run(servers.ssh(server, "cat > /dev/null"), stdin=source.stdout, check=True)
        source.wait()

    add_rate(table, "session: 1 GiB out", in_turn(servers, options, out))
    add_rate(table, "session: 1 GiB in", in_turn(servers, options, into))


def sftp(servers, table, options):
    with tempfile.TemporaryDirectory(dir="/dev/shm") as scratch:
        def batch(server, commands):
            done = subprocess.run(servers.sftp(server), input=commands, text=True, capture_output=True)
            if done.returncode != 0:
                raise RuntimeError(f"sftp to {server}: {done.stderr[-500:]}")

        def get_small(server):
            shutil.rmtree(f"{scratch}/small", ignore_errors=True)
            batch(server, f"get -r /data/small {scratch}/small\n")

        def put_small(server):
            batch(server, f"put -r {scratch}/small /data/back\n")

        # The first run of each makes what the others then meet.
        add_rate(table, "sftp: get 1 GiB", in_turn(servers, options, lambda s: batch(s, f"get /data/big {scratch}/big\n")))
        add_rate(table, "sftp: put 1 GiB", in_turn(servers, options, lambda s: batch(s, f"put {scratch}/big /data/copy\n")))
        servers.run("openssh", "rm -f /data/copy; mkdir -p /data/back")
        os.unlink(f"{scratch}/big")
        add_time(table, "sftp: get 10,000 files of 1 KiB", in_turn(servers, options, get_small))
        add_time(table, "sftp: put 10,000 files of 1 KiB", in_turn(servers, options, put_small))
        servers.run("openssh", "rm -rf /data/back")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def connect(port):
    for _ in range(200):
        try:
            return socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:
            time.sleep(0.05)
    raise RuntimeError("the forwarded port does not answer")


class Forwards:
    """A client that forwards the container's three ports."""

    def __init__(self, servers, server):
        self.ports = [free_port() for _ in range(3)]
        words = [word for i, port in enumerate(self.ports) for word in ("-L", f"127.0.0.1:{port}:127.0.0.1:{7000 + i}")]
        self.client = subprocess.Popen([*servers.ssh(server, "-N"), *words])

    def __enter__(self):
        connect(self.ports[2]).close()
        return self

    def __exit__(self, *_):
        self.client.terminate()
        self.client.wait()

    def download(self):
        buffer, count = bytearray(1 << 20), 0
        with connect(self.ports[0]) as stream:
            while got := stream.recv_into(buffer):
                count += got
        if count != GIB:
            raise RuntimeError(f"{count} bytes instead of {GIB}")

    def upload(self):
        block = bytes(1 << 20)
        with connect(self.ports[1]) as stream:
            for _ in range(GIB // len(block)):
                stream.sendall(block)
            stream.shutdown(socket.SHUT_WR)
            stream.recv(1)  # its end: everything arrived

    def round_trips(self, count):
        times = []
        with connect(self.ports[2]) as stream:
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range(count):
                began = time.monotonic()
                stream.sendall(b"x")
                stream.recv(1)
                times.append(time.monotonic() - began)
        return times


def forward(servers, table, options):
    by_server = {server: Forwards(servers, server) for server in BOTH}
    with by_server["berth"], by_server["openssh"]:
        add_rate(table, "forward: 1 GiB from the berth", in_turn(servers, options, lambda s: by_server[s].download()))
        add_rate(table, "forward: 1 GiB into the berth", in_turn(servers, options, lambda s: by_server[s].upload()))
        times = {server: [] for server in BOTH}
        for _ in range(options.rounds):
            for server in BOTH:
                times[server] += by_server[server].round_trips(1000)
        ours, theirs = (statistics.median(times[server]) * 1e6 for server in BOTH)
        table.add("forward: round trip of a byte", f"{ours:.0f} us", f"{theirs:.0f} us", f"{ours / theirs:.2f} (<= 1)",
                  verdict(ours <= theirs))  # fmt: skip


def login(servers, table, options):
    times = {server: [] for server in (*BOTH, "dropbear")}
    for _ in range(options.n):
        for server, samples in times.items():
            began = time.monotonic()
            servers.run(server, "true")
            samples.append(time.monotonic() - began)
    add_time(table, "ssh true", times)
    ours, theirs = statistics.median(times["berth"]), statistics.median(times["dropbear"])
    table.add("ssh true, against dropbear", spread(times["berth"]), spread(times["dropbear"]) + " (dropbear)",
              f"{ours / theirs:.2f} (<= 1)", verdict(ours <= theirs))  # fmt: skip

    failures = dict.fromkeys(BOTH, 0)

    def crowd(server):
        clients = [subprocess.Popen(servers.ssh(server, "true"), stderr=subprocess.DEVNULL) for _ in range(LOGINS)]
        failures[server] += sum(client.wait() != 0 for client in clients)

    add_time(table, f"{LOGINS} logins at once, all of them", in_turn(servers, options, crowd))
    table.add(f"{LOGINS} logins at once: failed", str(failures["berth"]), str(failures["openssh"]), "0",
              OK if failures["berth"] == 0 else MISSED)  # fmt: skip


def memory(servers, table, options):
    fresh, grown = {}, {}
    for server, program in (("berth", "berth"), ("openssh", "sshd")):
        fresh[server] = servers.memory(program)
        clients = [subprocess.Popen(servers.ssh(server, "exec sleep 600")) for _ in range(SESSIONS)]
        try:
            for _ in range(300):
                if int(servers.run("dropbear", "pgrep -xc sleep || true").strip() or 0) == SESSIONS:
                    break
                time.sleep(0.1)
            time.sleep(2)  # until what a login needs has been given back
            grown[server] = (servers.memory(program) - fresh[server]) / SESSIONS
        finally:
            for client in clients:
                client.terminate()
                client.wait()
            servers.run("dropbear", "pkill -x sleep || true")
    table.add("memory of an idle session", f"{grown['berth']:.0f} KiB", f"{grown['openssh']:.0f} KiB", "300 KB",
              verdict(grown["berth"] * 1.024 <= 300))  # fmt: skip
    table.add("memory of the server, nobody there", f"{fresh['berth']} KiB", f"{fresh['openssh']} KiB", "", INFO)


class Beside:
    """One connection that clients share, with a program in it that reads at a rate (None: not at all)."""

    def __init__(self, servers, server, rate):
        self.servers, self.server = servers, server
        self.control = f"{servers.dir}/control"
        self.master = subprocess.Popen(self.ssh(["-M", "-N"]), stdin=subprocess.DEVNULL)
        while not os.path.exists(self.control):
            time.sleep(0.02)
        self.mark = f"slow-{server}-{rate}"
        reader = "sleep 1000" if rate is None else f"dd of=/dev/null bs={rate * 10000} iflag=fullblock count=1 status=none"
        loop = reader if rate is None else f"while {reader}; do sleep 0.01; done"
        zeros = open("/dev/zero", "rb")
        self.reader = subprocess.Popen(self.ssh(command=[f"echo $$ > /tmp/{self.mark}; {loop}"]), stdin=zeros, stderr=subprocess.DEVNULL)
        time.sleep(2)  # until it is behind

    def ssh(self, options=(), command=()):
        *ssh, server = self.servers.ssh(self.server)
        return [*ssh, "-o", f"ControlPath={self.control}", *options, server, *command]

    def upload(self, size, limit=120):
        source = subprocess.Popen(["head", "-c", str(size), "/dev/zero"], stdout=subprocess.PIPE)
        began = time.monotonic()
        client = subprocess.Popen(self.ssh(command=["cat > /dev/null"]), stdin=source.stdout)
        # Not `wait(timeout)`: that looks every 50 ms.
        watchdog = threading.Timer(limit, client.kill)
        watchdog.start()
        status = client.wait()
        took = time.monotonic() - began
        watchdog.cancel()
        source.kill()
        source.wait()
        if status not in (0, -signal.SIGKILL):
            raise RuntimeError(f"an upload to {self.server} ended with {status}")
        return took

    def end_reader(self):
        self.servers.run(self.server, f"pkill -P $(cat /tmp/{self.mark}); kill $(cat /tmp/{self.mark}) || true")
        self.reader.wait()

    def close(self):
        subprocess.run(self.ssh(["-O", "exit"]), capture_output=True, stdin=subprocess.DEVNULL)
        self.master.terminate()
        self.master.wait()


def slow(servers, table, options):
    size = 100_000_000
    for rate in (2, 10, 30, None):
        what = "a stopped reader" if rate is None else f"a reader of {rate} MB/s"
        times, after = {server: [] for server in BOTH}, {server: [] for server in BOTH}
        for _ in range(options.rounds):
            for server in BOTH:
                beside = Beside(servers, server, rate)
                times[server].append(beside.upload(size))
                beside.end_reader()
                after[server].append(beside.upload(1_000_000))
                beside.close()
        add_time(table, f"100 MB in, beside {what}", times, 1.5)
        add_time(table, "  1 MB in, right after that reader's end", after, 1.5)
    for server, program in (("berth", "berth"), ("openssh", "sshd")):
        table.add(f"memory after that, {server}", f"{servers.memory(program)} KiB", "", "", INFO)


# Memory first: what a server has taken for other work it may use again.
PARTS = {"memory": memory, "bulk": bulk, "sftp": sftp, "forward": forward, "login": login, "slow": slow}
