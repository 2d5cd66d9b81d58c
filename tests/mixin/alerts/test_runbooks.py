"""The runbooks: there is a page for each alert, and its commands and queries work."""

from __future__ import annotations

import ast
import json
import re
import shlex
import subprocess
import textwrap
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import psycopg
import pytest
import yaml

from mixin.dashboards.gates.expressions import Expression, parse, unknown
from poolscope.commands.exporter import RESERVED_PATHS
from poolscope.demo.postgres import EmbeddedPostgres
from poolscope.exporter import api
from poolscope.exporter.history import History
from poolscope.fleet.fleet import Fleet
from poolscope.metrics.exporter_families import Scrape
from poolscope.readings.database_servers import (
    BouncerPool,
    BouncerReading,
    ServerConnections,
    ServerReading,
)
from support.tools import required
from support.workers import Worker

ROOT: Final = Path(__file__).parents[3]
FOLDER: Final = ROOT / "docs" / "runbooks"
README: Final = FOLDER / "README.md"
PAGES: Final = sorted(path for path in FOLDER.iterdir() if path != README)
NAMES: Final = [page.stem for page in PAGES]

HEADINGS: Final = ["Meaning", "Impact", "Diagnosis", "Mitigation", "Silence"]
FENCED: Final = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
LINK: Final = re.compile(r"\[[^]]+\]\(([^)#]+)[^)]*\)")
ROW: Final = re.compile(r"^\| \[(\w+)\]\((\w+)\.md\) \| ([\w, ]+) \|", re.MULTILINE)
BOARD: Final = re.compile(r'dashboards? `([\w-]+)`(?:, (?:row|panel) "([^"]+)")?')

API: Final = "http://127.0.0.1:10464"
ADDRESS: Final = re.compile(rf"{re.escape(API)}([\w/.-]*)")
JQ: Final = re.compile(rf"{re.escape(API)}/api/v1/pools \| jq (?:-\w+ )?'([^']*)'")
FIELD: Final = re.compile(r"\.([a-z_]+)|(?<=[{,])\s*([a-z_]+)\s*(?=[,}])")
"""A field in a jq program: `.name`, or a name in `{name, other}`."""

LABELS: Final = ("cluster", "service", "instance", "job", "alertname", "alertstate", "severity")
RENAMED: Final = ("exported_pool", "exported_kind")
"""What Prometheus makes of our labels where a target has labels of these names."""

PROMETHEUS: Final = ("up", "ALERTS")
"""Metrics of Prometheus itself."""


class Block(NamedTuple):
    page: str
    language: str
    text: str


def without_blocks(text: str) -> str:
    return FENCED.sub("", text)


def blocks(language: str) -> list[Block]:
    """Return the code blocks of a language in all pages."""
    found = [
        Block(path.stem, match[2], textwrap.dedent(match[3]))
        for path in (*PAGES, README)
        for match in FENCED.finditer(path.read_text())
    ]
    return [block for block in found if block.language == language]


def rules() -> dict[str, list[Any]]:
    """Return the rules by the name of their alert."""
    found: defaultdict[str, list[Any]] = defaultdict(list)
    for group in yaml.safe_load((ROOT / "alerts" / "rules.yml").read_text())["groups"]:
        for rule in group["rules"]:
            found[rule["alert"]].append(rule)
    return dict(found)


def recorded() -> list[str]:
    groups = yaml.safe_load((ROOT / "alerts" / "recording.yml").read_text())["groups"]
    return [rule["record"] for group in groups for rule in group["rules"]]


class TestPages:
    def test_each_alert_has_a_page_and_each_page_an_alert(self) -> None:
        assert {f"{name}.md" for name in rules()} == {page.name for page in PAGES}

    @pytest.mark.parametrize("page", PAGES, ids=NAMES)
    def test_a_page_has_these_headings_in_this_order(self, page: Path) -> None:
        found = re.findall(r"^#+ .*", without_blocks(page.read_text()), re.MULTILINE)
        assert [f"# {page.stem}", *(f"## {heading}" for heading in HEADINGS)] == found

    @pytest.mark.parametrize("page", [*PAGES, README], ids=[*NAMES, "README"])
    def test_lines_are_short_enough_to_read(self, page: Path) -> None:
        lines = without_blocks(page.read_text()).splitlines()
        prose = [line for line in lines if not line.lstrip().startswith("|")]
        assert [] == [line for line in prose if len(line) > 100]

    @pytest.mark.parametrize("page", [*PAGES, README], ids=[*NAMES, "README"])
    def test_links_lead_to_files_that_exist(self, page: Path) -> None:
        targets = LINK.findall(without_blocks(page.read_text()))
        relative = [target for target in targets if not target.startswith("http")]
        assert [] == [target for target in relative if not (FOLDER / target).exists()]

    def test_dashboards_and_rows_that_are_named_exist(self) -> None:
        titles = {}
        for path in (ROOT / "dashboards").glob("*.json"):
            board = json.loads(path.read_text())
            titles[board["uid"]] = {"", *(panel.get("title", "") for panel in board["panels"])}
        named = [
            (page.stem, uid, title)
            for page in (*PAGES, README)
            for uid, title in BOARD.findall(" ".join(page.read_text().split()))
        ]
        assert {uid for _, uid, _ in named} == titles.keys()
        assert [] == [each for each in named if each[2] not in titles[each[1]]]

    def test_the_table_has_all_alerts_with_their_severities(self) -> None:
        expected = [
            (name, name, ", ".join(dict.fromkeys(rule["labels"]["severity"] for rule in found)))
            for name, found in rules().items()
        ]
        assert expected == ROW.findall(README.read_text())


class TestQueries:
    def expressions(self) -> list[Expression]:
        return [
            Expression(block.page, f"{block.page}: {text}", text, text)
            for block in blocks("promql")
            for text in block.text.strip().split("\n\n")
        ]

    def test_prometheus_accepts_them(self, promtool: str) -> None:
        assert [] == parse(self.expressions(), promtool)

    def test_they_fit_the_catalogue(self) -> None:
        others = [*recorded(), *PROMETHEUS]
        assert [] == [
            (each.where, problem)
            for each in self.expressions()
            for problem in unknown(each.text, labels=(*LABELS, *RENAMED), recorded=others)
        ]


class TestSql:
    @pytest.mark.parametrize("block", blocks("sql"), ids=lambda block: block.page)
    def test_postgresql_runs_it(self, block: Block, postgres: EmbeddedPostgres) -> None:
        with psycopg.connect(postgres.dsn) as connection:
            connection.execute(block.text.encode())
            connection.rollback()


class TestCommands:
    @pytest.mark.parametrize("block", blocks("sh"), ids=lambda block: block.page)
    def test_a_shell_can_read_it(self, block: Block) -> None:
        done = subprocess.run(
            ["/bin/sh", "-n"], input=block.text, capture_output=True, text=True, check=False
        )
        assert (0, "") == (done.returncode, done.stderr)

    @pytest.mark.parametrize("block", blocks("python"), ids=lambda block: block.page)
    def test_python_can_read_it(self, block: Block) -> None:
        assert ast.parse(block.text).body

    @pytest.mark.parametrize("page", PAGES, ids=NAMES)
    def test_the_exporter_serves_the_urls(self, page: Path) -> None:
        assert set(ADDRESS.findall(page.read_text())) <= {*RESERVED_PATHS, "/metrics"}

    @pytest.mark.parametrize("page", PAGES, ids=NAMES)
    def test_a_silence_names_the_alert_an_end_and_a_reason(self, page: Path) -> None:
        section = page.read_text().partition("\n## Silence\n")[2]
        (command,) = (match[3] for match in FENCED.finditer(section))
        words = shlex.split(command.replace("\\\n", ""))
        assert ["amtool", "silence", "add", f"alertname={page.stem}"] == words[:4]
        options = [word.partition("=")[0] for word in words if word.startswith("--")]
        assert ["--duration", "--comment"] == options
        chosen = {word.partition("=")[0] for word in words[4:] if not word.startswith("--")}
        assert any(chosen <= labels_of(rule) for rule in rules()[page.stem])


def labels_of(rule: Any) -> set[str]:
    """Return the labels that an alert always has: those of the rule, and those in its texts."""
    named = re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values()))
    return {*rule["labels"], *named}


SERVERS: Final = ServerReading(
    "db:5432",
    up=True,
    limit=100,
    reserved=3,
    connections=(ServerConnections("shop", "shop", "shop:orders:4711", "active", 2, 1.0),),
)
BOUNCER: Final = BouncerReading(
    "bouncer:6432",
    up=True,
    client_limit=100,
    pool_size=20,
    pools=(BouncerPool("shop", "shop", {"active": 1}, {"idle": 1}, 0.0),),
)


def fields(value: Any) -> set[str]:
    """Return the names of all fields in a document, at any depth."""
    if isinstance(value, dict):
        return set(value).union(*map(fields, value.values()))
    return set().union(*map(fields, value)) if isinstance(value, list) else set()


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The API's document for a process with holders and findings, and for servers."""
    folder = tmp_path_factory.mktemp("runbooks") / "pools"
    worker = Worker(folder)
    worker.tell("take", "take", "lose")
    fleet = Fleet(folder)
    scrape = Scrape(fleet.scan([SERVERS]), 0.0, "1.2.3", (SERVERS,), (BOUNCER,))
    yield json.loads(json.dumps(api.document(scrape, History())))
    fleet.close()
    worker.kill()


@pytest.fixture(scope="module")
def jq() -> Callable[[str, Any], str]:
    """Runs a jq program on a document and returns its output; see `support.tools.required`."""
    found = required("jq", "jq")

    def run(program: str, document: Any) -> str:
        done = subprocess.run(
            [found, "-r", program],
            input=json.dumps(document),
            capture_output=True,
            text=True,
            check=False,
        )
        assert (0, "") == (done.returncode, done.stderr), program
        return done.stdout

    return run


class TestRequestsToTheApi:
    def programs(self) -> list[tuple[str, str]]:
        return [(block.page, text) for block in blocks("sh") for text in JQ.findall(block.text)]

    def test_every_request_is_found(self) -> None:
        asked = sum(block.text.count("/api/v1/pools") for block in blocks("sh"))
        assert asked == len(self.programs())

    def test_the_document_has_the_fields(self, document: Any) -> None:
        known = fields(document)
        assert [] == [
            (page, field)
            for page, text in self.programs()
            for field in map("".join, FIELD.findall(text))
            if field not in known
        ]

    def test_jq_finds_something(self, document: Any, jq: Callable[[str, Any], str]) -> None:
        # Pages use several names of pools, and one process id.
        (pool,) = document["pools"]
        (pid,) = {holder["pid"] for holder in pool["holders"]}
        silent = []
        for page, text in self.programs():
            named = re.search(r'\.pool == "(\w+)"', text)
            own = {**pool, "pool": named[1] if named else pool["pool"]}
            own["holders"] = [{**holder, "overdue": True} for holder in pool["holders"]]
            said = jq(text.replace("4711", str(pid)), {**document, "pools": [own]})
            if said.strip() in ("", "null", "[]", "{}"):
                silent.append((page, text))
        assert [] == silent
