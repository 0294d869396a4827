"""Stands in for an editor's server: HTTP, and a terminal over a WebSocket (tornado and terminado, as Jupyter has them)."""
import argparse
import logging

import terminado
from tornado import httpserver, ioloop, netutil, web

PAGE = """<!doctype html><title>editor</title><textarea id=keyboard></textarea><pre id=screen></pre><script>
const socket = new WebSocket(new URL("/websocket", location).href.replace(/^http/, "ws"));
socket.onmessage = message => {
  const [kind, text] = JSON.parse(message.data);
  if (kind === "setup") document.title = "connected";
  if (kind === "stdout") document.getElementById("screen").append(text);
};
document.getElementById("keyboard").onkeypress = key =>
  socket.send(JSON.stringify(["stdin", key.key === "Enter" ? "\\r" : key.key]));
</script>"""


class Page(web.RequestHandler):
    def get(self):
        self.write(PAGE)


parser = argparse.ArgumentParser()
parser.add_argument("--start-server", action="store_true")
parser.add_argument("--host")
parser.add_argument("--port", type=int)
parser.add_argument("--socket-path")
options, _ = parser.parse_known_args()

logging.basicConfig(level=logging.INFO)
terminals = terminado.SingleTermManager(shell_command=["bash", "--norc"])
application = web.Application([
    ("/", Page),
    ("/websocket", terminado.TermSocket, {"term_manager": terminals}),
])
server = httpserver.HTTPServer(application)
if options.socket_path:
    server.add_socket(netutil.bind_unix_socket(options.socket_path))
    listening = options.socket_path
else:
    sockets = netutil.bind_sockets(options.port, options.host)
    server.add_sockets(sockets)
    listening = sockets[0].getsockname()[1]
print(f"Extension host agent listening on {listening}", flush=True)
ioloop.IOLoop.current().start()
