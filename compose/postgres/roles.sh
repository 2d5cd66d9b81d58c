#!/bin/sh
# Mounted in /docker-entrypoint-initdb.d of the PostgreSQL image, which runs it once as superuser.
# It creates a role and a database for the demo, and a role for the exporter that sees all sessions.
set -eu

psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 \
    --username "${POSTGRES_USER:-postgres}" --dbname "${POSTGRES_DB:-postgres}" <<'SQL'
\getenv shop SHOP_PASSWORD
\getenv exporter EXPORTER_PASSWORD
CREATE ROLE shop LOGIN PASSWORD :'shop';
CREATE DATABASE shop OWNER shop;
CREATE ROLE exporter LOGIN PASSWORD :'exporter' IN ROLE pg_monitor;
SQL
