"""
What is installed in a folder, as the `*.dist-info` in it say, or the `*.egg-info` of an older pip:
in `site-packages`, in a folder that `pip install --target` has filled (as for AWS Lambda), or in a
zip file.

What the application has put beside these packages is not installed.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from poolscope.process.off_loop import off_loop

MAX_FOLDERS: Final = 1000
"""Size of a cache, which is cleared when full."""

_DIST_INFO: Final = ".dist-info"
_EGG_INFO: Final = ".egg-info"
_INFOS: Final = (_DIST_INFO, _EGG_INFO)
_PACKAGES: Final = re.compile(r"(?:^|[\\/])(?:(?:site|dist)-packages|[^\\/]+\.egg)[\\/]")

_SUFFIXES: Final = ("py", "pyc", "so", "pyd")
"""Those of modules."""

_UNREADABLE: Final = (OSError, ValueError, LookupError, EOFError, NotImplementedError, zlib.error)
"""What reading a folder or an archive raises; a damaged one also `zipfile.BadZipFile`."""

Read = Callable[[str], str]
"""Returns the text of a file in a folder, or "" if it cannot be read."""


class Installed(NamedTuple):
    """
    What is installed in a folder.

    modules: the modules, as paths in the folder without a suffix.
    packages: the top-level packages of distributions that do not say which modules they have.
    local: the top-level packages that were installed from a folder, as by `pip install .`.
    """

    modules: frozenset[str]
    packages: frozenset[str]
    local: frozenset[str]

    def has(self, module_path: str) -> bool:
        path = module_path.rpartition(".")[0]
        return path in self.modules or _top(path) in self.packages


NOTHING: Final = Installed(frozenset(), frozenset(), frozenset())

_folders: dict[str, Installed] = {}


def is_folder_of_packages(path: str) -> bool:
    """Whether the path leads through a folder that holds nothing but what is installed."""
    return _PACKAGES.search(path) is not None


def installed_in(folder: str) -> Installed:
    """Return what is installed in a folder; "" is one that is not known."""
    found = _folders.get(folder)
    if found is None:
        found = off_loop(lambda: _look_into(folder)) if folder else NOTHING
        if len(_folders) >= MAX_FOLDERS:
            _folders.clear()
        _folders[folder] = found
    return found


def _look_into(folder: str) -> Installed:
    path = Path(folder)
    with suppress(*_UNREADABLE):
        if path.is_dir():
            names = [file.name for file in path.iterdir() if file.name.endswith(_INFOS)]
            return _read(folder, names, lambda name: _text(path / name))
        return _look_into_archive(path)
    return NOTHING


def _look_into_archive(folder: Path) -> Installed:
    import zipfile

    archive = next((path for path in (folder, *folder.parents) if path.is_file()), None)
    if archive is None:
        return NOTHING
    inside = folder.relative_to(archive).as_posix()
    prefix = "" if inside == "." else f"{inside}/"
    with suppress(zipfile.BadZipFile), zipfile.ZipFile(archive) as opened:
        files = {name for name in opened.namelist() if name.startswith(prefix)}
        names = {name[len(prefix) :].partition("/")[0] for name in files}

        def text(name: str) -> str:
            found = prefix + name
            return opened.read(found).decode(errors="replace") if found in files else ""

        return _read(str(folder), [name for name in names if name.endswith(_INFOS)], text)
    return NOTHING


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _read(folder: str, names: list[str], text: Read) -> Installed:
    """
    Read the `*.dist-info` and `*.egg-info` of these names. In `site-packages`, only who is local is
    asked for.
    """
    modules: set[str] = set()
    packages: set[str] = set()
    local: set[str] = set()
    only_local = is_folder_of_packages(f"{folder}{os.sep}")
    for name in names:
        if name.endswith(_EGG_INFO):
            # That of a checkout, beside the sources of the application, has no such list.
            modules |= set(_modules_of_egg(text(f"{name}/installed-files.txt")))
            continue
        is_local = '"dir_info"' in text(f"{name}/direct_url.json")
        if only_local and not is_local:
            continue
        own = set(_modules(text(f"{name}/RECORD")))
        tops = {_top(path) for path in own}
        if not own:
            tops = set(text(f"{name}/top_level.txt").split()) or {_package_of(name)}
            packages |= tops
        modules |= own
        if is_local:
            local |= tops
    return Installed(frozenset(modules), frozenset(packages), frozenset(local))


def _modules(record: str) -> Iterator[str]:
    """Yield the modules that a RECORD lists: each of its lines is `path,hash,size`."""
    for line in record.splitlines():
        path, _, suffix = line.rsplit(",", 2)[0].strip('"').rpartition(".")
        if suffix in _SUFFIXES and not path.startswith(("..", "/")):
            yield path


def _modules_of_egg(installed_files: str) -> Iterator[str]:
    """Yield the modules that a list of files, relative to the `*.egg-info`, has."""
    for line in installed_files.splitlines():
        path, _, suffix = line.strip().removeprefix("../").rpartition(".")
        if suffix in _SUFFIXES and not path.startswith(("..", "/")):
            yield path


def _package_of(dist_info: str) -> str:
    """Return the package that a distribution of that name most likely has."""
    return re.sub(r"[-.]", "_", dist_info.partition("-")[0])


def _top(path: str) -> str:
    return path.partition("/")[0]
