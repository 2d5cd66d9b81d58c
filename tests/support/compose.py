"""docker-compose.yml as data, and programs that check it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "compose"
FILE = ROOT / "docker-compose.yml"
COMPOSE: dict[str, Any] = yaml.safe_load(FILE.read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]

REQUIRED_VARIABLE = re.compile(r"\$\{(\w+):\?run compose/make-env first\}")
PINNED = re.compile(r"[\w/.-]+:v?\d+\.\d+(\.\d+)?(-[\w-]+)?")


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command and return its output as text."""
    return subprocess.run(command, check=False, capture_output=True, text=True)


def make_env(folder: Path) -> dict[str, str]:
    """Run compose/make-env, and return the variables in the file."""
    subprocess.run([FOLDER / "make-env", folder], check=True, capture_output=True)
    lines = (folder / ".env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines)


def config(docker_compose: str, env_file: Path) -> subprocess.CompletedProcess[str]:
    """Return the output of `docker-compose config`, run with only the variables of that file."""
    without = [part for name in os.environ for part in ("-u", name) if name.endswith("_PASSWORD")]
    return run("env", *without, docker_compose, "--file", FILE, "--env-file", env_file, "config")


def mounts(service: Any) -> Iterator[tuple[str, str, str]]:
    """Yield source, target and options of each volume."""
    for volume in service.get("volumes", ()):
        source, target, *options = volume.split(":")
        yield source, target, ":".join(options)


def host_paths(service: Any) -> Iterator[tuple[str, str]]:
    """Yield each mounted path of this repository, without the ./ at its start, and its target."""
    for source, target, _ in mounts(service):
        if source.startswith("."):
            yield source.removeprefix("./"), target


def lay_out(name: str, under: str, folder: Path) -> None:
    """Copy the files that a service mounts below `under` in its container into a folder."""
    for source, target in host_paths(SERVICES[name]):
        if target.startswith(f"{under}/"):
            destination = folder / target.removeprefix(f"{under}/")
            copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copyfile
            if (ROOT / source).exists():
                copy(ROOT / source, destination)


def option(name: str, option: str) -> str:
    """Return VALUE of --option=VALUE in the command of a service."""
    options = [part for part in SERVICES[name]["command"] if part.startswith(f"{option}=")]
    return str(options[0].removeprefix(f"{option}="))


def yaml_of(path: Path) -> Any:
    """Return the document in a YAML file."""
    return yaml.safe_load(path.read_text())
