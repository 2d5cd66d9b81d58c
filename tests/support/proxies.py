"""nginx before an exporter, as docs/exporter.md has it."""

from __future__ import annotations

import os
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from support.ports import ReservedPort
from support.tools import required
from support.waiting import PATIENCE, until

CONFIGURATION: Final = """
daemon off;
{user}
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  proxy_cache_path {folder}/cache keys_zone=pools:1m;
  server {{
    listen 127.0.0.1:{port};
    {location}
  }}
}}
"""


@contextmanager
def nginx(folder: Path, location: str) -> Iterator[str]:
    """Run nginx with this part of its configuration; gives its address, without a path."""
    path = required("nginx", "nginx-light")
    port = ReservedPort()
    user = "user root;" if os.geteuid() == 0 else ""
    file = folder / "nginx.conf"
    file.write_text(
        CONFIGURATION.format(folder=folder, port=port.number, location=location, user=user)
    )
    command = [path, "-p", str(folder), "-c", str(file), "-e", "stderr"]
    subprocess.run([*command, "-t", "-q"], check=True)
    process = subprocess.Popen(command)
    try:
        until(lambda: accepts(port.number) or process.poll() is not None, "nginx listens")
        yield f"http://127.0.0.1:{port.number}"
    finally:
        process.terminate()
        process.wait(PATIENCE)
        port.give_back()


def accepts(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def fetched(url: str, **headers: str) -> tuple[int, str, bytes]:
    """Request a URL; return status, the address after all redirections, and the body."""
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:
            return response.status, response.url, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.url or url, error.read()
