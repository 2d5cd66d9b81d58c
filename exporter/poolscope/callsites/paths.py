"""How the file of a function is named, as its developers know it."""

from __future__ import annotations

import sys
from typing import Any, Final

from poolscope.callsites.origins import split

_TYPED: Final = ("<stdin", "<console>", "<python-input-", "<ipython-input-", "<doctest ")
"""How the names of code begin that was typed in, or is in a docstring: no file has its lines."""


def file_of(names: dict[str, Any], code_file: str, module: str) -> str:
    """Return the path of the file of a module with these globals, or a name such as `<stdin>`."""
    file = names.get("__file__")
    if isinstance(file, str) and file:
        return file
    return _with_file(code_file, module)


def shown_path(code_file: str, module: str) -> str:
    """
    Return the path of a function's file, relative to where its package is imported from.

    For code generated at run time it is that of its module. A cell of a notebook is called what
    tracebacks call it.
    """
    return _cell(code_file) or split(_with_file(code_file, module), module)[1]


def separator(path: str) -> str:
    """Return what stands between such a path and the number of a line."""
    return ", line " if path.startswith("Cell ") else ":"


def _with_file(path: str, module: str) -> str:
    """Return the path of the code's file; for code generated at run time, that of its module."""
    if not path.startswith("<") or path.startswith(("<frozen ", *_TYPED)):
        return path
    while module:
        if file := getattr(sys.modules.get(module), "__file__", None):
            return str(file)
        module = module.rpartition(".")[0]
    return path


def _cell(path: str) -> str | None:
    """Return `Cell In[3]` for the third cell of a notebook; None if it is no cell."""
    ipython: Any = sys.modules.get("IPython")
    if ipython is None:
        return None
    try:
        # Checked with IPython 8.0.1 to 9.18.1, and ipykernel 6.0 to 7.4: `compile` knows the cells.
        found = ipython.get_ipython().compile.format_code_name(path)
    except (AttributeError, LookupError, TypeError):  # another version, or none that runs cells
        return None
    return " ".join(found) if isinstance(found, tuple) and found[0] == "Cell" else None
