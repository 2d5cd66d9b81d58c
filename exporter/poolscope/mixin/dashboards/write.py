"""The files of the dashboards: their JSON, and the provisioning file for Grafana."""

from __future__ import annotations

from typing import Final

from poolscope.mixin.dashboards import databases, http, overview, pool
from poolscope.mixin.dashboards.board import Board
from poolscope.mixin.dashboards.grafana_json import Json, text_of
from poolscope.mixin.dashboards.options import Options

BOARD_MAKERS: Final = (overview.board, pool.board, http.board, databases.board)

PROVISIONING: Final = """\
# For /etc/grafana/provisioning/dashboards; put the dashboards into the folder `path`.
apiVersion: 1
providers:
  - name: {prefix}
    folder: {folder}
    type: file
    allowUiUpdates: false
    updateIntervalSeconds: 30
    options:
      path: /var/lib/grafana/dashboards/{prefix}
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
    texts["provisioning.yml"] = PROVISIONING.format(prefix=options.uid_prefix, folder=f'"{folder}"')
    return texts
