"""`berth request` against `docker run -d` of a container that is the same in every option."""

import json
import shutil
import socket
import statistics
import subprocess
import time

from engine import Watcher
from node import OWNER
from table import spread, verdict

NAME = "latency"
BUSY = 7


def measure(node, engine, table, options):
    watcher = Watcher(engine, node.dev)
    same, port = same_container(node, engine)
    samples = {"berth": [], "docker": []}
    busy = 0
    sides = [("berth", lambda: berth_once(node, watcher)), ("docker", lambda: docker_once(node, engine, watcher, same, port))]
    for round_ in range(options.n + 1):  # the first warms up and is not counted
        for side, once in sides if round_ % 2 else reversed(sides):
            while (sample := once()) is None:  # another user of this engine had the card for a moment
                busy += 1
                if busy > options.n:
                    raise RuntimeError("something else on this engine holds the cards again and again")
            if round_:
                samples[side].append(sample)
    watcher.close()
    report(table, samples, busy)


def report(table, samples, busy):
    column = lambda side, key: [sample[key] for sample in samples[side]]
    median = lambda side, key: statistics.median(column(side, key))
    n = len(samples["berth"])
    for what, key, limit in [
        ("create + start: command to the engine's start event", "start", 1.1),
        ("whole command: `berth request` and `docker run -d`", "whole", 1.1),
    ]:
        ratio = median("berth", key) / median("docker", key)
        texts = [spread(column(side, key)) for side in ("berth", "docker")]
        table.add(what, *texts, f"{ratio:.2f}, at most {limit}", verdict(ratio <= limit), ratio=ratio, n=n, samples=samples)
    later = median("berth", "banner") - median("docker", "whole")
    table.add(
        "SSH answers on the published port; `docker run` returned", spread(column("berth", "banner")),
        spread(column("docker", "whole")), f"{later * 1000:+.0f} ms, at most +100 ms", verdict(later <= 0.1), later=later, n=n,
    )
    table.add("the same SSH server in the plain container answers", "", spread(column("docker", "banner")))
    if busy:
        table.add("samples taken again, as another user of the engine held the card", str(busy))


def berth_once(node, watcher):
    node.settle()
    began, mono = time.time(), time.monotonic()
    done = node.berth("request", "--user", OWNER, "--name", NAME, "--cards", "2", "--image", "workspace", "--json", check=False)
    whole = time.monotonic() - mono
    if done.returncode == BUSY:
        return None
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    view = json.loads(done.stdout)
    sample = {"whole": whole, "banner": banner(view["port"], mono)}
    sample["start"] = watcher.wait(view["container_id"], "start") - began
    node.berth("release", f"{OWNER}/{NAME}")
    return sample


def docker_once(node, engine, watcher, same, port):
    node.settle()
    node.pause_agent()  # it would look at the new container, and slow Docker down
    try:
        began, mono = time.time(), time.monotonic()
        container = subprocess.run([*engine.command, *same], capture_output=True, text=True, check=True).stdout.strip()
        whole = time.monotonic() - mono
        sample = {"whole": whole, "banner": banner(port, mono), "start": watcher.wait(container, "start") - began}
    finally:
        engine.remove("bench-same")
        node.resume_agent()
    return sample


def banner(port, began):
    """How long after `began` the published port sends an SSH banner."""
    while time.monotonic() - began < 30:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
                if connection.recv(4) == b"SSH-":
                    return time.monotonic() - began
        except OSError:
            pass
        time.sleep(0.001)
    raise RuntimeError(f"no SSH banner on port {port}")


def same_container(node, engine):
    """`docker run` arguments for a copy of a berth's container, from what the engine says of a real one."""
    view = node.json("request", "--user", OWNER, "--name", NAME, "--cards", "2", "--image", "workspace")
    made = engine.inspect(view["container_id"])
    files = node.dir / "same"
    shutil.rmtree(files, ignore_errors=True)
    shutil.copytree(node.dir / f"state/berths/{view['id']}", files, symlinks=True)
    node.berth("release", f"{OWNER}/{NAME}")
    return run_arguments(made, str(node.dir / f"state/berths/{view['id']}"), str(files), view["port"]), view["port"]


def run_arguments(made, berth_dir, files, port):
    config, host = made["Config"], made["HostConfig"]
    arguments = ["run", "-d", "--name", "bench-same", "--init", "--no-healthcheck"]
    arguments += ["--hostname", config["Hostname"], "--user", config["User"], "--workdir", config["WorkingDir"]]
    arguments += ["--stop-signal", config["StopSignal"], "--stop-timeout", str(config["StopTimeout"])]
    arguments += ["--entrypoint", config["Entrypoint"][0], "--publish", f"127.0.0.1:{port}:22/tcp"]
    for text in config["Env"]:
        arguments += ["--env", text]
    for key, value in config["Labels"].items():  # as many, but not those by which berth knows its own
        arguments += ["--label", f"bench{key.removeprefix('berth')}={value}"]
    for device in host["Devices"]:
        arguments += ["--device", f"{device['PathOnHost']}:{device['PathInContainer']}:{device['CgroupPermissions']}"]
    for mount in host["Mounts"]:
        source = mount["Source"].replace(berth_dir, files)
        arguments += ["--mount", f"type=bind,source={source},target={mount['Target']}" + (",readonly" if mount.get("ReadOnly") else "")]
    for group in host["GroupAdd"] or []:
        arguments += ["--group-add", group]
    for option in host["SecurityOpt"] or []:
        arguments += ["--security-opt", option]
    for key, value in host["LogConfig"]["Config"].items():
        arguments += ["--log-opt", f"{key}={value}"]
    if host["NanoCpus"]:
        arguments += ["--cpus", str(host["NanoCpus"] / 1e9)]
    if host["CpusetCpus"]:
        arguments += ["--cpuset-cpus", host["CpusetCpus"]]
    arguments += ["--memory", str(host["Memory"]), "--memory-swap", str(host["MemorySwap"]), "--shm-size", str(host["ShmSize"])]
    arguments += ["--pids-limit", str(host["PidsLimit"]), "--network", host["NetworkMode"], "--ipc", host["IpcMode"]]
    arguments += ["--runtime", host["Runtime"], "--restart", "no", "--log-driver", host["LogConfig"]["Type"]]
    if host.get("CgroupnsMode"):
        arguments += ["--cgroupns", host["CgroupnsMode"]]
    return [*arguments, made["Image"], *config["Cmd"]]
