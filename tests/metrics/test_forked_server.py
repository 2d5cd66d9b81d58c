"""A child that is forked beside the server of its own serves nothing of its parent."""

from __future__ import annotations

import subprocess
import sys
from typing import Any, Final

from support.waiting import PATIENCE

FORKING: Final = """
import os, socket, sys, urllib.request
import poolscope

server, thread = poolscope.start_http_server(0)
url = f"http://127.0.0.1:{server.server_port}/metrics"
silent = socket.create_connection(("127.0.0.1", server.server_port))
assert b"python_info" in urllib.request.urlopen(url).read()
has_read, tells = os.pipe()
child = os.fork()
if child == 0:
    assert server.socket.fileno() == -1
    server.shutdown()  # returns at once
    server.server_close()
    other, _ = poolscope.start_http_server(0)
    own = f"http://127.0.0.1:{other.server_port}/metrics"
    assert b"python_info" in urllib.request.urlopen(own).read()
    assert b"python_info" in urllib.request.urlopen(url).read()  # its parent's
    os.write(tells, b"x")
    sys.stdin.readline()
    os._exit(0)
for _ in range(3):
    assert b"python_info" in urllib.request.urlopen(url).read()
os.close(tells)
assert b"x" == os.read(has_read, 1)
server.shutdown()
# Although the child lives, nobody listens, and the port is free.
try:
    socket.create_connection(("127.0.0.1", server.server_port))
    print("somebody listens", flush=True)
except ConnectionRefusedError:
    again, _ = poolscope.start_http_server(server.server_port)
    print("free", flush=True)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_child_serves_nothing_of_its_parent() -> None:
    process: Any = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", FORKING],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert "free\n" == process.stdout.readline()
        process.communicate("\n", timeout=PATIENCE)
    assert 0 == process.returncode
