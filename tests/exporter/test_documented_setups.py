"""docs/exporter.md: each option is there, and programs accept the examples for them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from poolscope.commands.exporter import OPTIONS
from support.proxies import nginx
from support.tools import missing, required

TEXT: Final = (Path(__file__).parents[2] / "docs" / "exporter.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("flag", [flag for flag, _ in OPTIONS])
def test_each_option_is_in_the_table(flag: str) -> None:
    assert re.search(rf"^\| .*`{re.escape(flag)}[ `]", TEXT, re.MULTILINE)


@pytest.mark.parametrize("location", blocks("nginx"))
def test_nginx_accepts_the_examples(location: str, tmp_path: Path) -> None:
    with nginx(tmp_path, location) as url:
        assert url


def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    program = required("systemd-analyze", "systemd")
    units = {
        match[1]: text
        for text in blocks("ini")
        if (match := re.match(r"# /etc/systemd/system/(\S+)\n", text))
    }
    assert {"poolscope-exporter.socket", "poolscope-exporter.service"} == set(units)
    for name, text in units.items():
        # The program need not be installed there, and these users may not exist here.
        here = text.replace("/opt/shop/bin/poolscope", sys.executable)
        here = re.sub(r"^(User|SocketGroup)=.*", r"\1=root", here, flags=re.MULTILINE)
        (tmp_path / name).write_text(here)
    done = subprocess.run(
        [program, "verify", *(str(tmp_path / name) for name in units)],
        capture_output=True,
        text=True,
        check=False,
    )
    if "Failed to" in done.stderr and "manager" in done.stderr:
        missing(f"systemd-analyze does not work here: {done.stderr}")
    ours = [line for line in done.stderr.splitlines() if "poolscope" in line]
    assert (0, []) == (done.returncode, ours)
