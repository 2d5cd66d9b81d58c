"""The log of the exporter, on stderr: text for people, or JSON for machines."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime


class TextFormatter(logging.Formatter):
    """One line with time, level and message, followed by the traceback of an error."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - the base class names it
        return _timestamp(record)


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
    logging.basicConfig(level=level.upper(), handlers=[handler])
    # aiohttp would log every malformed request of a client.
    logging.getLogger("aiohttp").setLevel(logging.ERROR)


def _timestamp(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
