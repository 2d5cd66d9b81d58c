"""
A worker of Celery whose tasks use the pool; its queue is the folder QUEUE.

    python tasks.py N    sends it N tasks
"""

from __future__ import annotations

import os
import sys

from celery import Celery

from service import answer

app = Celery("tasks")
app.conf.broker_url = "filesystem://"
app.conf.broker_transport_options = dict.fromkeys(
    ("data_folder_in", "data_folder_out", "control_folder"), os.environ["QUEUE"]
)


@app.task(name="tasks.work")
def work() -> None:
    answer()


if __name__ == "__main__":
    for _ in range(int(sys.argv[1])):
        work.delay()
