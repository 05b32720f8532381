"""Renders the README's pictures, and one of each kind of message, by the tests' stand-in for Slack."""

import json
import subprocess
import sys
import tempfile
from datetime import date
from io import BytesIO
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from flows import steps
from flows.settings import load_settings
from flows.wiring import build
from forecasting.charts import balance_fan
from tests.delivery.pictures import digest, kinds, pictures
from tests.slack_standin import StandIn

PICTURES = ROOT / "docs" / "pictures"
NOT_SHOWN = ("policy-decisions", "world-shortfall", "magnet-stock-cover")
"""Rules that would say more on that day than a picture can hold."""
SIDEBAR, TOP_BAR, WIDTH, HEIGHT = 220, 52, 860, 2000


def main() -> None:
    """Renders them all; what comes out is to be looked at before it is kept."""
    of_the_readme()
    of_each_kind()


def of_each_kind() -> None:
    """Every kind of message as a reader sees it; tests hold the renderer to these, and these to the goldens."""
    folder = PICTURES / "slack"
    folder.mkdir(exist_ok=True)
    shown = kinds()
    for name, picture in pictures(shown).items():
        _save(picture, folder / f"{name}.png", colours=64)
    made_of = {name: digest(one) for name, one in sorted(shown.items())}
    text = json.dumps(made_of, indent=2)
    (folder / "goldens.json").write_text(f"{text}\n", encoding="utf-8")


def of_the_readme() -> None:
    """Runs the service as of 21 June 2025 with two rules, and keeps what a reader would see."""
    with tempfile.TemporaryDirectory() as folder, StandIn() as slack:
        home = Path(folder)
        (home / "rules.toml").write_text(
            "".join(f"[rules.{name}]\nenabled = false\n" for name in NOT_SHOWN)
        )
        variables = {
            "LODESTONE_HOME": folder,
            "LODESTONE_CONFIG_DIR": folder,
            "LODESTONE_SLACK_TOKEN": "xoxb-picture",
            "LODESTONE_SLACK_BASE_URL": slack.api_url,
        }
        service = build(load_settings(variables, home / "none.toml"))
        at = steps.moment(service, date(2025, 6, 21), live=False)
        steps.ingest(service, at)
        steps.forecast(service, at, run_id="picture")
        steps.project(service, at, run_id="picture")
        shown = ("licence-freeze", "base")
        # The freeze first: the first projection is the one drawn in full.
        india = steps.project(
            service, at, ["india-ndfeb"], run_id="picture", scenarios=shown
        ).projections
        steps.raise_alerts(service, at, run_id="picture")
        steps.deliver(service, at, patience_seconds=5)
        service.close()
        (PICTURES / "market.png").write_bytes(balance_fan(india))
        shot = home / "channel.png"
        subprocess.run(
            [
                "chromium",
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
                f"--window-size={WIDTH},{HEIGHT}",
                f"--screenshot={shot}",
                slack.url,
            ],
            check=True,
            capture_output=True,
            timeout=90,
        )
        channel = Image.open(BytesIO(shot.read_bytes())).convert("RGB")
    channel = channel.crop((SIDEBAR, TOP_BAR, WIDTH, HEIGHT))
    rows = [
        y
        for y in range(channel.height)
        if channel.crop((60, y, 600, y + 1)).getcolors() is None
        or len(channel.crop((60, y, 600, y + 1)).getcolors()) > 1
    ]
    channel = channel.crop((0, 0, channel.width, max(rows) + 12))
    _save(channel, PICTURES / "message.png", colours=256)


def _save(picture: Image.Image, path: Path, *, colours: int) -> None:
    # Coverage, not counts: the one red dot has to stay red.
    few = picture.quantize(colours, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(path, optimize=True)


if __name__ == "__main__":
    main()
