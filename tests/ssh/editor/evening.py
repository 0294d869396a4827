"""One evening of two people on eight cards, with leases of minutes: evening.py BERTH DOCKER-SOCKET IMAGE EDITOR PROFILES.

Everything is done with the programs that people use: berth, ssh, and code-server's workbench in a browser over a forwarded
port. Prints what each of them sees, with the time; a person reads it. It takes 12 minutes. Needs root, Docker, Debian's
chromium-driver and python3-selenium. IMAGE is the tests' debian.tar, PROFILES the folder profiles. EDITOR is a folder with
node (the program), lib (libstdc++.so.6, libgcc_s.so.1), and node_modules, which is made by

    npm install --ignore-scripts code-server@4.100.3
    (cd node_modules/code-server/lib/vscode && npm install --ignore-scripts --omit=dev)

and argon2.js replaced by an empty module, because nothing here has a password.
"""
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

berth_bin, docker, image, editor_dir, profiles = sys.argv[1:6]
top = pathlib.Path(tempfile.mkdtemp(prefix="eve"))
began = time.time()
started = []


def say(who, text):
    for line in text.rstrip("\n").split("\n"):
        print(f"{int(time.time() - began):4} s  {who:<8} {line}", flush=True)


def start(*words, **options):
    started.append(subprocess.Popen([str(word) for word in words], **options))
    return started[-1]


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def berth(who, *words, quiet=False, check=True):
    done = subprocess.run([berth_bin, "--config", top / "berth.toml", *words], capture_output=True, text=True)
    if not quiet:
        say(who, "$ berth " + " ".join(words))
        say(who, (done.stdout + done.stderr).strip() or f"(exit {done.returncode})")
    if check and done.returncode:
        raise SystemExit(f"exit {done.returncode}: {done.stderr}")
    return done.stdout


def show(name):
    return json.loads(berth("", "show", name, "--json", quiet=True))


def agent():
    global the_agent
    log = open(top / "agent.log", "a")
    the_agent = start(berth_bin, "--config", top / "berth.toml", "agent", stdout=log, stderr=log)
    until("the agent", lambda: subprocess.run([berth_bin, "--config", top / "berth.toml", "list"],
                                              capture_output=True).returncode == 0, 30)


def until(what, ask, seconds):
    end = time.time() + seconds
    while time.time() < end:
        if got := ask():
            return got
        time.sleep(1)
    raise SystemExit(f"{what}: not within {seconds} s")


class Person:
    def __init__(self, name):
        self.name, self.key = name, top / f"{name}.key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key], check=True)
        berth("admin", "user", "add", name, "--key", f"{self.key}.pub", "--no-login")
        self.editing, self.seen = [], []

    def ssh(self, view, *words):
        return ["ssh", "-F", "none", "-i", str(self.key), "-o", "StrictHostKeyChecking=no", "-o", "LogLevel=ERROR", "-o",
                f"UserKnownHostsFile={top / 'known'}", "-p", str(view["port"]), *words[:-1],
                f"{view['ssh_user']}@127.0.0.1", *words[-1:]]

    def run(self, view, command, check=True):
        done = subprocess.run(self.ssh(view, command), capture_output=True, text=True)
        if check and done.returncode:
            raise SystemExit(f"{self.name}: {command}: {done.stderr}")
        return done.stdout + done.stderr

    def terminal(self, view):
        """An open terminal; what comes into it is told."""
        words = self.ssh(view, "-tt", "exec sh -i")
        words = [word for word in words if word != "exec sh -i"]
        shell = start(*words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

        def read():
            for line in shell.stdout:
                text = line.decode(errors="replace").strip()
                if text:
                    self.seen.append(text)
                    say(self.name, f"| {text}")
            say(self.name, "| (the terminal ended)")
        threading.Thread(target=read, daemon=True).start()
        return shell

    def install(self, view):
        for what in ("node", "lib", "node_modules"):
            subprocess.run(["docker", "-H", f"unix://{docker}", "cp", "-q", f"{editor_dir}/{what}",
                            f"{view['container_id']}:/opt/{what}"], check=True)

    def edit(self, view):
        """The editor's server in the berth, and its workbench here over a forwarded port."""
        self.run(view, "mkdir -p ~/work/p; [ -e ~/work/p/train.py ] || printf 'import os\\n' > ~/work/p/train.py; "
                 "LD_LIBRARY_PATH=/opt/lib setsid /opt/node /opt/node_modules/code-server/out/node/entry.js --auth none "
                 "--bind-addr 127.0.0.1:8080 --disable-telemetry --disable-update-check --disable-workspace-trust "
                 "> ~/editor.log 2>&1 < /dev/null &")
        local = free_port()
        words = self.ssh(view, "-N", "-L", f"{local}:127.0.0.1:8080", "x")
        tunnel = start(*[word for word in words if word != "x"], stderr=subprocess.DEVNULL)
        time.sleep(15)
        options = Options()
        for option in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu",
                       f"--user-data-dir={top / (self.name + '-chromium')}", "--window-size=1400,900"):
            options.add_argument(option)
        self.browser = webdriver.Chrome(service=Service("/usr/bin/chromedriver"), options=options)
        home = self.run(view, "cd ~/work/p && pwd").strip()
        self.browser.get(f"http://127.0.0.1:{local}/?folder={home}")
        wait = WebDriverWait(self.browser, 150)
        wait.until(lambda b: b.find_elements(By.CSS_SELECTOR, ".explorer-folders-view .monaco-list-row"))
        time.sleep(5)
        row = self.browser.find_elements(By.CSS_SELECTOR, ".explorer-folders-view .monaco-list-row")[0]
        ActionChains(self.browser).double_click(row).perform()
        wait.until(lambda b: b.find_elements(By.CSS_SELECTOR, ".monaco-editor .view-line"))
        say(self.name, "the editor is open")
        return tunnel

    def types(self, text):
        self.browser.find_elements(By.CSS_SELECTOR, ".monaco-editor .view-line")[0].click()
        ActionChains(self.browser).send_keys(text).perform()


try:
    shutil.copytree(profiles, top / "profiles")
    sim = top / "profiles/sim.toml"
    text = sim.read_text()
    text += '\n[lease]\ngrace = "40s"\nprotected = "20s"\nfirst-warning = "1m"\nstop-time = "5s"\nlongest-renewal-while-wanted = "1m"\n'
    text += '[idle]\nwindow = "3m"\nparked-grace = "40s"\n'
    sim.write_text(text)
    (top / "storage").mkdir(mode=0o700)
    (top / "berth.toml").write_text(f'''profile = "{sim}"
[paths]
state = "state"
run = "run"
storage = "storage"
images = "images.toml"
profiles = "{top}/profiles"
[docker]
socket = "{docker}"
between-berths = "open"
[ssh]
ports = "22000-22099"
address = "127.0.0.1"
host = "127.0.0.1"
gateway = ""
''')
    agent()
    berth("admin", "image", "import", image, "--name", "debian")
    alice, bob = Person("alice"), Person("bob")
    berth("alice", "request", "--user", "alice", "--cards", "6", "--lease", "4m", "--name", "dev")
    mine = show("alice/dev")
    alice.install(mine)
    terminal = alice.terminal(mine)
    tunnel = alice.edit(mine)
    alice.types("# typed by alice")
    ActionChains(alice.browser).key_down("\ue009").send_keys("s").key_up("\ue009").perform()
    waits = start(berth_bin, "--config", top / "berth.toml", "request", "--user", "bob", "--cards", "4", "--name", "train",
                  "--lease", "20m", "--wait", "15m", stdout=open(top / "bob.out", "w"), stderr=subprocess.STDOUT)
    say("bob", "$ berth request --user bob --cards 4 --name train --lease 20m --wait 15m")
    time.sleep(3)
    berth("bob", "queue")
    until("alice to be asked back", lambda: show("alice/dev")["stops_at"], 300)
    berth("alice", "list")
    say("alice", alice.run(mine, "cat /opt/berth/info/lease.json"))
    berth("alice", "renew", "alice/dev")
    berth("alice", "renew", "alice/dev", check=False)
    until("bob's berth", lambda: waits.poll() is not None, 300)
    say("bob", (top / "bob.out").read_text())
    berth("alice", "list")
    say("alice", "$ ssh to her port: " + alice.run(mine, "true", check=False).strip())
    alice.browser.quit()
    his = show("bob/train")
    bob.install(his)
    bobs = bob.terminal(his)
    bob.edit(his)
    bob.types("# typed by bob")
    back = start(berth_bin, "--config", top / "berth.toml", "start", "alice/dev", "--wait", "15m", "--lease", "20m",
                 stdout=open(top / "alice.out", "w"), stderr=subprocess.STDOUT)
    say("alice", "$ berth start alice/dev --wait 15m --lease 20m")
    time.sleep(3)
    berth("alice", "queue")
    say("admin", "kill -9 the agent, and start it")
    the_agent.kill()
    the_agent.wait()
    time.sleep(2)
    agent()
    time.sleep(2)
    berth("alice", "queue")
    say("bob", "types nothing more; his editor and his terminal stay open")
    until("bob to be asked back", lambda: show("bob/train")["stops_at"], 420)
    berth("bob", "show", "bob/train")
    until("alice's berth", lambda: back.poll() is not None, 300)
    say("alice", (top / "alice.out").read_text())
    mine = show("alice/dev")
    alice.terminal(mine)
    say("alice", "$ cat ~/work/p/train.py: " + alice.run(mine, "cat ~/work/p/train.py; ls -d /opt/node").strip())
    alice.edit(mine)
    berth("admin", "list")
    berth("admin", "usage", "--by", "user")
    berth("admin", "events", "--decisions", "--last", "60")
    alice.browser.quit()
    bob.browser.quit()
finally:
    subprocess.run([berth_bin, "--config", top / "berth.toml", "release", "alice/dev"])
    subprocess.run([berth_bin, "--config", top / "berth.toml", "release", "bob/train"])
    for process in reversed(started):
        process.kill()
