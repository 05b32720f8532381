"""KOMIS (Korea's mineral information service): daily rare-earth oxide quotes, USD/kg FOB China."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import ClassVar
from urllib.parse import urlsplit

from flows.errors import SourceError
from flows.sources.http import HttpClient, HttpPolicy, address
from flows.sources.shape import Record, ReplyShapeError, as_text, inside, records
from flows.sources.source import Citation, FetchResult, Kind, Problem
from flows.validation import RawRow

NAME = "komis"
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

MOST_FAILURES = 3  # in a row: a site that turns this network away would answer no other call either

LAST_SEEN = "2026-10-04"
"""When the list of minerals and options had the numbers that are kept here."""

_MIRROR_ID = "KOMIS_MIRROR"
_MIRROR_SETTING = "LODESTONE_KOMIS_MIRROR_URL"
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
_STATISTIC = "daily_quote"
_BASIS_FIELDS = ("prcUnitCdNm", "weigUnitCd", "prcCrtr", "mnrkndKornNm")
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
    # Numbers of the mineral and its option as last seen, for visits that can't look them up. They are
    # given anew from time to time; an old one, or one of another mineral, is answered without rows.
    last_mineral: str
    last_option: str


MINERALS = (
    Mineral("Nd", ("네오디뮴",), "Neodymium Oxide", "99.5", "nd_oxide_daily", "MNRL1001", "757"),
    Mineral(
        "Pr", ("프라세오디뮴",), "Praseodymium Oxide", "99.5", "pr_oxide_daily", "MNRL1056", "758"
    ),
    Mineral("Dy", ("디스프로슘",), "Dysprosium Oxide", "99.5", "dy_oxide_daily", "MNRL1004", "803"),
    Mineral(
        "Tb", ("테르븀", "터븀"), "Terbium Oxide", "99.99", "tb_oxide_daily", "MNRL1005", "806"
    ),
    Mineral(
        "La", ("란탄", "란타넘"), "Lanthanum Oxide", "99.9", "la_oxide_daily", "MNRL1003", "813"
    ),
    Mineral("Ce", ("세륨",), "Cerium Oxide", "99", "ce_oxide_daily", "MNRL1002", "802"),
)


@dataclass(frozen=True, slots=True)
class KomisSource:
    """The quotes of this year and the last, mineral by mineral, in a session of its own.

    KOMIS turns many networks outside Korea away. With `mirror_url` a copy is read in its place: the JSON
    file of a dashboard, `metals[].history[]`; its figures are of low confidence.
    """

    name: ClassVar[str] = NAME
    title: ClassVar[str] = "KOMIS: daily oxide quotes FOB China"
    kind: ClassVar[Kind] = "price"
    is_live: ClassVar[bool] = True

    open_client: Callable[[], HttpClient]
    minerals: Sequence[Mineral] = MINERALS
    mirror_url: str = ""

    def fetch(self, *, now: datetime) -> FetchResult:
        """Daily rows of each mineral; one that can't be read is a problem and loses no other."""
        if self.mirror_url and (fault := _address_fault(self.mirror_url)):
            raise SourceError(self.name, f"{_MIRROR_SETTING} {fault}")
        with self.open_client() as client:
            read = self._mirror(client) if self.mirror_url else _Site(client, now).quotes
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

    def _mirror(self, client: HttpClient) -> Callable[[Mineral], list[RawRow]]:
        reply = client.get_json(self.mirror_url)
        shown = address(self.mirror_url)
        try:
            metals = records(reply, "metals", fields=("name", "grade", "today", "history"))
        except ReplyShapeError as error:
            raise SourceError(self.name, f"{shown}: {error}") from error
        return lambda mineral: _mirrored(metals, mineral, shown)


class _Site:
    """One visit: the session, the list of minerals, and how many calls failed since the last answer."""

    def __init__(self, client: HttpClient, now: datetime) -> None:
        self._client = client
        self._year = now.astimezone(_SEOUL).year
        self._failures = 0
        self._before = ""  # what failed before any quotes were asked for
        self._listed: Sequence[Record] | None = None
        try:
            client.visit(PAGE)  # the calls below may need its session cookie
        except SourceError as error:
            self._failures += 1
            self._before = error.problem
        form = {"cdType": "HP000", "cdGrp": MINOR_METALS}
        try:
            reply = self._call(MINERALS_CALL, form)
            self._listed = records(reply, "data", fields=("cdKey", "cdVal"))
        except (SourceError, ReplyShapeError) as error:
            self._before = _joined(self._before, _told(MINERALS_CALL, error))

    def quotes(self, mineral: Mineral) -> list[RawRow]:
        """All rows of the first option that has any on the basis that the series is kept in."""
        asked = self._look_up(mineral)
        try:
            return self._first_fitting(mineral, asked)
        except SourceError as error:
            text = _joined(error.problem, self._before, asked.unseen)
            raise SourceError(error.source, text) from error
        except ReplyShapeError as error:
            raise ReplyShapeError(_joined(str(error), self._before, asked.unseen)) from error

    def _look_up(self, mineral: Mineral) -> "_Asked":
        """With which numbers a mineral is asked for: as listed now, else as last seen."""
        last = _Asked(mineral.last_mineral, ((mineral.last_option, mineral.purity),))
        if self._listed is None:
            return replace(last, unseen=self._before)
        keys = [
            as_text(it["cdKey"]) for it in self._listed if _plain_name(it["cdVal"]) in mineral.names
        ]
        if not keys:
            names = " or ".join(mineral.names)
            problem = f"{MINERALS_CALL}: {mineral.symbol} ({names}) is not in the list of minerals"
            raise ReplyShapeError(problem)
        form = {"HP000": MINOR_METALS, "mnrkndUnqCd": keys[0]}
        try:
            reply = self._call(BASES_CALL, form)
            options = records(reply, "data", fields=("cdKey", "cdVal", "spcfct"))
        except (SourceError, ReplyShapeError) as error:
            # A mineral with a new number has new ones for its options too.
            if keys[0] != last.mineral:
                raise
            return replace(last, unseen=_told(BASES_CALL, error))
        fitting = [
            (as_text(option["cdKey"]), as_text(option["spcfct"]))
            for option in options
            if mineral.product.lower() in as_text(option["cdVal"]).lower()
            and _has_purity(as_text(option["spcfct"]), mineral)
        ]
        if not fitting:
            offered = [f"{as_text(it['cdVal'])} {as_text(it['spcfct'])}".strip() for it in options]
            problem = (
                f"{BASES_CALL}: no option {mineral.product} {mineral.purity} is offered "
                f"(offered: {', '.join(offered) or 'none'})"
            )
            raise ReplyShapeError(problem)
        return _Asked(keys[0], tuple(fitting))

    def _first_fitting(self, mineral: Mineral, asked: "_Asked") -> list[RawRow]:
        # The same product can stand there for several places, and an option may have no rows at all.
        misses = []
        for option, purity in asked.options:
            form = {
                "srchMnrkndUnqCd": asked.mineral,
                "srchPrcCrtr": option,
                "spcfct": purity,
                "srchAvgOpt": "DAY",
                "srchField": "year",
                "srchStartDate": str(self._year - 1),
                "srchEndDate": str(self._year),
                "srchCompareMnrkndUnqCd": "",
                "srchComparePrcCrtr": "",
            }
            reply = self._call(PRICES_CALL, form)
            fields = ("crtrYmd", "cmercPrc")
            quotes = records(reply, "data", "defaultMnrl", fields=fields, known=_KNOWN)
            if not quotes:
                misses.append("no quotes came: the key is out of date, or the site is in trouble")
                continue
            said = _said_basis(reply)
            if other_basis := _other_basis(said, mineral):
                misses.append(other_basis)
                continue
            unsaid = _unsaid(said)
            if unsaid and len(asked.options) > 1:
                misses.append(f"{unsaid}, where {len(asked.options)} options fit")
                continue
            note = _joined(unsaid, asked.doubt)
            return [
                replace(row, confidence="low", note=note) if note else row
                for number, quote in enumerate(quotes, start=1)
                for row in (_row(quote, number, mineral),)
            ]
        problem = f"{PRICES_CALL}: {'; '.join(dict.fromkeys(misses))}"
        raise ReplyShapeError(problem)

    def _call(self, url: str, form: Mapping[str, str]) -> object:
        if self._failures >= MOST_FAILURES:
            problem = f"no more was asked: {self._failures} calls in a row failed"
            raise SourceError(NAME, problem)
        try:
            reply = self._client.post_form_json(url, form, headers=_HEADERS)
        except SourceError:
            self._failures += 1
            raise
        self._failures = 0
        return reply


@dataclass(frozen=True, slots=True)
class _Asked:
    """The numbers that a mineral's quotes are asked with."""

    mineral: str
    options: tuple[tuple[str, str], ...]  # number and purity
    unseen: str = ""  # why they could not be looked up

    @property
    def doubt(self) -> str:
        return f"asked with the numbers seen on {LAST_SEEN}: {self.unseen}" if self.unseen else ""


def _told(call: str, error: SourceError | ReplyShapeError) -> str:
    # A SourceError names its address itself.
    return error.problem if isinstance(error, SourceError) else f"{call}: {error}"


def _joined(*texts: str) -> str:
    return "; ".join(dict.fromkeys(it for it in texts if it))


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
    return [
        RawRow(
            file=f"{mineral.symbol} of metals[].history",
            row=number,
            raw=json.dumps(quote, ensure_ascii=False),
            series=mineral.series,
            period=_dashed(as_text(quote["date"])),
            value=as_text(quote["value"]),
            unit=UNIT,
            statistic=_STATISTIC,
            source_id=_MIRROR_ID,
            confidence="low",
            field="value",
        )
        for number, quote in enumerate(quotes, start=1)
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


def _said_basis(reply: object) -> Record:
    """What a reply says of its quotes; empty when it says nothing."""
    average = reply.get("dataAvg") if isinstance(reply, dict) else None
    info = average.get("INFO") if isinstance(average, dict) else average
    if info and not isinstance(info, dict):
        problem = "field dataAvg.INFO is no record: the reply has another shape"
        raise ReplyShapeError(problem)
    return {name: as_text((info or {}).get(name)) for name in _BASIS_FIELDS}


def _unsaid(said: Record) -> str:
    """What a reply leaves open of unit and basis; empty: nothing."""
    open_fields = [f"INFO.{name}" for name in _BASIS_FIELDS if not said[name]]
    if len(open_fields) == len(_BASIS_FIELDS):
        return "unit and basis not stated by this reply"
    return f"{', '.join(open_fields)} not stated by this reply" if open_fields else ""


def _other_basis(said: Record, mineral: Mineral) -> str:
    """How quotes have another unit, place or purity than their series is kept in; empty: none is said."""
    unit, weight, basis, name = (as_text(said[field]) for field in _BASIS_FIELDS)
    checks = (
        (unit, "USD", unit.upper() == "USD"),
        (weight, "kg", weight.lower() == "kg"),
        (basis, f"{mineral.purity}%min {BASIS}", _is_wanted(basis, mineral)),
        (name, mineral.names[0], _plain_name(name) in mineral.names),
    )
    changed = [
        f"INFO.{field} is {text!r}, not {right!r}"
        for field, (text, right, is_ok) in zip(_BASIS_FIELDS, checks, strict=True)
        if text and not is_ok
    ]
    return f"unit or basis changed: {'; '.join(changed)}" if changed else ""


def _address_fault(url: str) -> str:
    """Why a copy can't be asked for there; the address itself is not told, it may hold a secret."""
    try:
        parts = urlsplit(url)
        scheme, host = parts.scheme.lower(), parts.hostname or ""
    except ValueError:
        scheme, host = "", ""
    if scheme != "https" and not (scheme == "http" and host in _THIS_MACHINE):
        return "is no address that begins with https://; no other is asked"
    return "" if host else "names no host"


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


def _row(quote: Record, number: int, mineral: Mineral) -> RawRow:
    low, high = as_text(quote.get("lowstPrc")), as_text(quote.get("hghstPrc"))
    return RawRow(
        file=f"{mineral.symbol} of getMnrlPrcByMnrkndUnqCd",
        row=number,
        raw=json.dumps(quote, ensure_ascii=False),
        series=mineral.series,
        period=_dashed(as_text(quote["crtrYmd"])),
        value=as_text(quote["cmercPrc"]),
        unit=UNIT,
        statistic=_STATISTIC,
        source_id=CITATION.source_id,
        confidence="medium",
        low="" if _is_blank(low) else low,
        high="" if _is_blank(high) else high,
        field="cmercPrc",
    )


def _dashed(day: str) -> str:
    found = _DAY.fullmatch(day)
    return f"{found[1]}-{found[3]}-{found[4]}" if found else day
