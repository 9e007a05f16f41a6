"""`research-agent api`: the web server's process."""

import logging
import socket
import sys

import uvicorn

from app.api.application import create_app
from core.settings import Settings

# Readers of event streams stay connected: they are let go after this long.
GRACE_S = 3


def serve_api(settings: Settings, descriptor: int | None = None) -> None:
    """Serve until SIGTERM or SIGINT, on the set address or on a listening socket that the parent hands down."""
    logging.basicConfig(level=settings.log_level, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    config = uvicorn.Config(
        create_app(settings), host=settings.host, port=settings.port, log_config=None, access_log=False,
        proxy_headers=False, server_header=False, ws="none", timeout_graceful_shutdown=GRACE_S,
    )  # fmt: skip
    sockets = None if descriptor is None else [socket.socket(fileno=descriptor)]
    uvicorn.Server(config).run(sockets=sockets)
