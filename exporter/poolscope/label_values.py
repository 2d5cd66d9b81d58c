"""
Any string as the value of a label.

The application gives names to pools, modules, hosts and databases, and they may be anything: not
UTF-8 (a lone surrogate), of several lines, of megabytes. What is shown of them is one line of valid
UTF-8 of bounded length. It is the same in metrics, logs, JSON and mapped files, because each name
passes here where it enters.
"""

from __future__ import annotations

import re
from typing import Final

MAX_CHARACTERS: Final = 120
MAX_BYTES: Final = 200
"""The length of a label value. Prometheus counts bytes; `label_value_length_limit` is often 200."""

OTHER_LABEL: Final = "other"
"""The label that names share which have none of their own, because there are too many."""

_HEAD: Final = (60, 100)
_TAIL: Final = (50, 90)
"""Characters and bytes that are kept of both ends of a longer name."""

_UNFIT: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""
Control characters, what ends a line, what turns the direction of the text that follows, and what
UTF-8 cannot encode.
"""


def printable(text: str) -> str:
    r"""Return the text in one line of valid UTF-8: other characters are escaped, as in `\n`."""
    text = str.__str__(text)  # of a subclass of `str`, what it contains
    if text.isprintable():
        return text
    return _UNFIT.sub(lambda match: repr(match[0])[1:-1], text)


def label_value(text: str) -> str:
    """
    Return the text as a label shows it: in one line of valid UTF-8, of at most `MAX_CHARACTERS`.

    What has to be changed gets a short hash of the original, so that two names stay two names; of
    what is too long, both ends are kept. A value that this has returned is not changed again.
    """
    text = str.__str__(text)
    if len(text) <= MAX_CHARACTERS:
        shown = printable(text)
        if shown == text:
            if _fits(shown):
                return shown
        else:
            marked = f"{shown}~{_digest(text)}"
            if _fits(marked):
                return marked
    head = _utf8(printable(text[:MAX_CHARACTERS])[: _HEAD[0]])[: _HEAD[1]]
    tail = _utf8(printable(text[-MAX_CHARACTERS:])[-_TAIL[0] :])[-_TAIL[1] :]
    # Only a character that was cut in the middle is ignored.
    return f"{head.decode(errors='ignore')}~{_digest(text)}~{tail.decode(errors='ignore')}"


def _fits(text: str) -> bool:
    return len(text) <= MAX_CHARACTERS and (text.isascii() or len(_utf8(text)) <= MAX_BYTES)


def _utf8(text: str) -> bytes:
    return text.encode(errors="surrogatepass")


def _digest(text: str) -> str:
    from hashlib import sha256  # here, because importing poolscope must stay fast

    return sha256(_utf8(text), usedforsecurity=False).hexdigest()[:8]
