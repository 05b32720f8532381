"""KOMIS (Korea's mineral information service): daily rare-earth oxide quotes, USD/kg FOB China."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone

from flows.errors import SourceError
from flows.sources.http import HttpClient
from flows.sources.shape import Record, ReplyShapeError, as_text, inside, records
from flows.sources.source import Citation, FetchResult, Kind, Problem
from flows.validation import RawRow

SITE = "https://www.komis.or.kr"
PAGE = f"{SITE}/Komis/RsrcPrice/MinorMetals"
MINERALS_CALL = f"{SITE}/ajax/common/getMnrlKndInfoCodeList"
BASES_CALL = f"{SITE}/Komis/RsrcPrice/ajax/getMnrlPriceCrtr"
PRICES_CALL = f"{SITE}/Komis/RsrcPrice/ajax/getMnrlPrcByMnrkndUnqCd"
MINOR_METALS = "HP002"
BASIS = "FOB China"
UNIT = "USD/kg"

CITATION = Citation(
    source_id="KOMIS_LIVE",
    title="KOMIS mineral prices, minor metals, daily",
    url=PAGE,
    source_date="",
    reuse="terms not stated; quote single figures with attribution",
    note="KOMIS changes its own data suppliers in 2026: the same specification may jump",
)

_SEOUL = timezone(timedelta(hours=9))
_QUOTED = time(12, tzinfo=UTC)
_HEADERS = {"X-Requested-With": "XMLHttpRequest", "Referer": PAGE, "Accept": "application/json"}


@dataclass(frozen=True, slots=True)
class Mineral:
    """A mineral that is asked for: its Korean name, the purity of its basis, our series."""

    symbol: str
    korean: str
    purity: str
    series: str


MINERALS = (
    Mineral("Nd", "네오디뮴", "99.5", "nd_oxide_daily"),
    Mineral("Dy", "디스프로슘", "99.5", "dy_oxide_daily"),
    Mineral("Tb", "테르븀", "99.99", "tb_oxide_daily"),
)


@dataclass(frozen=True, slots=True)
class KomisSource:
    """The quotes of this year and the last, mineral by mineral, in a session of its own."""

    open_client: Callable[[], HttpClient]
    minerals: Sequence[Mineral] = MINERALS

    @property
    def name(self) -> str:
        return "komis"

    @property
    def title(self) -> str:
        return "KOMIS: daily oxide quotes FOB China"

    @property
    def kind(self) -> Kind:
        return "price"

    def fetch(self, *, now: datetime) -> FetchResult:
        """Daily rows of each mineral; one that can't be read is a problem and loses no other."""
        rows: list[RawRow] = []
        problems: list[Problem] = []
        not_published = 0
        with self.open_client() as client:
            client.visit(PAGE)  # the calls below need its session cookie
            form = {"cdType": "HP000", "cdGrp": MINOR_METALS}
            listed = client.post_form_json(MINERALS_CALL, form, headers=_HEADERS)
            try:
                known = records(listed, "data", fields=("cdKey", "cdVal"))
            except ReplyShapeError as error:
                raise SourceError(self.name, f"{MINERALS_CALL}: {error}") from error
            for mineral in self.minerals:
                try:
                    quotes = _quotes(client, mineral, known, now)
                except SourceError as error:
                    problems.append(Problem(mineral.series, error.problem))
                except ReplyShapeError as error:
                    problems.append(Problem(mineral.series, f"{error}; nothing of it was taken"))
                else:
                    published = [quote for quote in quotes if not _is_blank(quote.value)]
                    not_published += len(quotes) - len(published)
                    rows += published
        citations = {CITATION.source_id: CITATION}
        return FetchResult(tuple(rows), citations, tuple(problems), not_published)


def _quotes(
    client: HttpClient, mineral: Mineral, known: Sequence[Record], now: datetime
) -> list[RawRow]:
    """All rows of the first basis that has any."""
    keys = [as_text(it["cdKey"]) for it in known if mineral.korean in as_text(it["cdVal"])]
    if not keys:
        problem = f"{mineral.symbol} ({mineral.korean}) is not in the list of minerals"
        raise ReplyShapeError(problem)
    form = {"HP000": MINOR_METALS, "mnrkndUnqCd": keys[0]}
    reply = client.post_form_json(BASES_CALL, form, headers=_HEADERS)
    options = records(reply, "data", fields=("cdKey", "cdVal"))
    fitting = [option for option in options if _is_wanted(as_text(option["cdVal"]), mineral)]
    if not fitting:
        offered = ", ".join(as_text(option["cdVal"]) for option in options) or "none"
        problem = f"no price basis {mineral.purity}% {BASIS} is offered (offered: {offered})"
        raise ReplyShapeError(problem)
    # The keys are given anew from time to time, and some options hold an index without rows.
    for option in fitting:
        form = {
            "srchMnrkndUnqCd": keys[0],
            "srchPrcCrtr": as_text(option["cdKey"]),
            "spcfct": as_text(option.get("spcfct")),
            "srchAvgOpt": "DAY",
            "srchField": "year",
            "srchStartDate": str(now.astimezone(_SEOUL).year - 1),
            "srchEndDate": str(now.astimezone(_SEOUL).year),
            "srchCompareMnrkndUnqCd": "",
            "srchComparePrcCrtr": "",
        }
        reply = client.post_form_json(PRICES_CALL, form, headers=_HEADERS)
        quotes = records(reply, "data", "defaultMnrl", fields=("crtrYmd", "cmercPrc"))
        if quotes:
            _check_basis(inside(reply, "dataAvg", "INFO"), mineral)
            return [_row(quote, number, mineral, now) for number, quote in enumerate(quotes, 1)]
    tried = ", ".join(as_text(option["cdVal"]) for option in fitting)
    problem = f"no quotes came for {tried}: the key is out of date, or the site is in trouble"
    raise ReplyShapeError(problem)


def _check_basis(info: object, mineral: Mineral) -> None:
    """Refuse quotes whose unit, place or purity is not the one that the series is kept in."""
    unit, weight, basis, name = (
        as_text(inside(info, field))
        for field in ("prcUnitCdNm", "weigUnitCd", "prcCrtr", "mnrkndKornNm")
    )
    checks = (
        ("prcUnitCdNm", unit, "USD", unit.upper() == "USD"),
        ("weigUnitCd", weight, "kg", weight.lower() == "kg"),
        ("prcCrtr", basis, f"{mineral.purity}% {BASIS}", _is_wanted(basis, mineral)),
        ("mnrkndKornNm", name, mineral.korean, mineral.korean in name),
    )
    changed = [
        f"INFO.{field} is {said!r}, not {right!r}"
        for field, said, right, is_ok in checks
        if not is_ok
    ]
    if changed:
        problem = f"unit or basis changed: {'; '.join(changed)}"
        raise ReplyShapeError(problem)


def _is_wanted(basis: str, mineral: Mineral) -> bool:
    purity = rf"(?<![\d.]){re.escape(mineral.purity)}(?!\d)"
    return BASIS.lower() in basis.lower() and re.search(purity, basis) is not None


def _is_blank(price: str) -> bool:
    return re.fullmatch(r"0+(\.0*)?", price, re.ASCII) is not None


def _row(quote: Record, number: int, mineral: Mineral, now: datetime) -> RawRow:
    day = as_text(quote["crtrYmd"])
    period = f"{day[:4]}-{day[4:6]}-{day[6:]}" if re.fullmatch(r"\d{8}", day, re.ASCII) else day
    price = as_text(quote["cmercPrc"])
    return RawRow(
        file=f"{mineral.symbol} of getMnrlPrcByMnrkndUnqCd",
        row=number,
        raw=json.dumps(quote, ensure_ascii=False),
        series=mineral.series,
        period=period,
        value=price,
        unit=UNIT,
        statistic="daily_quote",
        source_id=CITATION.source_id,
        confidence="medium",
        known_at=_known_at(period, now),
    )


def _known_at(period: str, now: datetime) -> datetime:
    """Noon UTC of the quoted day, but never later than the moment it was read."""
    try:
        return min(datetime.combine(date.fromisoformat(period), _QUOTED), now)
    except ValueError:
        return now  # validation turns the row away for its period
