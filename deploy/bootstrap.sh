#!/bin/sh
# Installs what building and running Farebox needs and this machine lacks.
# As root with apt, or with Homebrew on macOS; otherwise it prints the exact line and exits 3.
#
#   deploy/bootstrap.sh [demo|test|bench|profile]     what the machine is to do; default demo
set -eu

purpose=${1:-demo}
packages=
formulas=

has_postgres() {
    for folder in $(printf '%s' "$PATH" | tr ':' ' ') "$(pg_config --bindir 2>/dev/null || :)" \
        /usr/lib/postgresql/*/bin /opt/homebrew/opt/postgresql*/bin /usr/local/opt/postgresql*/bin; do
        [ -x "$folder/initdb" ] && [ -x "$folder/postgres" ] && return 0
    done
    return 1
}

need() { # what is needed, Debian's package, Homebrew's formula
    packages="$packages $2"
    formulas="$formulas $3"
    echo "missing: $1" >&2
}

has_postgres || need "Postgres 15 or newer" postgresql postgresql@17
command -v cc >/dev/null 2>&1 || need "a C compiler and linker" build-essential gcc
if [ "$purpose" = test ]; then
    python3 -c 'import ensurepip, venv' 2>/dev/null || need "Python with venv" python3-venv python3
    command -v npm >/dev/null 2>&1 || need "Node.js with npm" "nodejs npm" node
fi
if [ "$purpose" = bench ]; then
    command -v nginx >/dev/null 2>&1 || need "nginx, the yardstick" nginx-light nginx
fi
# Debian's own `llvm` is too old for the counts that Rust's writes.
has_profdata() {
    for tool in /usr/bin/llvm-profdata-19 /usr/bin/llvm-profdata-2?; do
        [ -x "$tool" ] && return 0
    done
    [ "$(uname)" = Darwin ] && command -v llvm-profdata >/dev/null 2>&1
}
if [ "$purpose" = profile ]; then
    has_profdata || need "llvm-profdata 19 or newer, which merges the counts" llvm-19 llvm
fi
if ! command -v cargo >/dev/null 2>&1; then
    echo "missing: Rust 1.95 or newer; install it with: curl https://sh.rustup.rs -sSf | sh -s -- -y" >&2
    exit 3
fi
node_is_old() {
    command -v node >/dev/null 2>&1 && [ "$(node -p 'process.versions.node.split(".")[0]')" -lt 20 ]
}
if [ "$purpose" = test ] && node_is_old; then
    echo "missing: Node.js 20 or newer, here is $(node --version); get it from https://nodejs.org" >&2
    exit 3
fi
[ -n "$packages" ] || exit 0

if command -v apt-get >/dev/null 2>&1; then
    line="apt-get update && apt-get install -y --no-install-recommends$packages"
    if [ "$(id -u)" != 0 ]; then
        echo "run this, then try again: sudo sh -c '$line'" >&2
        exit 3
    fi
    # Debian would start a cluster of its own on installing Postgres; nothing here uses it.
    mkdir -p /etc/postgresql-common/createcluster.d
    echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.d/farebox.conf
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q
    # shellcheck disable=SC2086 # the list is meant to be split
    apt-get install -y -q --no-install-recommends $packages
elif command -v brew >/dev/null 2>&1; then
    # shellcheck disable=SC2086
    brew install $formulas
else
    echo "install these, then try again:$packages" >&2
    exit 3
fi
