"""The files of the dashboards: their JSON, and the provisioning file for Grafana."""

from __future__ import annotations

import json
import re
from typing import Final

from poolscope.mixin.dashboards import databases, http, overview, pool
from poolscope.mixin.dashboards.board import Board
from poolscope.mixin.dashboards.grafana_json import Json, text_of
from poolscope.mixin.dashboards.options import Options

BOARD_MAKERS: Final = (overview.board, pool.board, http.board, databases.board)

PROVISIONING_FILE: Final = "provisioning.yml"

USUAL_PATH: Final = "/var/lib/grafana/dashboards/{}"

PROVISIONING: Final = """\
# For /etc/grafana/provisioning/dashboards; Grafana reads the dashboards in the folder `path`.
apiVersion: 1
providers:
  - name: {prefix}
    folder: {folder}
    type: file
    allowUiUpdates: false
    updateIntervalSeconds: 30
    options:
      path: {path}
"""


def boards(options: Options) -> list[Board]:
    return [make(options) for make in BOARD_MAKERS]


def documents(options: Options) -> dict[str, Json]:
    """Return the JSON of each dashboard by its file name."""
    return {f"{board.key}.json": board.document() for board in boards(options)}


def files(options: Options) -> dict[str, str]:
    """Return the text of each file by its name."""
    texts = {name: text_of(document) for name, document in documents(options).items()}
    folder = options.folder.replace('"', "'")
    path = options.path or USUAL_PATH.format(options.uid_prefix)
    texts[PROVISIONING_FILE] = PROVISIONING.format(
        prefix=options.uid_prefix, folder=f'"{folder}"', path=_as_yaml(path)
    )
    return texts


def _as_yaml(path: str) -> str:
    """Return a path as YAML, in quotes only if it needs them."""
    return path if re.fullmatch(r"/[\w./-]*", path, re.ASCII) else json.dumps(path)
