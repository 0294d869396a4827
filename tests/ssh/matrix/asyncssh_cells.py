"""asyncssh against one server: python3 asyncssh_cells.py FEATURE PORT KEY DIR. What is missing is an exception."""
import asyncio
import os
import sys
import warnings

warnings.simplefilter("ignore")
import asyncssh  # noqa: E402

FEATURE, PORT, KEY, DIR = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
NOISE = os.urandom(6_000_000)
OPTIONS = {
    "compression": {"compression_algs": ["zlib@openssh.com"]},
    "keepalive": {"keepalive_interval": 1, "keepalive_count_max": 1},
    "rekeying": {"rekey_bytes": 1 << 20},
    "agent": {"agent_path": os.environ.get("SSH_AUTH_SOCK"), "agent_forwarding": True},
}


async def run(client, command, data=b"", **options):
    return await client.run(command, input=data, encoding=None, **options)


async def status(client):
    assert (await run(client, "exit 7")).exit_status == 7


async def killed(client):
    result = await run(client, "kill -TERM $$")
    assert result.exit_signal[0] == "TERM", result


async def half_close(client):
    assert (await run(client, "sort -r; echo after", b"a\nb\n")).stdout == b"b\na\nafter\n"


async def stderr(client):
    result = await run(client, "echo out; echo err >&2")
    assert (result.stdout, result.stderr) == (b"out\n", b"err\n")


async def output(client):
    path = os.path.join(DIR, "noise")
    open(path, "wb").write(NOISE)
    assert (await run(client, f"cat {path}")).stdout == NOISE


async def input(client):
    path = os.path.join(DIR, "up")
    await run(client, f"cat > {path}", NOISE)
    assert open(path, "rb").read() == NOISE


async def eight_bit(client):
    data = bytes(range(256)) * 300
    assert (await run(client, "cat", data)).stdout == data


async def shell(client):
    result = await run(client, None, b"echo $0 $((6*7)); exit 4\n")
    assert b"-bash 42" in result.stdout and result.exit_status == 4, result


async def script(client):
    result = await run(client, "bash -s", b"# a line\n" * 20000 + b"echo status==$?==; exit 3\n")
    assert (result.stdout, result.exit_status) == (b"status==0==\n", 3)


async def terminal(client):
    result = await client.run("stty size; echo term=$TERM; tty", term_type="xterm-256color", term_size=(101, 33))
    for text in ("33 101", "term=xterm-256color", "/dev/pts/"):
        assert text in result.stdout, result.stdout


async def window(client):
    command = "trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done"
    async with client.create_process(command, term_type="xterm", term_size=(101, 33)) as process:
        await process.stdout.readuntil("ready")
        process.change_terminal_size(122, 44)
        await process.stdout.readuntil("44 122")
        process.kill()


# The shell is without a child: bash drops a Ctrl-C that comes just when one ends by itself.
async def ctrl_c(client):
    command = "trap 'echo caught; exit 5' INT; echo ready; while :; do :; done"
    async with client.create_process(command, term_type="xterm") as process:
        await process.stdout.readuntil("ready")
        process.stdin.write("\x03")
        await process.stdout.readuntil("caught")
        assert (await process.wait()).exit_status == 5


async def environment(client):
    assert (await run(client, "echo $LC_ALL $LANG", env={"LC_ALL": "C", "LANG": "en"})).stdout == b"C en\n"


async def signals(client):
    command = "trap 'echo got usr1' USR1; trap 'echo got term; exit 3' TERM; echo ready; while :; do sleep 0.05; done"
    async with client.create_process(command) as process:
        await process.stdout.readuntil("ready")
        process.send_signal("USR1")
        await process.stdout.readuntil("got usr1")
        process.terminate()
        await process.stdout.readuntil("got term")
        assert (await process.wait()).exit_status == 3


async def channels(client):
    # Nobody reads this one: its window fills up and stays full.
    stuck = await client.create_process("cat /dev/zero")
    waiting = await client.create_process("read line; echo $line")
    await asyncio.gather(*(output(client) for _ in range(3)))
    waiting.stdin.write("go\n")
    assert (await waiting.wait()).stdout == "go\n"
    stuck.close()


async def keepalive(client):
    assert (await run(client, "sleep 3; echo here")).stdout == b"here\n"


async def rekeying(client):
    before = client._session_id, client._recv_seq
    results = await asyncio.gather(run(client, "cat", NOISE), run(client, "cat", NOISE))
    assert all(result.stdout == NOISE for result in results), before


async def sftp_files(client):
    async with client.start_sftp_client() as sftp:
        local, up, down = (os.path.join(DIR, name) for name in ("local", "up", "down"))
        open(local, "wb").write(NOISE)
        await sftp.put(local, up)
        await sftp.get(up, down)
        assert open(up, "rb").read() == NOISE == open(down, "rb").read()


async def sftp_list(client):
    async with client.start_sftp_client() as sftp:
        await sftp.makedirs(DIR + "/d/sub")
        for name in ("a", "b", "c"):
            async with sftp.open(f"{DIR}/d/{name}", "w") as file:
                await file.write(name)
        await sftp.posix_rename(DIR + "/d/a", DIR + "/d/b")
        await sftp.symlink("b", DIR + "/d/soft")
        assert await sftp.readlink(DIR + "/d/soft") == "b"
        assert sorted(await sftp.glob(DIR + "/d/*")) == [DIR + "/d/" + name for name in ("b", "c", "soft", "sub")]
        await sftp.chmod(DIR + "/d/b", 0o640)
        assert (await sftp.stat(DIR + "/d/b")).permissions & 0o777 == 0o640
        assert (await sftp.statvfs(DIR)).blocks > 0
        await sftp.rmtree(DIR + "/d")
        assert not await sftp.exists(DIR + "/d")


async def trees(client):
    os.makedirs(DIR + "/tree/sub")
    open(DIR + "/tree/sub/noise", "wb").write(NOISE)
    await asyncssh.scp(DIR + "/tree", (client, DIR + "/up"), recurse=True, preserve=True)
    await asyncssh.scp((client, DIR + "/up"), DIR + "/down", recurse=True, preserve=True)
    assert open(DIR + "/down/sub/noise", "rb").read() == NOISE


async def echo(reader, writer):
    total = 0
    while part := await reader.read(1 << 16):
        writer.write(part)
        await writer.drain()
        total += len(part)
    writer.write(b"=%d" % total)
    writer.write_eof()


async def echo_port():
    return (await asyncio.start_server(echo, "127.0.0.1", 0)).sockets[0].getsockname()[1]


async def talk(reader, writer):
    async def write():
        writer.write(NOISE)
        await writer.drain()
        writer.write_eof()

    writing = asyncio.ensure_future(write())
    got = await reader.read(-1)
    await writing
    assert got == NOISE + b"=%d" % len(NOISE), len(got)
    writer.close()


async def local_forward(client):
    async with client.forward_local_port("127.0.0.1", 0, "localhost", await echo_port()) as listener:
        await talk(*await asyncio.open_connection("127.0.0.1", listener.get_port()))


async def dynamic(client):
    listener = await client.forward_socks("127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.get_port())
    writer.write(b"\5\1\0\5\1\0\3\x09localhost" + (await echo_port()).to_bytes(2, "big"))
    assert (await reader.readexactly(12))[:4] == b"\5\0\5\0"
    await talk(reader, writer)
    listener.close()


async def remote_forward_any(client):
    listener = await client.forward_remote_port("127.0.0.1", 0, "127.0.0.1", await echo_port())
    await talk(*await asyncio.open_connection("127.0.0.1", listener.get_port()))
    listener.close()


async def streamlocal(client):
    server = await asyncio.start_unix_server(echo, DIR + "/target")
    async with client.forward_local_path(DIR + "/here", DIR + "/target"):
        await talk(*await asyncio.open_unix_connection(DIR + "/here"))
    server.close()


async def remote_streamlocal(client):
    server = await asyncio.start_unix_server(echo, DIR + "/target")
    listener = await client.forward_remote_path(DIR + "/there", DIR + "/target")
    await talk(*await asyncio.open_unix_connection(DIR + "/there"))
    listener.close()
    server.close()


async def agent(client):
    assert b"(ED25519)" in (await run(client, "ssh-add -l")).stdout


async def x11(client):
    try:
        await client.create_process("true", x11_forwarding=True, x11_display="127.0.0.1:77")
    except asyncssh.ChannelOpenError:
        return
    raise AssertionError("X11 was granted")


async def compression(client):
    assert client.get_extra_info("recv_compression") == "zlib@openssh.com"
    await output(client)
    await input(client)


async def hangup(client):
    told = os.path.join(DIR, "told")
    command = f"trap 'echo > {told}; exit' HUP; echo ready; while :; do sleep 0.05; done"
    process = await client.create_process(command, term_type="xterm")
    await process.stdout.readuntil("ready")
    client.abort()
    while not os.path.exists(told):
        await asyncio.sleep(0.02)


async def main():
    options = OPTIONS.get(FEATURE, {})
    agent_path = options.pop("agent_path", None)
    async with asyncssh.connect("127.0.0.1", PORT, username="root", client_keys=[KEY], known_hosts=None, config=None,
                                agent_path=agent_path, **options) as client:
        await globals()[FEATURE](client)


asyncio.run(asyncio.wait_for(main(), 35))
