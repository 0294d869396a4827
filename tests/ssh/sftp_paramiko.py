"""What paramiko's SFTP client does, and what must be refused. Arguments: port, key, directory."""

import errno
import os
import stat
import sys

import paramiko

port, key, directory = int(sys.argv[1]), sys.argv[2], sys.argv[3]


def refused(code, call, *arguments):
    try:
        call(*arguments)
    except OSError as error:
        assert code is None or error.errno == code, (call, error)
        return str(error)
    raise AssertionError(f"{call} {arguments} was not refused")


client = paramiko.SSHClient()
client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
client.connect("127.0.0.1", port, "root", key_filename=key, allow_agent=False, look_for_keys=False)
sftp = client.open_sftp()
assert sftp.normalize(".") == "/root"
sftp.chdir(directory)

# Beyond 4 GiB, in a file that is mostly a hole.
with sftp.open("sparse", "w+") as sparse:
    sparse.seek(5 << 30)
    sparse.write(b"end")
    sparse.flush()
    sparse.seek((5 << 30) - 2)
    assert sparse.read(10) == b"\0\0end"
assert sftp.stat("sparse").st_size == (5 << 30) + 3

# Version 3 does not replace; the extension does.
for name in ("a", "b"):
    with sftp.open(name, "w") as file:
        file.write(name.encode())
assert "exists" in refused(None, sftp.rename, "a", "b")
sftp.posix_rename("a", "b")
assert sftp.open("b").read() == b"a"

# Ways to open.
with sftp.open("b", "a") as file:
    file.write(b"ppended")
assert sftp.open("b").read() == b"appended"
refused(None, sftp.open, "b", "x")
with sftp.open("b", "r+") as file:
    file.truncate(3)
    file.chmod(0o600)
    file.utime((1, 2))
    file.seek(1)
    file.write(b"QQQ")
found = sftp.lstat("b")
assert stat.S_IMODE(found.st_mode) == 0o600 and stat.S_ISREG(found.st_mode)
assert sftp.open("b").read() == b"aQQQ"
with sftp.open("b", "w") as file:
    pass
assert sftp.stat("b").st_size == 0
sftp.utime("b", (1, 2))
assert (sftp.stat("b").st_atime, sftp.stat("b").st_mtime) == (1, 2)
sftp.truncate("b", 10)
assert sftp.stat("b").st_size == 10

# Links.
sftp.symlink("b", "link")
assert sftp.readlink("link") == "b" and stat.S_ISLNK(sftp.lstat("link").st_mode)
assert sftp.normalize("link") == directory + "/b"
assert sftp.normalize("new") == directory + "/new"
refused(errno.ENOENT, sftp.normalize, "no/new")

# Errors are what the system says.
refused(errno.ENOENT, sftp.stat, "nothing")
refused(errno.ENOENT, sftp.open, "b/c")
assert "empty" in refused(None, sftp.rmdir, directory)
assert "directory" in refused(None, lambda: sftp.open(".").read(1))
refused(None, sftp.mkdir, directory)

# Names in GBK, which are no UTF-8.
name = b"\xd6\xd0\xce\xc4"
sftp.open(name, "w").write(b"gbk")
assert os.path.getsize(os.path.join(directory.encode(), name)) == 3
sftp.remove(name)

# A large directory, with all attributes.
sftp.mkdir("many", 0o750)
for number in range(2000):
    with open(f"{directory}/many/{number}", "w") as file:
        file.write("x" * (number % 7))
listed = sftp.listdir_attr("many")
assert sorted(int(entry.filename) for entry in listed) == list(range(2000))
assert all(entry.st_size == int(entry.filename) % 7 for entry in listed)
assert listed[0].longname.startswith("-rw-r--r--") and "root" in listed[0].longname

# Everything at once, both ways.
data = os.urandom(20_000_000)
with sftp.open("big", "w") as file:
    file.set_pipelined(True)
    file.write(data)
with sftp.open("big") as file:
    file.prefetch()
    assert file.read() == data
    pieces = file.readv([(5, 7), (19_999_000, 1000), (77, 1)])
    assert list(pieces) == [data[5:12], data[19_999_000:], data[77:78]]

# A terminal would change bytes, so the subsystem has none.
channel = client.get_transport().open_session()
channel.get_pty()
channel.invoke_subsystem("sftp")
with paramiko.SFTPClient(channel).open(directory + "/bytes", "w") as file:
    file.write(bytes(range(256)) * 100)
assert open(directory + "/bytes", "rb").read() == bytes(range(256)) * 100
client.close()
