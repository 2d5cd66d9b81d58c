"""The options of the alerts besides the thresholds."""

from __future__ import annotations

from typing import Any

import pytest

from poolscope.mixin.alerts.options import Options
from poolscope.mixin.labels import OptionError


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"matchers": ("env",)}, "'env' is not a label matcher, such as env=\"prod\""),
        ({"service": "the app"}, "--service-label: 'the app' is not a label name"),
        ({"uid_prefix": ""}, "--uid-prefix: '' is not 1 to 24 letters, digits, _ or -"),
        ({"grafana": "grafana"}, "--grafana: 'grafana' is not a URL, such as https://..."),
        ({"group_wait": "x"}, "--group-wait: 'x' is not a duration, such as 90s, 5m or 1h30m"),
    ],
)
def test_an_invalid_option_is_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError) as raised:
        Options(**fields)
    assert message == str(raised.value)
