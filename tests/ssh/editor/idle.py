"""What an open VS Code sends over SSH in a minute when nobody types: python3 idle.py BERTH CODE-SERVER-ENTRY MINUTES.

code-server's workbench, in a browser, speaks to its server as Remote-SSH's does: VS Code's own remote protocol, over a
WebSocket through a forwarded port. The counts are those of berth's server inside (`berth-traffic`). Needs root, chromium
and selenium; CODE-SERVER-ENTRY is out/node/entry.js of code-server's package.
"""
import json
import os
import pathlib
import queue
import re
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

berth, entry, minutes = sys.argv[1], sys.argv[2], int(sys.argv[3])
top = pathlib.Path(tempfile.mkdtemp())
started = []


def start(*words, **options):
    started.append(subprocess.Popen([str(word) for word in words], **options))
    return started[-1]


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def serve():
    etc = top / "etc"
    etc.mkdir()
    for key in (etc / "host_key", top / "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    (etc / "authorized_keys").write_text((top / "key.pub").read_text())
    (etc / "session.json").write_text('{"schema": 1}')
    server = start(berth, "inside", "serve", "--listen", "127.0.0.1:0", "--etc", etc, "--programs", top / "programs",
                   "--group-file", top / "group", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in server.stderr:
        if found := re.search(r"address=127\.0\.0\.1:(\d+)", line):
            break
    threading.Thread(target=server.stderr.read, daemon=True).start()
    lines = queue.Queue()
    threading.Thread(target=lambda: [lines.put(line) for line in server.stdout], daemon=True).start()
    return found.group(1), lines


def carried(lines):
    """The next minute."""
    while True:
        line = lines.get()
        if line.startswith('{"berth-traffic"'):
            told = json.loads(line)
            return told["received"], told["sent"]


def show(what, lines):
    received, sent = carried(lines)
    print(f"{what:<24} {received:>8} received {sent:>8} sent {received + sent:>8} together", flush=True)


try:
    port, lines = serve()
    work = top / "work"
    work.mkdir()
    (work / "train.py").write_text("import os\n\n\ndef train():\n    return os.getpid()\n" * 20)
    editor, local = free_port(), free_port()
    start("node", entry, "--auth", "none", "--bind-addr", f"127.0.0.1:{editor}", "--disable-telemetry",
          "--disable-update-check", "--disable-workspace-trust", env={**os.environ, "HOME": str(top)},
          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    start("ssh", "-F", "none", "-N", "-i", top / "key", "-p", port, "-o", "StrictHostKeyChecking=no", "-o",
          f"UserKnownHostsFile={top / 'known'}", "-L", f"{local}:127.0.0.1:{editor}", "root@127.0.0.1")
    time.sleep(20)
    options = Options()
    for option in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu",
                   f"--user-data-dir={top / 'chromium'}", "--window-size=1400,900"):
        options.add_argument(option)
    browser = webdriver.Chrome(service=Service("/usr/bin/chromedriver"), options=options)
    browser.get(f"http://127.0.0.1:{local}/?folder={work}")
    wait = WebDriverWait(browser, 120)
    wait.until(lambda browser: browser.find_elements(By.CSS_SELECTOR, ".explorer-folders-view .monaco-list-row"))
    time.sleep(10)
    row = browser.find_elements(By.CSS_SELECTOR, ".explorer-folders-view .monaco-list-row")[0]
    ActionChains(browser).double_click(row).perform()
    wait.until(lambda browser: browser.find_elements(By.CSS_SELECTOR, ".monaco-editor .view-line"))
    while lines.qsize():
        lines.get()
    show("opened, and the rest", lines)
    for minute in range(minutes):
        show(f"nobody types, minute {minute + 1}", lines)
    browser.find_elements(By.CSS_SELECTOR, ".monaco-editor .view-line")[0].click()
    ActionChains(browser).send_keys("ten chars ").perform()
    show("ten characters typed", lines)
    browser.quit()
finally:
    for process in reversed(started):
        process.kill()
