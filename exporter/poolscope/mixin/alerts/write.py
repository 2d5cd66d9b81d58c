"""
Writing the files of the alerts.

    python -m poolscope.mixin.alerts.write OUT    the defaults
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final, Literal

from poolscope.mixin import files as generated
from poolscope.mixin.alerts import alertmanager, operator
from poolscope.mixin.alerts.options import Options
from poolscope.mixin.alerts.promtool import documents as promtool_documents
from poolscope.mixin.alerts.rules import alert_groups, recording_group
from poolscope.mixin.alerts.yaml_text import text_of

Format = Literal["prometheus", "operator"]

WRITTEN: Final = "Written by `poolscope alerts`; change its options, not this file."


def files(options: Options, format: Format = "prometheus") -> dict[str, str]:
    """
    Return the text of each file by its path below the folder.

    format: `operator` has the rules as PrometheusRule objects, and nothing else.
    """
    recording, alerts = recording_group(options), alert_groups(options)
    if format == "operator":
        objects = {"poolscope-recording": (recording,), "poolscope-alerts": alerts}
        return {
            f"{name}.yml": text_of(operator.document(name, groups, options), WRITTEN)
            for name, groups in objects.items()
        }
    documents = {
        "recording.yml": {"groups": [recording.document(options)]},
        "rules.yml": {"groups": [group.document(options) for group in alerts]},
        "alertmanager.yml": alertmanager.document(options),
        **promtool_documents.documents(options),
    }
    return {name: text_of(document, WRITTEN) for name, document in documents.items()}


def write(out: Path, options: Options, format: Format = "prometheus") -> None:
    """
    Write the files into a folder that is made if it is missing; all or none.

    Raises OSError.
    """
    generated.write(out, files(options, format))


if __name__ == "__main__":
    write(Path(sys.argv[1]), Options())
