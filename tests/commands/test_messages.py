"""What commands say when they cannot go on, and what is said meanwhile."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from poolscope.cli import main
from poolscope.commands.arguments import listen_address
from poolscope.demo.log import KEPT_LINES, capture_log


@pytest.mark.parametrize(
    ("command", "missing"),
    [
        (["alerts", "--out", "there"], "yaml"),
        (["dashboards", "--out", "there"], "grafanalib"),
        (["exporter", "--dir", "there"], "bcrypt"),
    ],
    ids=["alerts", "dashboards", "exporter"],
)
def test_a_missing_extra_is_named_with_how_to_get_it(command: list[str], missing: str) -> None:
    program = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        f"from poolscope.cli import main\nsys.exit(main({command!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    extra = f"{missing} is missing; pip install 'poolscope[{command[0]}]'"
    assert (1, "", f"poolscope {command[0]}: {extra}\n") == (
        done.returncode,
        done.stdout,
        done.stderr,
    )


class TestAlerts:
    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            (("--events", "0"), "events: 0.0 must be more than 0"),
            (("--grafana", "x"), "--grafana: 'x' is not a URL, such as https://..."),
        ],
    )
    def test_bad_options_are_one_line_and_2(
        self,
        words: tuple[str, ...],
        expected: str,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        out = tmp_path / "alerts"
        assert 2 == main(["alerts", "--out", str(out), *words])
        assert ("", f"poolscope alerts: {expected}\n") == capsys.readouterr()
        assert not out.exists()

    def test_a_folder_that_cannot_be_made_is_one_line_and_1(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "file"
        out.write_text("")
        assert 1 == main(["alerts", "--out", str(out)])
        assert ("", f"poolscope alerts: {out}: File exists\n") == capsys.readouterr()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (":10464", ("0.0.0.0", 10464)),  # noqa: S104 - as other exporters do
        ("[::]:0", ("::", 0)),
        ("db:9", ("db", 9)),
    ],
)
def test_where_to_listen(text: str, expected: tuple[str, int]) -> None:
    assert expected == listen_address(text)


def test_the_demo_keeps_the_last_lines_of_the_log_to_itself(
    caplog: pytest.LogCaptureFixture,
) -> None:
    logger = logging.getLogger("poolscope")
    with capture_log() as lines:
        for number in range(KEPT_LINES + 2):
            logger.warning("line %d", number)
        assert [f"line {number}" for number in range(2, KEPT_LINES + 2)] == list(lines)
    assert 6 == len(lines)
    assert [] == caplog.messages
    logger.warning("afterwards")
    assert ["afterwards"] == caplog.messages
