"""The outlook in a real browser: on a phone nothing runs over the edge, every picture is there and described."""

import re
from pathlib import Path

import pytest

from flows import steps
from flows.settings import load_settings
from flows.wiring import build
from tests.browser import dom, require_chromium

PROBE = """<script>addEventListener("load", () => {
  const pictures = [...document.images];
  document.body.dataset.over = document.documentElement.scrollWidth - innerWidth;
  document.body.dataset.broken = pictures.filter((p) => !p.naturalWidth).length;
  document.body.dataset.silent = pictures.filter((p) => p.alt.length < 40).length;
  document.body.dataset.pictures = pictures.length;
})</script>"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("outlook")
    variables = {
        "LODESTONE_HOME": str(home),
        "LODESTONE_MODELS": "random_walk,drift",
        "LODESTONE_PATHS": "300",
    }
    service = build(load_settings(variables, home / "none.toml"))
    at = steps.moment(service, None, live=False)
    steps.ingest(service, at)
    steps.forecast(service, at, run_id="r")
    steps.project(service, at, run_id="r")
    steps.raise_alerts(service, at, run_id="r")
    written = steps.report(service, at).path
    service.close()
    probed = written.with_name("probed.html")
    # The page itself has no script; the copy that is looked at measures itself.
    probed.write_text(written.read_text().replace("</body>", f"{PROBE}</body>"))
    return probed


@pytest.mark.browser
@pytest.mark.parametrize(
    "width", [500, 1300]
)  # 500 is the narrowest window that headless Chromium makes
def test_the_outlook_fits_the_window_and_its_pictures_are_whole_and_described(page, width):
    require_chromium()
    shown = dom(page.as_uri(), width=width)
    measured = dict(re.findall(r'data-(over|broken|silent|pictures)="(-?\d+)"', shown))
    assert int(measured["over"]) <= 0
    assert int(measured["pictures"]) >= 5
    assert (measured["broken"], measured["silent"]) == ("0", "0")
