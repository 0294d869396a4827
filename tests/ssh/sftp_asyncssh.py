"""What asyncssh's SFTP client does, much of it at once. Arguments: port, key, directory."""

import asyncio
import os
import sys

import asyncssh

port, key, directory = int(sys.argv[1]), sys.argv[2], sys.argv[3].encode()


async def through(sftp, number):
    """One file up, renamed over another, down again."""
    path, data = directory + b"/%d" % number, os.urandom(200_000 + number)
    async with sftp.open(path + b".new", "wb") as file:
        await file.write(data)
    await sftp.posix_rename(path + b".new", path)
    async with sftp.open(path, "rb") as file:
        assert await file.read() == data
    found = await sftp.stat(path)
    assert found.size == len(data)


async def main():
    options = dict(port=port, username="root", client_keys=[key], known_hosts=None, agent_path=None)
    async with asyncssh.connect("127.0.0.1", **options) as connection:
        async with connection.start_sftp_client(path_encoding=None) as sftp:
            await asyncio.gather(*(through(sftp, number) for number in range(100)))
            far = directory + b"/far"
            async with sftp.open(far, "w+b") as file:
                await asyncio.gather(*(file.write(b"%d" % at, (4 << 30) + at * 10) for at in range(10)))
                assert await file.read(1, (4 << 30) + 90) == b"9"
            assert (await sftp.stat(far)).size == (4 << 30) + 91
            name = directory + b"/\xd6\xd0"
            await sftp.makedirs(name + b"/x")
            assert b"\xd6\xd0" in await sftp.listdir(directory)
            await sftp.rmtree(name)
            await sftp.link(far, directory + b"/hard")
            # It asks the server's version for the order of the two paths.
            await sftp.symlink(b"target", directory + b"/link")
            assert os.readlink(directory + b"/link") == b"target"
            assert await sftp.readlink(directory + b"/link") == b"target"
            await sftp.remove(far)
            room = await sftp.statvfs(directory)
            assert room.blocks > 0 and room.namemax == 255
            async with sftp.open(directory + b"/hard", "rb") as file:
                assert (await file.statvfs()).blocks == room.blocks
                await file.fsync()
        # Several clients over one connection.
        clients = [await connection.start_sftp_client(path_encoding=None) for _ in range(8)]
        await asyncio.gather(*(through(sftp, 1000 + at) for at, sftp in enumerate(clients)))


asyncio.run(asyncio.wait_for(main(), 50))
