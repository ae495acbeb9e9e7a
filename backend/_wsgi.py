"""What `label-studio-ml start backend` runs, and gunicorn as `_wsgi:app`."""

from __future__ import annotations

import argparse
import os
import sys

from label_studio_ml import api
from label_studio_ml.api import init_app

from model import HAS_SETUP, LIMITS_OF_1_0, Manager, MaskloopModel, server

if not HAS_SETUP:
    print(LIMITS_OF_1_0, file=sys.stderr, flush=True)  # noqa: T201
    api._manager = Manager()
# now, and not by two first requests at once
server()
app = init_app(model_class=MaskloopModel)

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="maskloop behind label-studio-ml")
    parser.add_argument("-p", "--port", type=int, default=9090)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--basic-auth-user", default=os.environ.get("BASIC_AUTH_USER"))
    parser.add_argument("--basic-auth-pass", default=os.environ.get("BASIC_AUTH_PASS"))
    arguments = parser.parse_args()
    if arguments.basic_auth_user:
        if not HAS_SETUP:
            parser.error("label-studio-ml 1.0.9 has no basic auth: use `maskloop serve`, or a proxy in front of it")
        init_app(
            model_class=MaskloopModel,
            basic_auth_user=arguments.basic_auth_user,
            basic_auth_pass=arguments.basic_auth_pass,
        )
    app.run(host=arguments.host, port=arguments.port)
