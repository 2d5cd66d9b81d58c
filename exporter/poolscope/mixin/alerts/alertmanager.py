"""Alertmanager's configuration: who is told what, and what need not be said."""

from __future__ import annotations

from typing import Final

from poolscope.mixin.alerts.exporter import COVERAGE, EXPORTER_DOWN, NONE_LEFT, WATCHDOG
from poolscope.mixin.alerts.model import Json
from poolscope.mixin.alerts.options import Options

PAGE: Final = "poolscope-page"
TICKET: Final = "poolscope-ticket"
DEAD_MAN: Final = "poolscope-watchdog"
NOBODY: Final = "poolscope-nobody"

OURS: Final = 'alertname=~"ConnPool.+"'

FIRST: Final = "{{{{ with index .Alerts 0 }}}}{{{{ .Annotations.{} }}}}{{{{ end }}}}"
SUMMARY: Final = (
    FIRST.format("summary") + "{{ if gt (len .Alerts) 1 }} ({{ len .Alerts }} of them){{ end }}"
)
"""Several pools of a service may have the same trouble: what they have in common is not much."""

WATCHDOG_ADDRESS: Final = "http://localhost:8080/watchdog"
"""Of a service that raises an alarm when it hears nothing; there is no default for it."""


def document(options: Options) -> Json:
    """Return the configuration; receivers read their secrets from files."""
    return {
        "route": _route(options),
        "inhibit_rules": _inhibitions(options),
        "receivers": _receivers(options),
    }


def _route(options: Options) -> Json:
    """Return the routes: one notice of all pools of a service that have the same trouble."""
    return {
        "receiver": NOBODY,
        "group_by": ["alertname", *options.scope],
        "group_wait": options.group_wait,
        "group_interval": options.group_interval,
        "repeat_interval": options.repeat_page,
        "routes": [
            {
                "receiver": DEAD_MAN,
                "matchers": [f'alertname="{WATCHDOG}"'],
                "group_wait": "0s",
                "repeat_interval": options.group_interval,
            },
            {"receiver": PAGE, "matchers": [OURS, 'severity="critical"']},
            {
                "receiver": TICKET,
                "matchers": [OURS, 'severity="warning"'],
                "repeat_interval": options.repeat_ticket,
            },
            {"receiver": NOBODY, "matchers": [OURS, 'severity="info"']},
        ],
    }


def _inhibitions(options: Options) -> list[Json]:
    """
    Return what is held back.

    A label that both sides lack counts as equal, so that alerts without a pool are left out.
    """
    pools = ['pool=~".+"', OURS]
    same_pool = [*options.scope, "pool", "kind"]
    return [
        {
            "source_matchers": ['severity="critical"', *pools],
            "target_matchers": ['severity=~"warning|info"', *pools],
            "equal": same_pool,
        },
        {
            "source_matchers": ['severity="warning"', *pools],
            "target_matchers": ['severity="info"', *pools],
            "equal": same_pool,
        },
        {
            "source_matchers": [f'alertname="{EXPORTER_DOWN}"', f'{COVERAGE}="{NONE_LEFT}"'],
            "target_matchers": [OURS, f'alertname!~"{EXPORTER_DOWN}|{WATCHDOG}"'],
            "equal": list(options.scope),
        },
    ]


def _receivers(options: Options) -> list[Json]:
    if options.webhook:
        return [
            {"name": NOBODY},
            {"name": PAGE, "webhook_configs": [_webhook(options, "page")]},
            {"name": TICKET, "webhook_configs": [_webhook(options, "ticket")]},
            {"name": DEAD_MAN, "webhook_configs": [_webhook(options, "watchdog")]},
        ]
    pager = {
        "routing_key_file": f"{options.secrets}/pagerduty-routing-key",
        "description": SUMMARY,
        "client_url": FIRST.format("dashboard_url"),
    }
    chat = {
        "api_url_file": f"{options.secrets}/slack-url",
        "send_resolved": True,
        "title": "{{ .CommonLabels.alertname }}",
        "title_link": FIRST.format("dashboard_url"),
        "text": "{{ range .Alerts }}{{ .Annotations.description }}\n{{ end }}"
        "<{{ .CommonAnnotations.runbook_url }}|What to do>",
    }
    watchdog = _authorized(options, WATCHDOG_ADDRESS)
    return [
        {"name": NOBODY},
        {"name": PAGE, "pagerduty_configs": [pager]},
        {"name": TICKET, "slack_configs": [chat]},
        {"name": DEAD_MAN, "webhook_configs": [{**watchdog, "send_resolved": False}]},
    ]


def _webhook(options: Options, path: str) -> Json:
    return _authorized(options, f"{options.webhook.rstrip('/')}/{path}")


def _authorized(options: Options, url: str) -> Json:
    token = f"{options.secrets}/webhook-token"
    return {"url": url, "http_config": {"authorization": {"credentials_file": token}}}
