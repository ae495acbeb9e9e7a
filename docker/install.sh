#!/bin/sh
# Install the server into a virtual environment of its own.
#
#   docker/install.sh SOURCE TARGET
#
# SOURCE  a checkout of maskloop, a wheel, or a requirement such as 'maskloop==0.1.0'
# TARGET  the directory to make; it must not exist
set -eu

if [ $# -ne 2 ]; then
    echo "usage: $0 SOURCE TARGET" >&2
    exit 2
fi
source=$1
target=$2
if [ -e "$target" ]; then
    echo "$target exists already; nothing was installed" >&2
    exit 1
fi

"${PYTHON:-python3}" -m venv "$target"
"$target/bin/python" -m pip install --quiet "${source}[backend]"
"$target/bin/maskloop" --version
