"""The log of the exporter, on stderr: text for people, or JSON for machines."""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import ssl
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any, Final

from poolscope.label_values import printable

logger = logging.getLogger("poolscope.exporter")

BRIEF_SECONDS: Final = 60.0
"""The shortest time between two lines of one kind that a client can cause."""

MAX_FRAMES: Final = 4
"""Places in the code that a line about an error names, the innermost last."""


class TextFormatter(logging.Formatter):
    """One line with time, level and message, followed by the traceback of an error."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - the base class names it
        return _timestamp(record)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the base class names it
        """Return the line; paths and messages of libraries may have line breaks in them."""
        return printable(super().formatMessage(record))


class JsonFormatter(logging.Formatter):
    """One JSON object on each line."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": _timestamp(record),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "poolscope", {}),
        }
        if record.exc_info:
            entry["error"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


FORMATTERS = {"text": TextFormatter, "json": JsonFormatter}


def configure_logging(level: str, format_name: str) -> None:
    """Send the log to stderr, in this format, from this level on."""
    handler = logging.StreamHandler()
    handler.setFormatter(FORMATTERS[format_name]())
    handler.addFilter(_reduce)
    least = logging.getLevelName(level.upper())
    logging.basicConfig(level=max(least, logging.WARNING), handlers=[handler])
    logging.getLogger("poolscope").setLevel(least)
    # aiohttp would log every malformed request of a client, with its headers.
    logging.getLogger("aiohttp").setLevel(logging.CRITICAL + 1)


def _reduce(record: logging.LogRecord) -> bool:
    """
    Leave of a line of a library what its code says, and of an error its kind.

    Their arguments and tracebacks may have parts of a request or of a DSN in them.
    """
    if record.name.partition(".")[0] != "poolscope":
        error = record.exc_info[1] if record.exc_info else None
        kind = f" ({describe(error)})" if error else ""
        said = str(record.msg).partition("\n")[0][:100] if record.args else "an error"
        record.msg, record.args = "%s: %s%s", (record.name, said, kind)
        record.exc_info = record.exc_text = record.stack_info = None
    return True


def report_loop_error(_: object, context: dict[str, Any]) -> None:
    """Log what went wrong in a callback or a task that nobody waits for; of an event loop."""
    BRIEF.error("an error that nobody handles", cause=context.get("exception"))


class Brief:
    """
    Logs what clients can cause: one line of each kind in a minute, and how many were left out.

    A kind is the text of a call, so it must be a constant; its arguments must have nothing in them
    that a client sent, but its address.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said: dict[str, float] = {}
        self._left_out: dict[str, int] = {}

    def error(self, text: str, *args: object, cause: BaseException | None = None) -> None:
        self._say(logging.ERROR, text, args, cause)

    def warning(self, text: str, *args: object, cause: BaseException | None = None) -> None:
        self._say(logging.WARNING, text, args, cause)

    def info(self, text: str, *args: object, cause: BaseException | None = None) -> None:
        self._say(logging.INFO, text, args, cause)

    def _say(
        self, level: int, text: str, args: tuple[object, ...], cause: BaseException | None
    ) -> None:
        now = self._clock()
        if now - self._said.get(text, -BRIEF_SECONDS) < BRIEF_SECONDS:
            self._left_out[text] = self._left_out.get(text, 0) + 1
            return
        self._said[text] = now
        line = text % args
        if cause is not None:
            line += f": {describe(cause)}{_where(cause)}"
        if left_out := self._left_out.pop(text, 0):
            line += f" (and {left_out} times since the last line)"
        logger.log(level, "%s", line)


BRIEF: Final = Brief()
"""That of the process."""


def describe(error: BaseException) -> str:
    """Return what kind of error this is, by words of ours or of the operating system alone."""
    if isinstance(error, ssl.SSLError):  # its text may name hosts
        return error.reason or "TLS error"
    if isinstance(error, socket.gaierror):
        return "the host name is not known"
    if isinstance(error, OSError):
        # asyncio lists the addresses that it has tried, each with its error.
        tried = re.search(r"\[Errno (\d+)\]", str(error))
        if number := error.errno or (int(tried[1]) if tried else 0):
            return os.strerror(number)
    return type(error).__name__


def _where(error: BaseException) -> str:
    """Return the places in the code that an error came through, without what it says."""
    frames = traceback.extract_tb(error.__traceback__)[-MAX_FRAMES:]
    if not frames:
        return ""
    return " at " + ", ".join(f"{PurePath(each.filename).name}:{each.lineno}" for each in frames)


def _timestamp(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
