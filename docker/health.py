"""Ask the server whether it lives, with the credentials that it asks for; exit code 0 if it does.

health.py           /health: it lives
health.py /ready    it may be sent requests
"""

from __future__ import annotations

import base64
import os
import sys
import urllib.request


def main() -> int:
    """Return the exit code."""
    path = sys.argv[1] if len(sys.argv) > 1 else "/health"
    url = f"http://127.0.0.1:{os.environ.get('MASKLOOP_PORT', '9090')}{path}"
    user, password = os.environ.get("MASKLOOP_BASIC_AUTH_USER"), os.environ.get("MASKLOOP_BASIC_AUTH_PASSWORD")
    request = urllib.request.Request(url)
    if user and password:
        encoded = base64.b64encode(f"{user}:{password}".encode()).decode()
        request.add_header("Authorization", f"Basic {encoded}")
    # The container's proxy settings are for other hosts.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=5) as response:
            sys.stdout.write(response.read().decode() + "\n")
            return 0
    except OSError as error:
        sys.stderr.write(f"{url}: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
