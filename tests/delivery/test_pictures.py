"""Every kind of message looks in a browser as its picture in docs/pictures/slack, which people have looked at."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageStat

from tests.browser import require_chromium
from tests.delivery.pictures import Shown, digest, kinds, pictures

PICTURES = Path(__file__).resolve().parents[2] / "docs" / "pictures" / "slack"
KINDS = kinds()
# Of 255, in any band of a picture. Measured: 1.3 at most for the same message, 6 for a missing button.
LIMIT = 4.0


@pytest.fixture(scope="module")
def shot() -> dict[str, Image.Image]:
    require_chromium()
    return pictures(KINDS)


@pytest.mark.parametrize("name", sorted(KINDS))
def test_a_picture_is_of_the_message_as_it_is_now(name):
    made_of = json.loads((PICTURES / "goldens.json").read_text(encoding="utf-8"))

    assert set(made_of) == set(KINDS)
    assert made_of[name] == digest(KINDS[name]), f"{name}.png is old: make pictures, and look at it"


def test_one_changed_word_makes_a_picture_old():
    one = KINDS["root"]

    assert digest(one) == digest(Shown(one.root))
    assert digest(one) != digest(Shown(replace(one.root, advice="Wait.")))
    assert digest(one) != digest(Shown(one.root, (one.root,)))
    assert digest(one) != digest(Shown(one.root, answer=one.root))


@pytest.mark.browser
@pytest.mark.parametrize("name", sorted(KINDS))
def test_a_message_looks_as_its_picture(shot, name):
    kept = Image.open(PICTURES / f"{name}.png").convert("RGB")

    found = difference(shot[name], kept)

    assert found < LIMIT, f"{name}.png differs by {found:.1f}: make pictures, and look at it"


def test_every_picture_is_of_a_kind_and_small():
    kept = {path.stem: path.stat().st_size for path in PICTURES.glob("*.png")}

    assert set(kept) == set(KINDS)
    assert max(kept.values()) <= 60_000


@pytest.mark.browser
def test_a_message_without_its_buttons_or_a_section_looks_different(shot):
    root = KINDS["root"].root
    (without,) = pictures({"root": KINDS["root"]}, buttons=False).values()
    changed = pictures(
        {
            "no advice": Shown(replace(root, advice="")),
            "one button less": Shown(replace(root, actions=root.actions[1:])),
            "last button missing": Shown(replace(root, actions=root.actions[:-1])),
            "no why": Shown(replace(root, why_now="")),
        }
    )

    found = {name: difference(one, shot["root"]) for name, one in changed.items()}

    assert difference(without, shot["root"]) > LIMIT
    assert all(value > LIMIT for value in found.values()), found


def difference(one: Image.Image, other: Image.Image) -> float:
    """How far two pictures are apart, 0 to 255: the mean difference in the band where it is largest.

    Both are made small first, so that the edges of letters don't count; a picture that is higher by half a
    line or more is another.
    """
    if one.width != other.width or abs(one.height - other.height) > 10:
        return 255.0
    size = one.width // 8, min(one.height, other.height) // 8
    small = [
        picture.crop((0, 0, size[0] * 8, size[1] * 8))
        .convert("L")
        .resize(size, Image.Resampling.BOX)
        for picture in (one, other)
    ]
    apart = ImageChops.difference(*small)
    bands = (apart.crop((0, y, size[0], min(y + 4, size[1]))) for y in range(0, size[1], 2))
    return max(ImageStat.Stat(band).mean[0] for band in bands)
