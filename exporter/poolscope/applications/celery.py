"""Applications of Celery."""

from __future__ import annotations

from typing import Any

from poolscope.callsites.operations import Box, NamedOperation, current_box
from poolscope.label_values import printable


def instrument_celery(app: Any) -> Any:
    """Have each task that a worker runs be an operation, by the task's name."""
    from celery.signals import task_postrun, task_prerun

    if "_poolscope_tasks" in vars(app):
        return app
    outer: dict[str, list[tuple[Box, Box]]] = {}

    def begin(task_id: str, task: Any, **_: Any) -> None:
        if task.app is app:
            box: Box = [NamedOperation(printable(task.name))]
            outer.setdefault(task_id, []).append((box, current_box.get()))
            current_box.set(box)

    def end(task_id: str, task: Any, **_: Any) -> None:
        if task.app is app and outer.get(task_id):
            box, before = outer[task_id].pop()
            box[0] = None
            current_box.set(before)
            if not outer[task_id]:
                del outer[task_id]

    task_prerun.connect(begin, weak=False)
    task_postrun.connect(end, weak=False)
    app._poolscope_tasks = begin, end
    return app
