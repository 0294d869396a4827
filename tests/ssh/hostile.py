"""A client that does what no client does, once it is logged in. Needs paramiko.

hostile.py PORT KEYFILE CASE: says what came back on standard output, in one line, and ends with status 0.
"""

import os
import socket
import struct
import sys
import time

import paramiko
from paramiko.message import Message

OPEN, DATA, REQUEST, GLOBAL, KEXINIT = 90, 94, 98, 80, 20


def connect(port, key, window=1 << 21, packet=1 << 15):
    sock = socket.create_connection(("127.0.0.1", port))
    transport = paramiko.Transport(sock, default_window_size=window, default_max_packet_size=packet)
    transport.connect(username="root", pkey=paramiko.Ed25519Key(filename=key))
    return sock, transport


def message(kind, *parts):
    """Integers are uint32, bytes are themselves, text is a string of the protocol."""
    made = Message()
    made.add_byte(bytes([kind]))
    for part in parts:
        if isinstance(part, int):
            made.add_int(part)
        elif isinstance(part, bytes):
            made.add_bytes(part)
        else:
            made.add_string(part)
    return made


def send(transport, *parts):
    transport._send_message(message(*parts))


def until_closed(transport, limit=30):
    end = time.monotonic() + limit
    while transport.is_active():
        if time.monotonic() > end:
            return "still connected"
        time.sleep(0.02)
    return "closed"


def still_works(transport):
    """One more command on the same connection."""
    channel = transport.open_session(timeout=30)
    channel.settimeout(30)
    channel.exec_command("echo works")
    said = channel.makefile().read()
    channel.close()
    return said.decode().strip()


def garbage(sock, transport):
    sock.sendall(os.urandom(4096))
    return until_closed(transport)


def wrong_mac(sock, transport):
    real = transport.packetizer.write_all
    def corrupt(out):
        real(bytes(out[:-1]) + bytes([out[-1] ^ 1]))
    transport.packetizer.write_all = corrupt
    send(transport, GLOBAL, "keepalive@openssh.com", b"\1")
    return until_closed(transport)


def truncated_messages(sock, transport):
    """A string that claims more than the packet has."""
    send(transport, OPEN, b"\xff\xff\xff\xffsession")
    return until_closed(transport)


def empty_payload(sock, transport):
    """Packets of one byte: a type and nothing more."""
    for kind in (OPEN, DATA, REQUEST):
        send(transport, kind)
    return until_closed(transport)


def unknown_messages(sock, transport):
    for kind in range(192, 255):
        send(transport, kind, os.urandom(32))
    return still_works(transport)


def unknown_channel(sock, transport):
    for number in (4242, 0xFFFFFFFF):
        send(transport, DATA, number, "data")
        send(transport, REQUEST, number, "exec", b"\1", "id")
        send(transport, 93, number, 1 << 20)
        send(transport, 96, number)
        send(transport, 97, number)
    return still_works(transport)


def opened_twice(sock, transport):
    for _ in range(2):
        send(transport, OPEN, "session", 7, 1 << 20, 1 << 15)
    time.sleep(0.5)
    return until_closed(transport, 1) if not transport.is_active() else "connected"


def absurd_windows(sock, transport):
    """No window and packets of nothing; a window that overflows."""
    for number, (window, packet) in enumerate([(0, 0), (0xFFFFFFFF, 0xFFFFFFFF), (1, 0)]):
        send(transport, OPEN, "session", 100 + number, window, packet)
        send(transport, REQUEST, number, "exec", b"\0", "echo hello; head -c 100000 /dev/zero")
        send(transport, 93, number, 0xFFFFFFFF)
        send(transport, 93, number, 0xFFFFFFFF)
    time.sleep(0.5)
    return "connected" if transport.is_active() else "closed"


def many_opens(sock, transport):
    """Ten thousand channels; most are refused."""
    answers = {91: 0, 92: 0}
    def count(kind):
        # paramiko 2 hands itself over first, newer ones the message alone.
        def answer(*_):
            answers[kind] += 1
        return answer
    for kind in answers:
        transport._handler_table[kind] = count(kind)
    for number in range(10000):
        send(transport, OPEN, "session", number, 1 << 20, 1 << 15)
    end = time.monotonic() + 60
    while sum(answers.values()) < 10000 and time.monotonic() < end and transport.is_active():
        time.sleep(0.05)
    return f"{answers[91]} opened, {answers[92]} refused"


def beyond_window(sock, transport):
    """To a program that does not read."""
    channel = transport.open_session()
    channel.exec_command("sleep 1000")
    made = message(DATA, channel.remote_chanid)
    made.add_string(b"x" * 32768)
    stop_reading(transport)
    return flood(transport, sock, made, 10000)


def stop_reading(transport):
    """The client's end of the socket fills up."""
    transport.packetizer.read_message = lambda: time.sleep(1000)


def flood(transport, sock, made, count):
    """Sends without reading an answer until the server takes no more."""
    sent = 0
    sock.settimeout(5)
    real = transport.packetizer.write_all
    def write(out):
        sock.sendall(out)
    transport.packetizer.write_all = write
    try:
        for sent in range(count):
            transport.packetizer.send_message(made)
    except (OSError, EOFError):
        return f"blocked" if sent > 100 else f"blocked after {sent}"
    return f"all taken"


def global_flood(sock, transport):
    stop_reading(transport)
    return flood(transport, sock, message(GLOBAL, "no-such-request@example.com", b"\1"), 3000000)


def open_flood_unread(sock, transport):
    stop_reading(transport)
    return flood(transport, sock, message(OPEN, "session", 1, 1 << 20, 1 << 15), 1000000)


def request_flood_unread(sock, transport):
    channel = transport.open_session()
    channel.exec_command("sleep 1000")
    stop_reading(transport)
    made = message(REQUEST, channel.remote_chanid, "env", b"\1", "LANG", "C")
    return flood(transport, sock, made, 1000000)


def never_reads(sock, transport):
    """Endless output into a window of 4 GiB that nobody reads."""
    send(transport, OPEN, "session", 5, 0xFFFFFFFF, 1 << 15)
    time.sleep(0.5)
    stop_reading(transport)
    send(transport, REQUEST, 0, "exec", b"\0", "cat /dev/zero")
    time.sleep(4)
    return "waited"


def rekey_storm(sock, transport):
    for _ in range(30):
        transport.renegotiate_keys()
    return still_works(transport)


def rekey_half_way(sock, transport):
    """Starts to exchange keys again, and then sends everything but the rest of it."""
    stop_reading(transport)
    real = transport.packetizer
    transport._send_message(message(GLOBAL, "x", b"\0"))
    kexinit = Message()
    kexinit.add_byte(bytes([KEXINIT]))
    kexinit.add_bytes(b"\7" * 16)
    for names in ("curve25519-sha256", "ssh-ed25519", "aes256-ctr", "aes256-ctr",
                  "hmac-sha2-256-etm@openssh.com", "hmac-sha2-256-etm@openssh.com", "none", "none", "", ""):
        kexinit.add_string(names)
    kexinit.add_bytes(b"\0" * 5)
    real.send_message(kexinit)
    return flood(transport, sock, message(GLOBAL, "no-such-request@example.com", b"\1"), 1000000)


def many_rekeys_unread(sock, transport):
    stop_reading(transport)
    return flood(transport, sock, message(KEXINIT, os.urandom(16)), 100000)


def long_names(sock, transport):
    channel = transport.open_session()
    for _ in range(200):
        send(transport, REQUEST, channel.remote_chanid, "env", b"\0", "A" * 30000, "B" * 30000)
        send(transport, REQUEST, channel.remote_chanid, "subsystem", b"\0", "A" * 60000)
        send(transport, REQUEST, channel.remote_chanid, "x" * 60000, b"\0")
    return still_works(transport)


def main():
    port, key, case = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    sock, transport = connect(port, key)
    try:
        said = globals()[case](sock, transport)
    except (EOFError, OSError, paramiko.SSHException):
        said = until_closed(transport)
    print(said, flush=True)
    # The server sees the client go; threads that wait are left.
    os._exit(0)


main()
