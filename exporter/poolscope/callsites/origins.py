"""
Whose code a module is: the application's, a library's, or that of Python or poolscope.

That is told by the name of the module, and by what is installed in the folder that it is imported
from. POOLSCOPE_APPLICATION names the packages of the application where that is not enough.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import PurePath
from typing import Final

from poolscope.callsites.installed import installed_in, is_folder_of_packages
from poolscope.callsites.libraries import POOL_LIBRARIES, WELL_KNOWN
from poolscope.callsites.program import is_command, main_program

APPLICATION_VARIABLE: Final = "POOLSCOPE_APPLICATION"

APPLICATION: Final = 0
UNNAMED: Final = 1
LOCAL: Final = 2
INSTALLED: Final = 3
WRAPPER: Final = 4
SKIPPED: Final = 5
"""
Ranks of code: of all that is on the stack, the lowest rank has the call site.

APPLICATION: the application.
UNNAMED: it seems to be the application, but POOLSCOPE_APPLICATION names other packages.
LOCAL: installed from a folder, as by `pip install .`.
INSTALLED: installed.
WRAPPER: a library that is known to pass on requests for connections, or to run the application.
SKIPPED: Python, a pool's library or poolscope, whose lines are never call sites.
"""

_PYTHON: Final[str | None] = getattr(os, "__file__", None)

_STANDARD_LIBRARY: Final = f"{PurePath(_PYTHON or '').parent}{os.sep}"

_IS_FROZEN: Final = getattr(sys, "frozen", False) or "__compiled__" in vars(os) or _PYTHON is None
"""Whether all code, Python's too, is in one program: by PyInstaller and its like, or by Nuitka."""

_SEPARATORS: Final = re.compile(r"[\s,;]+")


def rank_of(module: str, file: str, is_script: bool = False) -> int:
    """
    Return the rank of a module's code.

    module: its full name; that of the main program is the one that it would be imported by.
    file: the path of its file, or a name such as `<stdin>`.
    is_script: whether it is the main program, and run by its file, not by `python -m`.
    """
    top = module.partition(".")[0]
    if top == "poolscope":
        return APPLICATION if module.startswith("poolscope.demo") else SKIPPED
    named = _named()
    if any(module == name or module.startswith(f"{name}.") for name in named):
        return APPLICATION
    if top in POOL_LIBRARIES or _is_standard(top, file):
        return SKIPPED
    own = UNNAMED if named else APPLICATION
    if is_script and (is_command(file) or file == main_program().launcher):
        return INSTALLED
    folder, inside = split(file, module)
    installed = installed_in(folder)
    if is_folder_of_packages(file) or installed.has(inside):
        if top in main_program().packages and not is_script:
            return own
        if top in WELL_KNOWN:
            return WRAPPER
        return LOCAL if top in installed.local else INSTALLED
    if top in WELL_KNOWN and (_IS_FROZEN or _holds_pool_libraries(folder)):
        return WRAPPER
    return own


def split(file: str, module: str) -> tuple[str, str]:
    """
    Return the folder that a module is imported from, and the path of its file in there, with `/`.

    The folder is "" if the path is not known in full. The main program is imported from where its
    file is, unless it is run by `python -m`.
    """
    path = PurePath(file or "<unknown>")
    parts, names = path.parts, module.split(".")
    if path.stem == "__init__" and names[-1] != "__init__":
        names.append("__init__")
    count = len(names) if path.with_suffix("").parts[-len(names) :] == tuple(names) else 1
    folder = str(PurePath(*parts[:-count])) if len(parts) > count else ""
    return folder, "/".join(parts[-count:])


def _named() -> list[str]:
    text = os.environ.get(APPLICATION_VARIABLE, "")
    return [name.replace("-", "_") for name in _SEPARATORS.split(text) if name]


def _is_standard(top: str, file: str) -> bool:
    if _IS_FROZEN or file.startswith("<frozen "):
        return top in sys.stdlib_module_names
    return file.startswith(_STANDARD_LIBRARY) and not is_folder_of_packages(file)


def _holds_pool_libraries(folder: str) -> bool:
    """Whether a pool's library lies in the folder: then other libraries do, too."""
    for name in POOL_LIBRARIES:
        file = getattr(sys.modules.get(name), "__file__", None)
        if file and folder == split(file, name)[0]:
            return True
    return False
