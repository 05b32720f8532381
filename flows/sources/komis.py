"""KOMIS (Korea's mineral information service): daily rare-earth oxide quotes, USD/kg FOB China."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from flows.errors import SourceError
from flows.sources.http import HttpClient, HttpPolicy, address
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
POLICY = HttpPolicy(gap_seconds=1.0)

CITATION = Citation(
    source_id="KOMIS_LIVE",
    title="KOMIS mineral prices, minor metals, daily",
    url=PAGE,
    source_date="",
    reuse="terms not stated; quote single figures with attribution",
    note="KOMIS changes its own data suppliers in 2026: the same specification may jump",
)

_MIRROR_ID = "KOMIS_MIRROR"
_SEOUL = timezone(timedelta(hours=9))
_HEADERS = {"X-Requested-With": "XMLHttpRequest", "Referer": PAGE, "Accept": "application/json"}
_DAY = re.compile(r"(\d{4})([.\-/]?)(\d{2})\2(\d{2})", re.ASCII)
# All that a quote has had so far: when a needed field is missing, a new name may be its new name.
_KNOWN = frozenset(
    {"crtrYmd", "cmercPrc", "lowstPrc", "hghstPrc", "invt", "flctnPrc", "flctnPrcnt"}
)


@dataclass(frozen=True, slots=True)
class Mineral:
    """A mineral that is asked for: how KOMIS spells it, the product and purity of its basis, our series."""

    symbol: str
    names: tuple[str, ...]  # the list of minerals and the quotes don't always spell it alike
    product: str
    purity: str
    series: str


MINERALS = (
    Mineral("Nd", ("네오디뮴",), "Neodymium Oxide", "99.5", "nd_oxide_daily"),
    Mineral("Pr", ("프라세오디뮴",), "Praseodymium Oxide", "99.5", "pr_oxide_daily"),
    Mineral("Dy", ("디스프로슘",), "Dysprosium Oxide", "99.5", "dy_oxide_daily"),
    Mineral("Tb", ("테르븀", "터븀"), "Terbium Oxide", "99.99", "tb_oxide_daily"),
    Mineral("La", ("란탄", "란타넘"), "Lanthanum Oxide", "99.9", "la_oxide_daily"),
    Mineral("Ce", ("세륨",), "Cerium Oxide", "99", "ce_oxide_daily"),
)


@dataclass(frozen=True, slots=True)
class KomisSource:
    """The quotes of this year and the last, mineral by mineral, in a session of its own.

    KOMIS turns many networks outside Korea away. With `mirror_url` a copy is read in its place: the JSON
    file of a dashboard, `metals[].history[]`; its figures are of low confidence.
    """

    open_client: Callable[[], HttpClient]
    minerals: Sequence[Mineral] = MINERALS
    mirror_url: str = ""

    @property
    def name(self) -> str:
        return "komis"

    @property
    def title(self) -> str:
        return "KOMIS: daily oxide quotes FOB China"

    @property
    def kind(self) -> Kind:
        return "price"

    @property
    def is_live(self) -> bool:
        return True

    def fetch(self, *, now: datetime) -> FetchResult:
        """Daily rows of each mineral; one that can't be read is a problem and loses no other."""
        with self.open_client() as client:
            read = self._mirror(client) if self.mirror_url else self._site(client, now)
            rows: list[RawRow] = []
            problems: list[Problem] = []
            for mineral in self.minerals:
                try:
                    rows += read(mineral)
                except SourceError as error:
                    problems.append(Problem(mineral.series, error.problem))
                except ReplyShapeError as error:
                    problems.append(Problem(mineral.series, f"{error}; nothing of it was taken"))
        if len(problems) == len(self.minerals):
            raise SourceError(self.name, "; ".join(dict.fromkeys(it.text for it in problems)))
        published = [row for row in rows if not _is_blank(row.value)]
        citation = _mirror_citation(self.mirror_url) if self.mirror_url else CITATION
        return FetchResult(
            tuple(published),
            {citation.source_id: citation},
            tuple(problems),
            len(rows) - len(published),
        )

    def _site(self, client: HttpClient, now: datetime) -> Callable[[Mineral], list[RawRow]]:
        client.visit(PAGE)  # the calls below need its session cookie
        form = {"cdType": "HP000", "cdGrp": MINOR_METALS}
        listed = client.post_form_json(MINERALS_CALL, form, headers=_HEADERS)
        try:
            known = records(listed, "data", fields=("cdKey", "cdVal"))
        except ReplyShapeError as error:
            raise SourceError(self.name, f"{MINERALS_CALL}: {error}") from error
        return lambda mineral: _quotes(client, mineral, known, now)

    def _mirror(self, client: HttpClient) -> Callable[[Mineral], list[RawRow]]:
        reply = client.get_json(self.mirror_url)
        shown = address(self.mirror_url)
        try:
            metals = records(reply, "metals", fields=("name", "grade", "today", "history"))
        except ReplyShapeError as error:
            raise SourceError(self.name, f"{shown}: {error}") from error
        return lambda mineral: _mirrored(metals, mineral, shown)


def _quotes(
    client: HttpClient, mineral: Mineral, known: Sequence[Record], now: datetime
) -> list[RawRow]:
    """All rows of the first option that has any on the basis that the series is kept in."""
    keys = [as_text(it["cdKey"]) for it in known if _plain_name(it["cdVal"]) in mineral.names]
    if not keys:
        names = " or ".join(mineral.names)
        problem = f"{MINERALS_CALL}: {mineral.symbol} ({names}) is not in the list of minerals"
        raise ReplyShapeError(problem)
    form = {"HP000": MINOR_METALS, "mnrkndUnqCd": keys[0]}
    reply = client.post_form_json(BASES_CALL, form, headers=_HEADERS)
    options = records(reply, "data", fields=("cdKey", "cdVal", "spcfct"))
    offered = [f"{as_text(it['cdVal'])} {as_text(it['spcfct'])}".strip() for it in options]
    fitting = [
        option
        for option in options
        if mineral.product.lower() in as_text(option["cdVal"]).lower()
        and _has_purity(as_text(option["spcfct"]), mineral)
    ]
    if not fitting:
        problem = (
            f"{BASES_CALL}: no option {mineral.product} {mineral.purity} is offered "
            f"(offered: {', '.join(offered) or 'none'})"
        )
        raise ReplyShapeError(problem)
    # The keys are given anew from time to time; the same product can stand there for several places,
    # and an option may have no rows at all.
    misses = []
    for option in fitting:
        form = {
            "srchMnrkndUnqCd": keys[0],
            "srchPrcCrtr": as_text(option["cdKey"]),
            "spcfct": as_text(option["spcfct"]),
            "srchAvgOpt": "DAY",
            "srchField": "year",
            "srchStartDate": str(now.astimezone(_SEOUL).year - 1),
            "srchEndDate": str(now.astimezone(_SEOUL).year),
            "srchCompareMnrkndUnqCd": "",
            "srchComparePrcCrtr": "",
        }
        reply = client.post_form_json(PRICES_CALL, form, headers=_HEADERS)
        fields = ("crtrYmd", "cmercPrc")
        quotes = records(reply, "data", "defaultMnrl", fields=fields, known=_KNOWN)
        if not quotes:
            misses.append("no quotes came: the key is out of date, or the site is in trouble")
            continue
        other_basis = _other_basis(inside(reply, "dataAvg", "INFO"), mineral)
        if other_basis:
            misses.append(other_basis)
            continue
        return [
            _row(quote, number, mineral, "getMnrlPrcByMnrkndUnqCd", CITATION.source_id)
            for number, quote in enumerate(quotes, start=1)
        ]
    problem = f"{PRICES_CALL}: {'; '.join(dict.fromkeys(misses))}"
    raise ReplyShapeError(problem)


def _mirrored(metals: Sequence[Record], mineral: Mineral, shown: str) -> list[RawRow]:
    """All rows that a dashboard's file has of a mineral on the basis that the series is kept in."""
    there = [it for it in metals if _plain_name(it["name"]) in mineral.names]
    fitting = [it for it in there if _is_wanted(as_text(it["grade"]), mineral)]
    if not fitting:
        grades = ", ".join(as_text(it["grade"]) for it in there) or "none"
        problem = (
            f"{shown}: {mineral.names[0]} {mineral.purity}% {BASIS} is not there (there: {grades})"
        )
        raise ReplyShapeError(problem)
    unit = as_text(inside(fitting[0], "today", "unit"))
    if unit.lower() != UNIT.lower():
        problem = f"{shown}: unit or basis changed: today.unit is {unit!r}, not {UNIT!r}"
        raise ReplyShapeError(problem)
    quotes = records(fitting[0], "history", fields=("date", "value"))
    named = [{"crtrYmd": it["date"], "cmercPrc": it["value"]} for it in quotes]
    return [
        _row(quote, number, mineral, "metals[].history", _MIRROR_ID)
        for number, quote in enumerate(named, start=1)
    ]


def _mirror_citation(url: str) -> Citation:
    return Citation(
        source_id=_MIRROR_ID,
        title="A copy of KOMIS mineral prices, minor metals, daily",
        url=address(url),
        source_date="",
        reuse="terms of KOMIS not stated; those of the copy are its owner's",
        note="read from a copy that somebody else keeps: nobody vouches for its figures",
    )


def _other_basis(info: object, mineral: Mineral) -> str:
    """How quotes have another unit, place or purity than their series is kept in; empty: they don't."""
    unit, weight, basis, name = (
        as_text(inside(info, field))
        for field in ("prcUnitCdNm", "weigUnitCd", "prcCrtr", "mnrkndKornNm")
    )
    checks = (
        ("prcUnitCdNm", unit, "USD", unit.upper() == "USD"),
        ("weigUnitCd", weight, "kg", weight.lower() == "kg"),
        ("prcCrtr", basis, f"{mineral.purity}%min {BASIS}", _is_wanted(basis, mineral)),
        ("mnrkndKornNm", name, mineral.names[0], _plain_name(name) in mineral.names),
    )
    changed = [
        f"INFO.{field} is {said!r}, not {right!r}"
        for field, said, right, is_ok in checks
        if not is_ok
    ]
    return f"unit or basis changed: {'; '.join(changed)}" if changed else ""


def _plain_name(name: object) -> str:
    """A mineral's name without what follows in brackets: 네오디뮴 (Nd)."""
    return as_text(name).partition("(")[0].strip()


def _is_wanted(basis: str, mineral: Mineral) -> bool:
    return BASIS.lower() in basis.lower() and _has_purity(basis, mineral)


def _has_purity(text: str, mineral: Mineral) -> bool:
    # 99 must not be found in 99.5, nor 99.9 in 99.99.
    return re.search(rf"(?<![\d.]){re.escape(mineral.purity)}(?!\.?\d)", text) is not None


def _is_blank(price: str) -> bool:
    """Whether a price stands for none: KOMIS writes 0.00 where it has nothing to publish."""
    return price in ("", "-", "–") or re.fullmatch(r"0+(\.0*)?", price, re.ASCII) is not None


def _row(quote: Record, number: int, mineral: Mineral, call: str, source_id: str) -> RawRow:
    low, high = as_text(quote.get("lowstPrc")), as_text(quote.get("hghstPrc"))
    return RawRow(
        file=f"{mineral.symbol} of {call}",
        row=number,
        raw=json.dumps(quote, ensure_ascii=False),
        series=mineral.series,
        period=_dashed(as_text(quote["crtrYmd"])),
        value=as_text(quote["cmercPrc"]),
        unit=UNIT,
        statistic="daily_quote",
        source_id=source_id,
        confidence="low" if source_id == _MIRROR_ID else "medium",
        low="" if _is_blank(low) else low,
        high="" if _is_blank(high) else high,
    )


def _dashed(day: str) -> str:
    found = _DAY.fullmatch(day)
    return f"{found[1]}-{found[3]}-{found[4]}" if found else day
