"""A page as a reader's browser sees it: headless Chromium, offline, with a profile of its own."""

import os
import shutil
import subprocess
import tempfile

import pytest

CHROMIUM = shutil.which("chromium")


def require_chromium() -> None:
    """Skip where there is no browser, but never in CI: there the package has to be installed."""
    if CHROMIUM is None:
        message = "headless Chromium is missing: apt-get install chromium"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)


def dom(address: str, *, width: int = 1300, height: int = 1000, wait_ms: int = 10_000) -> str:
    """The document after its scripts ran and `wait_ms` of the page's own time went by."""
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory() as profile:
        done = subprocess.run(
            [
                CHROMIUM,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--no-first-run",
                f"--user-data-dir={profile}",
                f"--window-size={width},{height}",
                f"--virtual-time-budget={wait_ms}",
                "--dump-dom",
                address,
            ],
            capture_output=True,
            text=True,
            timeout=90,
            check=True,
        )
    return done.stdout
