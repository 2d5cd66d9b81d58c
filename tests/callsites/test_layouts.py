"""
The call site of an application, in each of the ways in which programs ship, and through each of the
libraries that only pass on requests for a connection.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from support.layouts import (
    LINE,
    SERVER,
    SPAWNING_SERVER,
    WRAPPERS,
    application,
    archive,
    distribution,
    libraries,
    link_sqlalchemy,
    run,
    undistributed,
    write,
)

Layout = Callable[[Path], str]
"""Makes a layout in a folder, and returns what its program prints: a site by wrapper."""

LAYOUTS: Final[dict[str, Layout]] = {}

INSTALLED_APPLICATION: Final = distribution("shopapp", application())
COMMAND: Final = "import sys\nfrom {} import {}\nif __name__ == '__main__':\n    sys.exit({}())\n"


def layout(make: Layout) -> Layout:
    LAYOUTS[make.__name__.replace("_", " ")] = make
    return make


def packages(folder: Path, *distributions: dict[str, str]) -> Path:
    """Make a folder of installed packages."""
    made = folder / "lib" / "site-packages"
    for files in (libraries(), *distributions):
        write(made, files)
    return made


@layout
def a_program_beside_site_packages(folder: Path) -> str:
    write(folder / "app", application())
    return run(folder / "app", "-m", "shopapp", path=(packages(folder),))


@layout
def a_script(folder: Path) -> str:
    write(folder / "app", {**application(), "start.py": "from shopapp.cart import app\n\napp()\n"})
    return run(folder, "app/start.py", path=(packages(folder),))


@layout
def an_installed_application_run_by_its_module(folder: Path) -> str:
    return run(folder, "-m", "shopapp", path=(packages(folder, INSTALLED_APPLICATION),))


@layout
def an_installed_application_run_by_its_command(folder: Path) -> str:
    write(folder / "bin", {"shop": COMMAND.format("shopapp.main", "app", "app")})
    return run(folder, "bin/shop", path=(packages(folder, INSTALLED_APPLICATION),))


@layout
def an_installed_application_run_by_a_server(folder: Path) -> str:
    server = distribution("uvicorn", {"uvicorn/__init__.py": "", "uvicorn/__main__.py": SERVER})
    made = packages(folder, INSTALLED_APPLICATION, server)
    return run(folder, "-m", "uvicorn", "--host", "::", "shopapp.main:app", path=(made,))


@layout
def an_installed_application_run_by_the_command_of_a_server(folder: Path) -> str:
    server = distribution("gunicorn", {"gunicorn/__init__.py": "", "gunicorn/run.py": SERVER})
    write(folder / "bin", {"gunicorn": COMMAND.format("gunicorn.run", "main", "main")})
    made = packages(folder, INSTALLED_APPLICATION, server)
    return run(folder, "bin/gunicorn", "-w", "2", "shopapp.main", path=(made,))


def spawning(folder: Path, *command: str) -> str:
    main = "from uvicorn.server import main\n\nif __name__ == '__main__':\n    main()\n"
    files = {"uvicorn/__init__.py": "", "uvicorn/__main__.py": main}
    server = distribution("uvicorn", {**files, "uvicorn/server.py": SPAWNING_SERVER})
    write(folder / "bin", {"uvicorn": COMMAND.format("uvicorn.server", "main", "main")})
    path = (packages(folder, INSTALLED_APPLICATION, server),)
    return run(folder, *command, "shopapp.main:app", path=path)


@layout
def a_worker_that_a_command_has_spawned(folder: Path) -> str:
    return spawning(folder, "bin/uvicorn")


@layout
def a_worker_that_a_module_has_spawned(folder: Path) -> str:
    return spawning(folder, "-m", "uvicorn")


@layout
def an_installed_application_of_an_unknown_server(folder: Path) -> str:
    server = distribution("hoster", {"hoster/__init__.py": "", "hoster/__main__.py": SERVER})
    made = packages(folder, INSTALLED_APPLICATION, server)
    return run(folder, "-m", "hoster", "--app=shopapp.main:app", path=(made,))


@layout
def an_installed_application_that_a_variable_names(folder: Path) -> str:
    write(
        folder / "app", {"job.py": "from shopapp.cart import app\n\ndef go():\n    app()\n\ngo()"}
    )
    made = packages(folder, INSTALLED_APPLICATION)
    return run(folder, "app/job.py", path=(made,), POOLSCOPE_APPLICATION="other,shopapp")


@layout
def an_application_that_was_installed_from_its_folder(folder: Path) -> str:
    own = distribution("shopapp", application(), local=True)
    made = packages(folder, own)
    write(made, {"serve.py": "import shopapp.main as m\n\nm.app()\n"})
    return run(folder, str(made / "serve.py"), path=(made,))


@layout
def an_editable_application(folder: Path) -> str:
    write(folder / "src", application())
    info = distribution("shopapp", {}, local=True)
    write(folder / "bin", {"shop": COMMAND.format("shopapp.main", "app", "app")})
    return run(folder, "bin/shop", path=(packages(folder, info), folder / "src"))


def targeted(folder: Path, record: str, *command: str, **variables: str) -> str:
    """As AWS Lambda does it: `pip install --target`, and the application beside."""
    task = folder / "task"
    write(task, {**libraries(record), **application()})
    link_sqlalchemy(task)
    write(folder / "runtime", {"bootstrap.py": "import shopapp.main\n\nshopapp.main.app()\n"})
    return run(folder, *(command or ("runtime/bootstrap.py",)), path=(task,), **variables)


@layout
def a_folder_that_pip_has_filled(folder: Path) -> str:
    return targeted(folder, "RECORD")


@layout
def a_folder_with_older_metadata(folder: Path) -> str:
    return targeted(folder, "top_level.txt")


@layout
def a_folder_where_the_application_is_installed_too(folder: Path) -> str:
    write(folder / "task", distribution("shopapp", application()))
    return targeted(folder, "RECORD", _HANDLER="shopapp.main.app")


@layout
def a_folder_for_each_package(folder: Path) -> str:
    """As PEX and Bazel do it."""
    folders = []
    files = libraries()
    for number, (name, path, _) in enumerate(WRAPPERS.values()):
        wheel = folder / "wheels" / f"{number:032x}" / f"{name}-1.0-py3-none-any.whl"
        info, top = name.replace("-", "_"), path.partition("/")[0]
        write(wheel, {file: text for file, text in files.items() if file.startswith((info, top))})
        folders.append(wheel)
    write(
        folder / "sources", {**application(), "__main__.py": "from shopapp.cart import app\napp()"}
    )
    return run(folder, "sources", path=(*folders,))


@layout
def an_archive(folder: Path) -> str:
    main = {"__main__.py": "import shopapp.cart\nshopapp.cart.app()\n"}
    archive(folder / "app.pyz", {**libraries(), **application(), **main})
    return run(folder, "app.pyz")


@layout
def an_archive_where_the_application_is_installed_too(folder: Path) -> str:
    main = {"__main__.py": "import shopapp.cart\nshopapp.cart.app()\n"}
    archive(folder / "app.pyz", {**libraries(), **INSTALLED_APPLICATION, **main})
    return run(folder, "app.pyz")


@layout
def a_folder_in_an_archive(folder: Path) -> str:
    files = {**libraries(), **application()}
    archive(folder / "all.zip", {f"deps/python/{name}": text for name, text in files.items()})
    path = (folder / "all.zip" / "deps" / "python",)
    return run(folder, "-c", "from shopapp.cart import app; app()", path=path)


@layout
def a_program_from_standard_input(folder: Path) -> str:
    program = "from shopapp.cart import app\napp()\n"
    write(folder / "app", application())
    return run(folder, "-", path=(folder / "app", packages(folder)), stdin=program)


UNKNOWN: Final = {"unknown", "unknown-module"}
"""They cannot be told from the application where nothing says what is installed."""


@layout
def a_folder_without_metadata(folder: Path) -> str:
    task = folder / "task"
    write(task, undistributed({**libraries(), **application()}))
    link_sqlalchemy(task)
    for info in task.glob("*.dist-info"):
        info.unlink()
    return run(folder, "-c", "from shopapp.cart import app; app()", path=(task,))


FROZEN: Final = """\
import importlib.util, sys
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

sys.frozen = True
ROOT = Path({root!r})

class Frozen:
    # As PyInstaller does it: paths in code are relative, and no file is where `__file__` says.
    def find_spec(self, name, path=None, target=None):
        inside = Path(*name.split("."))
        for file in (inside / "__init__.py", inside.with_suffix(".py")):
            if (ROOT / file).is_file():
                spec = ModuleSpec(name, self, is_package=file.name == "__init__.py")
                spec.file = file
                spec.origin, spec.has_location = f"/tmp/_MEI1/{{file}}c", True
                return spec
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        file = module.__spec__.file
        exec(compile((ROOT / file).read_text(), str(file), "exec"), vars(module))

sys.meta_path.insert(0, Frozen())
from shopapp.cart import app
app()
"""


@layout
def a_frozen_program(folder: Path) -> str:
    import poolscope

    write(folder / "code", undistributed({**libraries(), **application()}))
    (folder / "code" / "poolscope").symlink_to(Path(poolscope.__file__).parent)
    (folder / "code" / "contextlib.py").write_text(
        Path(functools.__file__).with_name("contextlib.py").read_text()
    )
    write(folder, {"freeze.py": FROZEN.format(root=str(folder / "code"))})
    return run(folder, "freeze.py")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, str]]:
    """Returns the sites that a layout prints, by wrapper; it runs each layout once."""

    @functools.cache
    def printed(name: str) -> str:
        try:
            return LAYOUTS[name](tmp_path_factory.mktemp("layout"))
        except AssertionError as error:
            return str(error)

    def sites(name: str) -> dict[str, str]:
        assert printed(name).startswith("{"), printed(name)
        sites: dict[str, str] = json.loads(printed(name))
        return sites

    return sites


CASES: Final = [
    (layout, wrapper)
    for layout in LAYOUTS
    for wrapper in WRAPPERS
    if not (wrapper in UNKNOWN and ("frozen" in layout or "without metadata" in layout))
]


@pytest.mark.parametrize(("layout", "wrapper"), CASES)
def test_the_site_is_the_line_of_the_application(
    found: Callable[[str], dict[str, str]], layout: str, wrapper: str
) -> None:
    assert f"shopapp/cart.py:{LINE} in buy" == found(layout)[wrapper]
