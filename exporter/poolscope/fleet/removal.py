"""Removes the files of processes that have ended and were counted; damaged ones are put aside."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from poolscope.fleet.processes import ProcessFiles
from poolscope.fleet.segment_reader import UNREADABLE
from poolscope.fleet.whole_files import MAX_ASIDE, keep_latest, set_aside

logger = logging.getLogger("poolscope.exporter")


def remove(folder: Path, processes: Sequence[ProcessFiles]) -> None:
    """Remove the files of these processes; what cannot be removed now stays for the next time."""
    aside: list[tuple[Path, Path]] = []
    for process in processes:
        # What fails must not stop the scan: the process is counted already.
        removed = [_remove_file(folder / name, process, aside) for name in process.files]
        if all(removed):
            with suppress(*UNREADABLE):
                (folder / process.name).unlink()
    _log(aside)
    # Once for all of them: it lists the folder, which may have thousands of files.
    keep_latest([path for path, _ in aside])


def _remove_file(path: Path, process: ProcessFiles, aside: list[tuple[Path, Path]]) -> bool:
    """Remove a file, or put it aside; return whether that could be done."""
    try:
        if path.name in process.damaged and os.path.lexists(path):
            aside.append((path, set_aside(path)))
        else:
            path.unlink(missing_ok=True)
    except UNREADABLE:
        return False
    return True


def _log(aside: Sequence[tuple[Path, Path]]) -> None:
    for path, target in aside[:MAX_ASIDE]:
        logger.warning("%s is damaged, and its process has ended; it is now %s", path, target)
    if len(aside) > MAX_ASIDE:
        logger.warning(
            "%s more files of processes that have ended are damaged; the latest %s of each kind "
            "are kept",
            len(aside) - MAX_ASIDE,
            MAX_ASIDE,
        )
