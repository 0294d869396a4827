"""paramiko against one server: python3 paramiko_cells.py FEATURE PORT KEY DIR. What is missing is an exception."""
import os
import socket
import socketserver
import sys
import threading
import time

import paramiko

FEATURE, PORT, KEY, DIR = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
NOISE = os.urandom(6_000_000)


def connect(**options):
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
    client.connect("127.0.0.1", PORT, "root", key_filename=KEY, look_for_keys=False, allow_agent=False,
                   timeout=30, **options)
    return client


def session(client):
    channel = client.get_transport().open_session()
    channel.settimeout(30)
    return channel


def read_all(receive):
    parts = []
    while part := receive(1 << 16):
        parts.append(part)
    return b"".join(parts)


def run(client, command, data=b""):
    channel = session(client)
    channel.exec_command(command)

    def write():
        channel.sendall(data)
        channel.shutdown_write()

    writer = threading.Thread(target=write)
    writer.start()
    out = read_all(channel.recv)
    writer.join()
    return out, read_all(channel.recv_stderr), channel.recv_exit_status()


def wait_for(channel, text):
    seen = b""
    while text not in seen:
        part = channel.recv(4096)
        assert part, f"{seen} ended before {text}"
        seen += part
    return seen


def status(client):
    assert run(client, "exit 7")[2] == 7


def half_close(client):
    assert run(client, "sort -r; echo after", b"a\nb\n")[0] == b"b\na\nafter\n"


def stderr(client):
    assert run(client, "echo out; echo err >&2")[:2] == (b"out\n", b"err\n")


def output(client):
    path = os.path.join(DIR, "noise")
    open(path, "wb").write(NOISE)
    assert run(client, f"cat {path}")[0] == NOISE


def input(client):
    path = os.path.join(DIR, "up")
    run(client, f"cat > {path}", NOISE)
    assert open(path, "rb").read() == NOISE


def eight_bit(client):
    data = bytes(range(256)) * 300
    assert run(client, "cat", data)[0] == data


def shell(client):
    channel = session(client)
    channel.invoke_shell()
    channel.sendall(b"echo $0 $((6*7)); exit 4\n")
    channel.shutdown_write()
    assert b"-bash 42" in read_all(channel.recv)
    assert channel.recv_exit_status() == 4


def script(client):
    text = b"# a line\n" * 20000 + b"echo status==$?==; exit 3\n"
    out, _, code = run(client, "bash -s", text)
    assert (out, code) == (b"status==0==\n", 3)


def terminal(client):
    channel = session(client)
    channel.get_pty("xterm-256color", 101, 33)
    channel.exec_command("stty size; echo term=$TERM; tty")
    said = read_all(channel.recv)
    assert b"33 101" in said and b"term=xterm-256color" in said and b"/dev/pts/" in said, said


def window(client):
    channel = session(client)
    channel.get_pty("xterm", 101, 33)
    channel.exec_command("trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done")
    wait_for(channel, b"ready")
    channel.resize_pty(122, 44)
    wait_for(channel, b"44 122")


# The shell is without a child: bash drops a Ctrl-C that comes just when one ends by itself.
def ctrl_c(client):
    channel = session(client)
    channel.get_pty()
    channel.exec_command("trap 'echo caught; exit 5' INT; echo ready; while :; do :; done")
    wait_for(channel, b"ready")
    channel.sendall(b"\x03")
    wait_for(channel, b"caught")
    assert channel.recv_exit_status() == 5


def environment(client):
    channel = session(client)
    channel.set_environment_variable("LC_ALL", "C")
    channel.exec_command("echo $LC_ALL")
    assert read_all(channel.recv) == b"C\n"


def channels(client):
    stuck = session(client)
    stuck.exec_command("cat /dev/zero")
    waiting = session(client)
    waiting.exec_command("read line; echo $line")
    for _ in range(3):
        output(client)
    waiting.sendall(b"go\n")
    assert read_all(waiting.recv) == b"go\n"
    stuck.close()


def keepalive(client):
    client.get_transport().set_keepalive(1)
    assert run(client, "sleep 3; echo here")[0] == b"here\n"


def rekeying(client):
    transport = client.get_transport()
    # Two runs of 6 MB both ways, and a new key in the middle of each.
    for _ in range(2):
        worker = threading.Thread(target=transport.renegotiate_keys)
        channel = session(client)
        channel.exec_command("cat")

        def write():
            channel.sendall(NOISE)
            channel.shutdown_write()

        writer = threading.Thread(target=write)
        writer.start()
        got = channel.recv(1 << 16)
        worker.start()
        got += read_all(channel.recv)
        writer.join()
        worker.join()
        assert got == NOISE, len(got)


def sftp_files(client):
    with client.open_sftp() as sftp:
        local, up, down = (os.path.join(DIR, name) for name in ("local", "up", "down"))
        open(local, "wb").write(NOISE)
        sftp.put(local, up)
        sftp.get(up, down)
        assert open(up, "rb").read() == NOISE == open(down, "rb").read()


def sftp_list(client):
    with client.open_sftp() as sftp:
        sftp.mkdir(DIR + "/d")
        for name in ("a", "b", "c"):
            sftp.open(f"{DIR}/d/{name}", "w").write(name)
        sftp.posix_rename(DIR + "/d/a", DIR + "/d/b")
        sftp.symlink("b", DIR + "/d/soft")
        assert sftp.readlink(DIR + "/d/soft") == "b"
        assert sorted(sftp.listdir(DIR + "/d")) == ["b", "c", "soft"]
        assert sftp.stat(DIR + "/d/b").st_size == 1
        sftp.chmod(DIR + "/d/b", 0o640)
        sftp.utime(DIR + "/d/b", (5, 1_000_000_000))
        about = os.stat(DIR + "/d/b")
        assert (about.st_mode & 0o777, about.st_mtime) == (0o640, 1_000_000_000)
        assert open(DIR + "/d/b").read() == "a"
        try:
            sftp.open(DIR + "/absent")
        except FileNotFoundError:
            pass
        else:
            raise AssertionError("an absent file opened")


class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        total = 0
        while part := self.request.recv(1 << 16):
            self.request.sendall(part)
            total += len(part)
        self.request.sendall(b"=%d" % total)


class Threads(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


def echo_port():
    server = Threads(("127.0.0.1", 0), Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


def talk(send, end, receive):
    def write():
        send(NOISE)
        end()

    writer = threading.Thread(target=write)
    writer.start()
    got = read_all(receive)
    writer.join()
    assert got == NOISE + b"=%d" % len(NOISE), len(got)


def local_forward(client):
    target = ("127.0.0.1", echo_port())
    channel = client.get_transport().open_channel("direct-tcpip", target, ("127.0.0.1", 1))
    channel.settimeout(30)
    talk(channel.sendall, channel.shutdown_write, channel.recv)


def remote_forward_any(client):
    remote_forward(client, 0)


def remote_forward(client, port=None):
    if port is None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
    transport = client.get_transport()
    port = transport.request_port_forward("127.0.0.1", port)

    def serve():
        channel = transport.accept(30)
        channel.settimeout(30)
        total = 0
        while part := channel.recv(1 << 16):
            channel.sendall(part)
            total += len(part)
        channel.sendall(b"=%d" % total)
        channel.close()

    threading.Thread(target=serve, daemon=True).start()
    with socket.create_connection(("127.0.0.1", port), 30) as stream:
        talk(stream.sendall, lambda: stream.shutdown(socket.SHUT_WR), stream.recv)
    transport.cancel_port_forward("127.0.0.1", port)


def agent(client):
    channel = session(client)
    paramiko.agent.AgentRequestHandler(channel)
    channel.exec_command("ssh-add -l")
    assert b"(ED25519)" in read_all(channel.recv)


def x11(client):
    channel = session(client)
    try:
        channel.request_x11()
    except paramiko.SSHException:
        return
    raise AssertionError("X11 was granted")


def unknown_channels(client):
    for kind in "no-such-kind", "auth-agent@openssh.com":
        try:
            client.get_transport().open_channel(kind, timeout=30)
        except paramiko.ChannelException:
            continue
        raise AssertionError(f"{kind} was granted")
    status(client)


def hangup(client):
    told = os.path.join(DIR, "told")
    channel = session(client)
    channel.get_pty()
    channel.exec_command(f"trap 'echo > {told}; exit' HUP; echo ready; while :; do sleep 0.05; done")
    wait_for(channel, b"ready")
    client.get_transport().sock.shutdown(socket.SHUT_RDWR)
    deadline = time.monotonic() + 20
    while not os.path.exists(told):
        assert time.monotonic() < deadline, "the program was not told"
        time.sleep(0.02)


with connect(compress=FEATURE == "compression") as connection:
    if FEATURE == "compression":
        assert connection.get_transport().remote_compression == "zlib@openssh.com"
        output(connection)
        input(connection)
    else:
        globals()[FEATURE](connection)
