"""The service as an application of Flask."""

from __future__ import annotations

from flask import Flask

from service import answer

app = Flask(__name__)


@app.get("/")
def root() -> bytes:
    return answer()
