#!/bin/sh
# Install the programs that the tests need, from Debian, if they are missing and this user is root:
# prometheus with promtool, Alertmanager with amtool, chromium for the live page and the dashboards,
# node with npm for the dashboards, pgbouncer, docker-compose to check its file, jq for the commands
# of runbooks, openssl for certificates, unshare for processes in other namespaces, nginx, and tmux
# for what is drawn in terminals.
set -eu

missing=
command -v promtool >/dev/null || missing="$missing prometheus"
command -v chromium >/dev/null || missing="$missing chromium"
command -v npm >/dev/null || missing="$missing nodejs npm"
command -v amtool >/dev/null || missing="$missing prometheus-alertmanager"
command -v docker-compose >/dev/null || missing="$missing docker-compose"
command -v jq >/dev/null || missing="$missing jq"
command -v openssl >/dev/null || missing="$missing openssl"
command -v unshare >/dev/null || missing="$missing util-linux"
[ -x /usr/sbin/pgbouncer ] || command -v pgbouncer >/dev/null || missing="$missing pgbouncer"
[ -x /usr/sbin/nginx ] || command -v nginx >/dev/null || missing="$missing nginx-light"
command -v tmux >/dev/null || missing="$missing tmux"
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing from Debian:$missing"
    apt-get update -qq
    # shellcheck disable=SC2086 # one word for each package
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
else
    echo "tests whose programs are missing are skipped; on Debian: apt-get install$missing"
fi
