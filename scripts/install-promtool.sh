#!/bin/sh
# Install promtool, which comes with Debian's prometheus, if it is missing and we may.
set -eu

command -v promtool >/dev/null && exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing Debian's prometheus package, for promtool"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends prometheus >/dev/null
else
    echo "promtool is missing, so the tests that need it are skipped;" \
        "install Prometheus (on Debian: apt-get install prometheus)"
fi
