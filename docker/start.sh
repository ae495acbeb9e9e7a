#!/bin/sh
# Start the server from its virtual environment; settings come from MASKLOOP_* variables, see `maskloop serve --help`.
set -eu

exec "${MASKLOOP_VENV:-/opt/maskloop}/bin/maskloop" serve "$@"
