"""Folders and archives with an application and its libraries, in the ways that programs ship."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import sqlalchemy
import typing_extensions

# What connects for the application: function, context manager, method, coroutine, decorator.
_FUNCTION: Final = "def connect(engine):\n    return engine.connect()\n"
_HELPER: Final = """\
from contextlib import ExitStack, contextmanager

@contextmanager
def connection(engine):
    with engine.connect() as it:
        yield it

STACK = ExitStack()

def connect(engine):
    return STACK.enter_context(connection(engine))
"""
_METHOD: Final = """\
class Session:
    def __init__(self, engine):
        self.engine = engine
    def __enter__(self):
        return self.engine.connect()

def connect(engine):
    return Session(engine).__enter__()
"""
_COROUTINE: Final = """\
async def fetch(engine):
    return engine.connect()

def connect(engine):
    try:
        fetch(engine).send(None)
    except StopIteration as end:
        return end.value
"""
_DECORATOR: Final = """\
import functools

def retry(function):
    @functools.wraps(function)
    def again(*args):
        return function(*args)
    return again

@retry
def connect(engine):
    return engine.connect()
"""

WRAPPERS: Final = {
    "sqlmodel": ("sqlmodel", "sqlmodel/orm/session.py", _METHOD),
    "databases": ("databases", "databases/core.py", _HELPER),
    "flask-sqlalchemy": ("Flask-SQLAlchemy", "flask_sqlalchemy/session.py", _FUNCTION),
    "aiohttp-retry": ("aiohttp_retry", "aiohttp_retry/client.py", _COROUTINE),
    "tenacity": ("tenacity", "tenacity/__init__.py", _DECORATOR),
    "opentelemetry": (
        "opentelemetry-instrumentation-sqlalchemy",
        "opentelemetry/instrumentation/sqlalchemy/engine.py",
        _FUNCTION,
    ),
    "unknown": ("Pool-Wrap", "swrap/deep/pools.py", _HELPER),
    "unknown-module": ("one.file", "onefile.py", _FUNCTION),
}
"""By name: the distribution, its module, and the text of that."""

SERVER: Final = """\
import importlib, sys

def run(module):
    importlib.import_module(module.partition(":")[0]).app()

def main():
    run(next(word for word in sys.argv[1:] if "shop" in word).rpartition("=")[2])

if __name__ == "__main__":
    main()
"""

SPAWNING_SERVER: Final = SERVER.replace("def main", "def serve").replace(
    "if __name__",
    """\
def main():
    import multiprocessing
    child = multiprocessing.get_context("spawn").Process(target=serve)
    child.start()
    child.join()

if __name__""",
)

CART: Final = """\
import importlib, json
import sqlalchemy
from poolscope import watch

def buy(module, engine):
    return importlib.import_module(module).connect(engine)

def app():
    engine = sqlalchemy.create_engine("sqlite://", poolclass=sqlalchemy.QueuePool)
    pool = watch(engine, registry=None)
    found = {}
    for name, module in json.loads(MODULES):
        connection = buy(module, engine)
        (hold,) = pool.holders()
        found[name] = hold.site
        connection.close()
    print(json.dumps(found))
"""
LINE: Final = CART[: CART.index("    return importlib")].count("\n") + 2
"""The line of `buy` that asks, as `MODULES` is set before the text."""


def module_of(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def application(package: str = "shopapp") -> dict[str, str]:
    """Return the files of the application."""
    modules = json.dumps([[name, module_of(path)] for name, (_, path, _) in WRAPPERS.items()])
    return {
        f"{package}/__init__.py": "",
        f"{package}/cart.py": f"MODULES = {modules!r}\n{CART}",
        f"{package}/main.py": f"from {package}.cart import app\n",
        f"{package}/__main__.py": f"from {package}.cart import app\n\napp()\n",
    }


def write(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def files_of(path: str, text: str) -> dict[str, str]:
    """Return a module and the `__init__.py` of its packages, but for the shared `opentelemetry`."""
    parents = [str(parent) for parent in list(Path(path).parents)[:-1]]
    inits = {f"{folder}/__init__.py": "" for folder in parents if folder != "opentelemetry"}
    return {**inits, path: text}


def distribution(
    name: str, files: Mapping[str, str], record: str = "RECORD", local: bool = False
) -> dict[str, str]:
    """
    Return the files of a distribution with its `*.dist-info`.

    record: the file that says what belongs to it: RECORD, top_level.txt, or "" for none.
    local: whether it was installed from a folder.
    """
    info = f"{name.replace('-', '_')}-1.0.dist-info"
    rows = [f"{file},sha256=abc,{len(text)}" for file, text in files.items()]
    tops = sorted({file.partition("/")[0].removesuffix(".py") for file in files})
    about = {f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"}
    if record == "RECORD":
        about[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,", "../../bin/x,,"])
    elif record:
        about[f"{info}/{record}"] = "\n".join(tops)
    if local:
        url = {"dir_info": {}, "url": "file:///build/it"}
        about[f"{info}/direct_url.json"] = json.dumps(url)
    return {**files, **about}


def libraries(record: str = "RECORD") -> dict[str, str]:
    """Return the files of all wrappers, as distributions."""
    files: dict[str, str] = {}
    for name, path, text in WRAPPERS.values():
        files.update(distribution(name, files_of(path, text), record))
    return files


def undistributed(files: Mapping[str, str]) -> dict[str, str]:
    """Return the files without any `*.dist-info`."""
    return {name: text for name, text in files.items() if ".dist-info/" not in name}


def link_sqlalchemy(folder: Path) -> None:
    """Put the installed SQLAlchemy into the folder, too."""
    installed = Path(sqlalchemy.__file__).parent
    (folder / "sqlalchemy").symlink_to(installed)
    (folder / "typing_extensions.py").symlink_to(typing_extensions.__file__)
    for info in installed.parent.glob("[sS][qQ][lL][aA]lchemy-*.dist-info"):
        (folder / info.name).symlink_to(info)


def archive(path: Path, files: Mapping[str, str]) -> None:
    folders = {f"{folder}/" for name in files for folder in list(Path(name).parents)[:-1]}
    with zipfile.ZipFile(path, "w") as zipped:
        for name, text in {**dict.fromkeys(folders, ""), **files}.items():
            zipped.writestr(name, text)


def run(
    folder: Path, *command: str, path: tuple[Path, ...] = (), stdin: str = "", **variables: str
) -> str:
    """Return what Python prints; `path`: what is put before its module search path."""
    paths = [*map(str, path), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **variables}
    done = subprocess.run(
        [sys.executable, *command],
        check=False,
        cwd=folder,
        env=environment,
        input=stdin,
        capture_output=True,
        text=True,
    )
    assert 0 == done.returncode, done.stderr
    return done.stdout.strip()
