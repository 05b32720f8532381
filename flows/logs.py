"""Logs go to stderr, one line each, with the time in UTC."""

import logging
import sys
import time


def configure(level: str) -> None:
    """Send the service's own log lines to stderr; stdout stays for results."""
    handler = logging.StreamHandler(sys.stderr)
    formatter = logging.Formatter(
        "%(asctime)s %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%SZ"
    )
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    root = logging.getLogger("lodestone")
    root.handlers[:] = [handler]
    root.setLevel(level)
    root.propagate = False
