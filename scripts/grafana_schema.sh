#!/bin/sh
# Write tests/mixin/dashboards/gates/grafana-schema.json: Grafana's own types of a dashboard, and of
# the panels that our dashboards use, as JSON Schema. It needs Node 18 or later with npm. The output
# is the same every time; for another release of Grafana, change the version below.
set -eu

scripts=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

npm install --prefix "$folder" --no-save --no-package-lock --ignore-scripts \
    --no-audit --no-fund --loglevel=error \
    @grafana/schema@13.2.2 ts-json-schema-generator@2.4.0 typescript@5.6.3 >&2
node "$scripts/grafana_schema.mjs" "$folder" "$scripts/../tests/mixin/dashboards/gates/grafana-schema.json"
