"""
Executed by each Python that starts with this folder on PYTHONPATH, as below `poolscope run`.

It waits for the libraries that poolscope knows, and imports nothing of poolscope before one of them
is imported. Then it executes the sitecustomize that it hides. Any Python from 3.7 on may execute
it, also one that is older than what poolscope supports, or has no poolscope.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # that of `typing`, which takes long to import
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

HERE = os.path.dirname(os.path.abspath(__file__))
PACKAGE = os.path.dirname(os.path.dirname(HERE))

RUN_VARIABLE = "POOLSCOPE_RUN"
"""Has the id of the first process of the run, a colon, and the path of a socket."""

failed: list[ImportError] = []


def load(folder: str, name: str) -> dict[str, Any]:
    """Return the names of a module of poolscope, which is executed without the package."""
    # That of `importlib.machinery`, which takes long to import.
    from _frozen_importlib_external import SourceFileLoader

    path = os.path.join(PACKAGE, folder, name + ".py")
    module = f"poolscope.{folder}.{name}"
    names: dict[str, Any] = {"__name__": module, "__file__": path}
    code: Any = SourceFileLoader(module, path).get_code(module)
    exec(code, names)  # noqa: S102 - our own file
    return names


def imported(module: ModuleType) -> None:
    """Watch the pools of a library that was imported."""
    try:
        from poolscope.launching import startup
    except ImportError as error:
        if not failed and sys.stderr is not None:
            failed.append(error)
            sys.stderr.write(
                f"poolscope: {sys.executable} cannot import poolscope, so its pools are not "
                f"watched: {error}\n"
            )
        return
    startup.imported(module)


def watch() -> None:
    """Watch what this process makes from now on."""
    kinds, frameworks = load("adapters", "kinds"), load("applications", "kinds")
    modules = list(kinds["MADE"]) + list(frameworks["MADE"]) + list(frameworks["HANDLERS"])
    load("launching", "imports")["Imports"](modules, imported).begin()


def report_at_end() -> None:
    """Have the first process of the run ask for the report when it ends."""
    pid, _, path = os.environ.get(RUN_VARIABLE, "").partition(":")
    if pid == str(os.getpid()) and path:
        import atexit

        atexit.register(ask_for_report, int(pid), path)


def ask_for_report(pid: int, path: str) -> None:
    """Wait until the report is written; without an answer for 10 s, end."""
    if os.getpid() != pid:  # a forked child
        return
    try:
        import socket

        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
            asking.settimeout(10.0)
            asking.connect(path)
            asking.recv(1)
    except (OSError, ValueError):
        pass  # nobody is there any more, or a stream is closed


def chain() -> None:
    """Execute the sitecustomize that Python would have found without this one."""
    ours = sys.modules.pop("sitecustomize", None)
    try:
        __import__("sitecustomize")
    except ImportError as error:
        if error.name != "sitecustomize":
            raise
        if ours is not None:
            sys.modules["sitecustomize"] = ours


sys.path[:] = [path for path in sys.path if os.path.abspath(path) != HERE]
if sys.version_info >= (3, 11):
    try:
        watch()
        report_at_end()
    except Exception as error:
        if sys.stderr is not None:
            sys.stderr.write(f"poolscope: pools are not watched: {error!r}\n")
chain()
