#!/bin/sh
# Install the server into a virtual environment of its own.
#
#   docker/install.sh SOURCE TARGET [EXTRAS]
#
# SOURCE  a checkout of maskloop, a wheel, or a requirement such as 'maskloop==0.1.0'
# TARGET  the directory to make; it must not exist
# EXTRAS  of maskloop, 'backend,openvino' by default; of these two a checkout has the versions in docker/requirements.txt,
#         whose files have to be the ones that were tested; with others pip chooses the newest that pyproject.toml allows
set -eu

locked=backend,openvino
if [ $# -ne 2 ] && [ $# -ne 3 ]; then
    echo "usage: $0 SOURCE TARGET [EXTRAS]" >&2
    exit 2
fi
source=$1
target=$2
extras=${3:-$locked}
if [ -e "$target" ]; then
    echo "$target exists already; nothing was installed" >&2
    exit 1
fi

"${PYTHON:-python3}" -m venv "$target"
if [ "$extras" = "$locked" ] && [ -f "$source/docker/requirements.txt" ]; then
    "$target/bin/python" -m pip install --quiet --require-hashes --requirement "$source/docker/requirements.txt"
    "$target/bin/python" -m pip install --quiet --no-deps "$source"
    "$target/bin/python" -m pip check
else
    "$target/bin/python" -m pip install --quiet "${source}[$extras]"
fi
"$target/bin/maskloop" --version
