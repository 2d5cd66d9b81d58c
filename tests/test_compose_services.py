"""docker-compose.yml: services, mounts, passwords and our image, without a container engine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from poolscope import cli
from poolscope.demo import worker
from poolscope.exporter import dsn
from support.compose import (
    COMPOSE,
    FILE,
    FOLDER,
    PINNED,
    REQUIRED_VARIABLE,
    ROOT,
    SERVICES,
    config,
    host_paths,
    make_env,
    mounts,
    run,
)
from support.tools import required


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> Any:
    return SERVICES[request.param]


@pytest.fixture(params=["worker-1", "worker-2", "exporter"])
def ours(request: pytest.FixtureRequest) -> Any:
    """A service that runs this package."""
    return SERVICES[request.param]


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A folder in which compose/make-env has run, in place of this repository."""
    make_env(tmp_path)
    return tmp_path


@pytest.fixture
def docker_compose() -> str:
    return required("docker-compose", "docker-compose")


class TestServices:
    def test_docker_compose_accepts_the_file(self, docker_compose: str, made: Path) -> None:
        result = config(docker_compose, made / ".env")
        assert (0, "") == (result.returncode, result.stderr)
        assert SERVICES.keys() == yaml.safe_load(result.stdout)["services"].keys()

    def test_without_passwords_the_error_says_what_to_do(
        self, docker_compose: str, tmp_path: Path
    ) -> None:
        (tmp_path / "empty").touch()
        result = config(docker_compose, tmp_path / "empty")
        assert (1, "") == (result.returncode, result.stdout)
        assert result.stderr.strip().endswith("run compose/make-env first")

    def test_the_stack_has_exactly_these_services(self) -> None:
        expected = {"worker-1", "worker-2", "exporter"}
        expected |= {"postgres", "prometheus", "alertmanager", "grafana"}
        assert expected == SERVICES.keys()

    def test_each_image_has_a_version(self, service: Any) -> None:
        if "build" not in service:
            assert PINNED.fullmatch(service["image"])

    def test_our_image_is_built_and_never_pulled(self, ours: Any) -> None:
        assert "build" == ours["pull_policy"]
        assert (ROOT / ours["build"]["context"] / ours["build"]["dockerfile"]).is_file()

    def test_ports_are_published_on_the_loopback_interface_only(self, service: Any) -> None:
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:")

    def test_each_service_has_a_health_check(self, service: Any) -> None:
        check = service["healthcheck"]
        assert "CMD" == check["test"][0]
        assert {"interval", "timeout", "start_period"} <= check.keys()

    def test_each_service_restarts(self, service: Any) -> None:
        assert "unless-stopped" == service["restart"]

    def test_each_log_has_a_size_limit(self, service: Any) -> None:
        assert {"max-size", "max-file"} == service["logging"]["options"].keys()

    def test_no_service_can_gain_privileges(self, service: Any) -> None:
        assert ["no-new-privileges:true"] == service["security_opt"]
        assert not service.keys() & {"privileged", "cap_add", "devices", "network_mode", "pid"}

    def test_our_services_can_write_to_their_volume_only(self, ours: Any) -> None:
        assert (["ALL"], True) == (ours["cap_drop"], ours["read_only"])
        assert [("pools", "/pools", "")] == list(mounts(ours))

    def test_each_service_waits_for_healthy_services_only(self, service: Any) -> None:
        needed = service.get("depends_on", {})
        assert needed.keys() <= SERVICES.keys()
        assert {"service_healthy"} >= {how["condition"] for how in needed.values()}

    def test_the_workers_have_different_process_ids(self) -> None:
        """The process id of a worker is 1, except with an init."""
        assert [False, True] == [SERVICES[f"worker-{n}"].get("init", False) for n in (1, 2)]


class TestMounts:
    def test_each_mounted_path_exists_or_is_made_by_make_env(
        self, service: Any, made: Path
    ) -> None:
        for source, _ in host_paths(service):
            assert (ROOT / source).exists() or (made / source).exists(), source

    def test_no_service_can_write_to_the_repository(self, service: Any) -> None:
        for source, _, options in mounts(service):
            if source.startswith((".", "/")):
                assert (".", "ro") == (source[0], options)

    def test_volumes_are_declared_and_used(self) -> None:
        used = {source for each in SERVICES.values() for source, _, _ in mounts(each)}
        assert COMPOSE["volumes"].keys() == {name for name in used if not name.startswith(".")}


class TestPasswords:
    def test_no_password_is_in_the_file(self, service: Any) -> None:
        for name, value in service.get("environment", {}).items():
            if name.endswith("_PASSWORD"):
                assert REQUIRED_VARIABLE.fullmatch(value), name
            for secret in re.findall(r"://[^:/@]+:(.+)@", value):
                assert REQUIRED_VARIABLE.fullmatch(secret), name

    def test_no_password_is_in_a_command_where_others_see_it(self, service: Any) -> None:
        assert "$" not in str([service.get("command"), service["healthcheck"]])

    def test_make_env_makes_each_required_password(self, tmp_path: Path) -> None:
        required_names = set(REQUIRED_VARIABLE.findall(FILE.read_text()))
        assert FILE.read_text().count("${") == len(REQUIRED_VARIABLE.findall(FILE.read_text()))
        assert required_names == make_env(tmp_path).keys() - {"COMPOSE_PROJECT_NAME"}

    def test_passwords_are_long_and_all_different(self, tmp_path: Path) -> None:
        secrets = []
        for name in ("one", "other"):
            (tmp_path / name).mkdir()
            variables = make_env(tmp_path / name)
            secrets += [value for key, value in variables.items() if key.endswith("_PASSWORD")]
        assert 8 == len(set(secrets))
        assert all(re.fullmatch("[0-9a-f]{48}", secret) for secret in secrets)

    def test_only_the_owner_can_read_the_passwords(self, made: Path) -> None:
        assert 0o600 == (made / ".env").stat().st_mode & 0o777
        assert 0o700 == (made / "compose" / "secrets").stat().st_mode & 0o777

    def test_make_env_never_overwrites_a_password(self, made: Path) -> None:
        key = made / "compose" / "secrets" / "alertmanager" / "slack-url"
        key.write_text("https://chat.example")
        before = (made / ".env").read_text()
        make_env(made)
        assert (before, "https://chat.example") == ((made / ".env").read_text(), key.read_text())

    def test_git_ignores_the_passwords(self) -> None:
        files = [".env", "compose/secrets/alertmanager/slack-url"]
        result = run("git", "-C", ROOT, "check-ignore", *files)
        if result.returncode == 128:
            pytest.skip(result.stderr)
        assert files == result.stdout.split()


class TestOurImage:
    DOCKERFILE = (FOLDER / "Dockerfile").read_text()

    def test_all_stages_use_one_version_of_python(self) -> None:
        bases = set(re.findall(r"^FROM (\S+)", self.DOCKERFILE, re.MULTILINE))
        assert 1 == len(bases)
        assert PINNED.fullmatch(bases.pop())

    def test_each_copied_path_exists_and_nothing_else_is_in_the_context(self) -> None:
        lines = (ROOT / ".dockerignore").read_text().splitlines()
        copied = [
            path
            for line in re.findall(r"^COPY ([^-].*)", self.DOCKERFILE, re.MULTILINE)
            for path in line.split()[:-1]
        ]
        assert "*" in lines
        assert set(copied) == {line[1:] for line in lines if line.startswith("!")}
        assert all((ROOT / path).exists() for path in copied)

    def test_it_runs_as_a_numeric_user_that_owns_the_folder(self) -> None:
        (user,) = re.findall(r"^USER (\d+):\d+$", self.DOCKERFILE, re.MULTILINE)
        assert f"useradd --uid {user} " in self.DOCKERFILE
        assert f"install --directory --owner {user} " in self.DOCKERFILE
        assert "--mode 0700 /pools" in self.DOCKERFILE

    def test_the_parser_accepts_our_commands(self, ours: Any) -> None:
        if ours["command"][0] == "poolscope":
            cli._parser().parse_args(ours["command"][1:])
        else:
            assert ["python", "-m", "poolscope.demo.worker"] == ours["command"][:3]
            assert 10464 == worker.options_of(ours["command"][3:]).listen[1]

    def test_the_exporter_reads_where_the_workers_write(self) -> None:
        options = cli._parser().parse_args(SERVICES["exporter"]["command"][1:])
        assert (Path("/pools"), True) == (options.dir, options.per_process)
        assert ["0.0.0.0:10464"] == [str(each) for each in options.addresses]
        for name in ("worker-1", "worker-2"):
            assert "/pools" == SERVICES[name]["environment"]["POOLSCOPE_DIR"]

    def test_the_database_servers_of_our_services_are_services(self, ours: Any, made: Path) -> None:
        for name, value in ours["environment"].items():
            if name.endswith("_POSTGRES"):
                assert "postgres:5432" == dsn.label(REQUIRED_VARIABLE.sub("secret", value))
