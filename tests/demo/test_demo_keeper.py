"""What cleans up after a demo that was killed."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from poolscope.demo import keeper
from support.waiting import PATIENCE, until

# It ends, and writes to the folder then, when its input ends; SIGTERM makes it say so.
MEMBER = """
import pathlib, signal, sys
signal.signal(signal.SIGTERM, lambda *_: print("told to end", flush=True))
print("ready", flush=True)
sys.stdin.read()
pathlib.Path(sys.argv[1], "written at the end").touch()
"""


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Any]:
    """A keeper of the folder "demo"; as long as its input is open, the demo runs."""
    (tmp_path / "demo").mkdir()
    with subprocess.Popen(
        [sys.executable, "-I", keeper.__file__, tmp_path / "demo"],
        stdin=subprocess.PIPE,
        process_group=0,
    ) as process:
        yield process
        process.kill()


def member(folder: Path, group: int) -> Any:
    return subprocess.Popen(
        [sys.executable, "-c", MEMBER, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        process_group=group,
    )


def test_if_the_demo_has_cleaned_up_the_keeper_just_ends(kept: Any, tmp_path: Path) -> None:
    (tmp_path / "demo").rmdir()
    kept.stdin.close()
    assert 0 == kept.wait(PATIENCE)


def test_what_uses_the_folder_ends_before_it_is_removed(kept: Any, tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    with member(folder, kept.pid) as user:
        assert "ready\n" == user.stdout.readline()
        kept.stdin.close()
        assert "told to end\n" == user.stdout.readline()
        looked = psutil.Process(kept.pid).num_ctx_switches().voluntary
        until(
            lambda: psutil.Process(kept.pid).num_ctx_switches().voluntary > looked + 3,
            "the keeper has looked a few times",
        )
        user.stdin.close()
        assert 0 == user.wait(PATIENCE)
    # It ends itself with the rest of its group.
    assert -9 == kept.wait(PATIENCE)
    assert not folder.exists()


def test_what_does_not_end_and_does_not_use_the_folder_is_killed(kept: Any, tmp_path: Path) -> None:
    with member(tmp_path, kept.pid) as other:
        assert "ready\n" == other.stdout.readline()
        kept.stdin.close()
        assert -9 == other.wait(PATIENCE)
    assert not (tmp_path / "demo").exists()


def test_signals_to_its_group_do_not_end_the_keeper(kept: Any, tmp_path: Path) -> None:
    until(lambda: len(ignored(kept.pid)) == 3, "it ignores them")
    kept.terminate()
    kept.stdin.close()
    until(lambda: not (tmp_path / "demo").exists(), "it still cleans up")


def ignored(pid: int) -> list[str]:
    """Return which of SIGHUP, SIGINT and SIGTERM a process ignores."""
    with contextlib.suppress(FileNotFoundError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("SigIgn:"):
                mask = int(line.split()[1], 16)
                names = {"SIGHUP": 1, "SIGINT": 2, "SIGTERM": 15}
                return [name for name, number in names.items() if mask & 1 << (number - 1)]
    return []
