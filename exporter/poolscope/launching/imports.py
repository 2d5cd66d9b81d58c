"""
Tells when a module is imported, at once if it was already.

`sitecustomize` loads this file by its path when an interpreter starts, before anything else of
poolscope. So it imports nothing that Python has not imported by then.
"""

from __future__ import annotations

import _thread
import sys

TYPE_CHECKING = False  # that of `typing`, which takes long to import
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any


class Imports:
    """
    A finder that stands before the others, and calls `imported` with each of the modules.

    modules: their names.
    imported: is called with the module, after it was executed and before its importer has it.
    """

    def __init__(self, modules: Collection[str], imported: Callable[[ModuleType], object]) -> None:
        self._modules = frozenset(modules)
        self._imported = imported
        # The threads that look for a module with the other finders, with its name.
        self._looking: set[tuple[int, str]] = set()

    def begin(self) -> None:
        """Tell of imports from now on, and of the modules that are there. Twice is once."""
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)
        for name in sorted(self._modules):
            if name in sys.modules:
                # Another thread may be importing it; this waits for that.
                __import__(name)
                self._imported(sys.modules[name])

    def end(self) -> None:
        """Tell of no more imports."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Return what the other finders say of a module, with a loader that tells of it."""
        if name not in self._modules:
            return None
        thread = _thread.get_ident(), name
        if thread in self._looking:  # another finder that asks all of them, too
            return None
        self._looking.add(thread)
        try:
            spec = self._find(name, path, target)
        finally:
            self._looking.discard(thread)
        if spec is not None and hasattr(spec.loader, "exec_module"):
            spec.loader = Loader(spec.loader, self._imported)  # type: ignore[assignment]  # it is one by its shape
        return spec

    def _find(self, name: str, path: Any, target: Any) -> ModuleSpec | None:
        for finder in list(sys.meta_path):
            find_spec = getattr(finder, "find_spec", None)
            if finder is not self and find_spec is not None:
                spec: ModuleSpec | None = find_spec(name, path, target)
                if spec is not None:
                    return spec
        return None


class Loader:
    """Executes a module by its own loader, which the module has afterwards; then tells of it."""

    def __init__(self, loader: Any, imported: Callable[[ModuleType], object]) -> None:
        self._loader = loader
        self._imported = imported

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        create = getattr(self._loader, "create_module", None)
        module: ModuleType | None = create(spec) if create is not None else None
        return module

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._imported(module)
