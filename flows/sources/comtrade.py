"""UN Comtrade: exports and imports by customs code and partner, kg and USD, by month and by year."""

import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import ClassVar, Literal, NamedTuple

from flows.catalog import load_catalog
from flows.errors import SourceError
from flows.sources.http import HttpClient, HttpPolicy
from flows.sources.shape import Record, ReplyShapeError, as_text, records
from flows.sources.source import Citation, FetchResult, Kind, Problem
from flows.units import UnknownCodeError, comtrade_country, country, hs
from flows.validation import RawRow

SITE = "https://comtradeapi.un.org"
KEY_HEADER = "Ocp-Apim-Subscription-Key"
GROUP = "comtrade"
"""The catalogue's series of this group are the ones that are asked for."""

MONTHS = 24
YEARS = 6
POLICY = HttpPolicy(gap_seconds=1.5)
"""No limit is published for the preview; at one call a second others were turned away (HTTP 429)."""

MOST_CALLS = 200
MOST_FAILURES = 3  # in a row: what comes after would fail too, and asking on is rude

# Totals over ways of transport, second partners and customs procedures: else one trade has many rows.
TOTALS = {"motCode": "0", "partner2Code": "0", "customsCode": "C00"}

_SERIES = re.compile(
    r"(?P<reporter>\w+)_(?P<flow>exports|imports)_hs(?P<code>\d{6})_(?P<partner>\w+?)"
    r"_(?P<measure>t|usd)(?P<year>_year)?",
    re.ASCII,
)
_FLOWS = {"exports": "X", "imports": "M"}
_KEY = ("freqCode", "reporterCode", "flowCode", "partnerCode", "cmdCode", "period")
_FIELDS = (*_KEY, "netWgt", "primaryValue")
_SOMETIMES = (*TOTALS, "qty", "qtyUnitCode")  # the preview leaves some of them out
# All that a reply has had so far: when one of the above is missing, a new name may be its new name.
_KNOWN = frozenset(
    {
        *(*_FIELDS, *_SOMETIMES),
        *("typeCode", "refPeriodId", "refYear", "refMonth", "classificationCode", "aggrLevel"),
        *("classificationSearchCode", "isOriginalClassification", "isLeaf", "mosCode"),
        *("reporterISO", "reporterDesc", "flowDesc", "partnerISO", "partnerDesc"),
        *("partner2ISO", "partner2Desc", "cmdDesc", "customsDesc", "motDesc", "qtyUnitAbbr"),
        *("isQtyEstimated", "altQtyUnitCode", "altQtyUnitAbbr", "altQty", "isAltQtyEstimated"),
        *("isNetWgtEstimated", "grossWgt", "isGrossWgtEstimated", "cifvalue", "fobvalue"),
        *("legacyEstimationFlag", "isReported", "isAggregate"),
    }
)
_SHOWN = (
    *_FIELDS,
    *_SOMETIMES,
    "isNetWgtEstimated",
    "isQtyEstimated",
    "isReported",
    "legacyEstimationFlag",
)
_KILOGRAM = "8"  # Comtrade's qtyUnitCode
_WEIGHT_IS_ESTIMATED = frozenset({"4", "6"})  # Comtrade's legacyEstimationFlag
_QUANTITY_IS_ESTIMATED = frozenset({"2", "6"})
_MOST_NAMED = 6

CITATION = Citation(
    source_id="COMTRADE_LIVE",
    title="UN Comtrade, merchandise trade by reporter, partner and HS code, as reported",
    url="https://comtradeplus.un.org",
    source_date="",
    reuse="UN Comtrade policy on use and re-dissemination; quote figures with attribution",
    note="figures are revised without notice; no release date is given; exports FOB, imports CIF",
)

Frequency = Literal["M", "A"]


class Figure(NamedTuple):
    """What one series holds, in UN Comtrade's codes."""

    frequency: Frequency
    flow: str  # X: exports, M: imports
    reporter: str
    partner: str
    code: str
    measure: str  # t | usd


@dataclass(frozen=True, slots=True)
class Question:
    """What one kind of call asks for: every reporter with every partner and every customs code."""

    frequency: Frequency
    flow: str
    reporters: tuple[str, ...]
    partners: tuple[str, ...]
    codes: tuple[str, ...]
    periods: tuple[str, ...] = ()

    def __str__(self) -> str:
        flow = "exports" if self.flow == "X" else "imports"
        first, last = _dashed(min(self.periods)), _dashed(max(self.periods))
        who = _listed(_name(it) for it in self.reporters)
        whom = _listed(_name(it) for it in self.partners)
        when = first if first == last else f"{first} to {last}"
        between = f"{who} to {whom}" if self.flow == "X" else f"{who} from {whom}"
        return f"{flow} of {between}, HS {_listed(self.codes)}, {when}"

    def halves(self) -> tuple["Question", "Question"] | None:
        """Two questions for the same rows: by period, then by partner, code, reporter; None: it is one row."""
        for part in ("periods", "partners", "codes", "reporters"):
            values = getattr(self, part)
            if len(values) > 1:
                middle = len(values) // 2
                return (
                    replace(self, **{part: values[:middle]}),
                    replace(self, **{part: values[middle:]}),
                )
        return None


@dataclass(frozen=True, slots=True)
class Access:
    """One of the two ways in: what fits into a call and how it is sent."""

    path: str
    most_rows: int
    periods_a_call: int

    def url(self, question: Question) -> str:
        return f"{self.path}/{question.frequency}/HS"


PREVIEW = Access(f"{SITE}/public/v1/preview/C", most_rows=500, periods_a_call=1)
KEYED = Access(f"{SITE}/data/v1/get/C", most_rows=100_000, periods_a_call=12)


class _TooManyRowsError(Exception):
    """A reply is as long as a reply can be: some rows may be cut off."""


def declared_series() -> tuple[str, ...]:
    """The series of the shipped catalogue that are read from UN Comtrade."""
    entries = load_catalog().series.values()
    return tuple(entry.series for entry in entries if entry.source == GROUP)


@dataclass(frozen=True, slots=True)
class ComtradeSource:
    """The last 24 whole months and six whole years of the declared series, the newest first.

    Without a key the preview is asked, one period a call; with one, the data service, twelve a call.
    """

    name: ClassVar[str] = "comtrade"
    title: ClassVar[str] = "UN Comtrade: trade in rare earths and magnets by customs code"
    kind: ClassVar[Kind] = "trade"
    is_live: ClassVar[bool] = True

    open_client: Callable[[], HttpClient]
    series: tuple[str, ...] = field(default_factory=declared_series, repr=False)
    key: str = field(default="", repr=False)

    def fetch(self, *, now: datetime) -> FetchResult:
        """Rows of all calls that were answered; raises SourceError when none was."""
        access = KEYED if self.key else PREVIEW
        declared = figures(self.series)
        waiting = deque(_calls(questions(declared), access, now))
        rows: list[RawRow] = []
        problems: list[Problem] = []
        not_published = answered = asked = failures = 0
        with self.open_client() as client:
            client.hide(self.key.strip())
            while waiting and failures < MOST_FAILURES and asked < MOST_CALLS:
                question = waiting.popleft()
                asked += 1
                try:
                    found = self._ask(client, access, question)
                except _TooManyRowsError as error:
                    halves = question.halves()
                    if halves is None:
                        problems.append(Problem(str(question), str(error)))
                    else:
                        waiting.extendleft(reversed(halves))
                except SourceError as error:
                    failures += 1
                    problems.append(Problem(str(question), self._told(error.problem)))
                except ReplyShapeError as error:
                    failures += 1
                    # The publisher's own words stand in it, and they may say the key back to us.
                    text = client.hidden(f"{access.url(question)} {error}")
                    problems.append(
                        Problem(str(question), f"{text}; nothing of this call was taken")
                    )
                else:
                    failures = 0
                    answered += 1
                    made, missing = _rows(found, question, declared)
                    rows += made
                    not_published += missing
        if not answered:
            texts = [it.text for it in problems] or ["no series of it is declared"]
            raise SourceError(self.name, "; ".join(dict.fromkeys(texts)))
        if waiting:
            why = f"{failures} in a row failed" if failures else f"{asked} are enough for one visit"
            text = f"{len(waiting)} more calls were not made: {why}; the next visit asks again"
            problems.append(Problem(str(waiting[0]), text))
        return FetchResult(
            tuple(rows), {CITATION.source_id: CITATION}, tuple(problems), not_published
        )

    def _ask(self, client: HttpClient, access: Access, question: Question) -> list[Record]:
        params = {
            **TOTALS,
            "reporterCode": ",".join(question.reporters),
            "flowCode": question.flow,
            "partnerCode": ",".join(question.partners),
            "cmdCode": ",".join(question.codes),
            "period": ",".join(question.periods),
            "maxRecords": str(access.most_rows),
        }
        headers = {KEY_HEADER: self.key.strip()} if self.key else None
        url = access.url(question)
        return _records(client.get_json(url, params=params, headers=headers), url, access.most_rows)

    def _told(self, problem: str) -> str:
        is_refused = re.search(r"HTTP 40[13]\b", problem) is not None
        return (
            f"{problem}; the key is LODESTONE_COMTRADE_KEY" if is_refused and self.key else problem
        )


def figures(series: Iterable[str]) -> dict[Figure, str]:
    """The series by what they hold; raises SourceError for a name that does not say it, or says it again."""
    found: dict[Figure, str] = {}
    for name in series:
        parts = _SERIES.fullmatch(name)
        if parts is None:
            raise _undeclarable(
                name, "is not REPORTER_exports_hsCODE_PARTNER_t, _usd, _t_year or _usd_year"
            )
        figure = Figure(
            "A" if parts["year"] else "M",
            _FLOWS[parts["flow"]],
            _code(name, parts["reporter"]),
            _code(name, parts["partner"]),
            _customs_code(name, parts["code"]),
            parts["measure"],
        )
        if figure in found:
            raise _undeclarable(name, f"holds the same as {found[figure]}")
        found[figure] = name
    return found


def questions(declared: Iterable[Figure]) -> tuple[Question, ...]:
    """What has to be asked for these figures: products that hold them all, and nothing else."""
    codes: dict[tuple[Frequency, str, str, str], set[str]] = {}
    for it in declared:
        codes.setdefault((it.frequency, it.flow, it.reporter, it.partner), set()).add(it.code)
    partners: dict[tuple[Frequency, str, str, frozenset[str]], list[str]] = {}
    for (frequency, flow, who, whom), line in codes.items():
        partners.setdefault((frequency, flow, who, frozenset(line)), []).append(whom)
    reporters: dict[tuple[Frequency, str, tuple[str, ...], frozenset[str]], list[str]] = {}
    for (frequency, flow, who, lines), whoms in partners.items():
        reporters.setdefault((frequency, flow, tuple(whoms), lines), []).append(who)
    return tuple(
        Question(frequency, flow, tuple(whos), whoms, tuple(sorted(lines)))
        for (frequency, flow, whoms, lines), whos in reporters.items()
    )


def _undeclarable(series: str, problem: str) -> SourceError:
    return SourceError(GROUP, f"catalog.toml: series {series}: {problem}")


def _code(series: str, place: str) -> str:
    try:
        found = country(place.replace("_", " ")).comtrade
    except UnknownCodeError as error:
        raise _undeclarable(series, str(error)) from None
    if not found:
        raise _undeclarable(series, f"{place} has no code at UN Comtrade")
    return found


def _customs_code(series: str, code: str) -> str:
    try:
        return hs(code).code
    except UnknownCodeError as error:
        problem = f"{error} (a line more belongs into flows/reference/codes/hs.csv)"
        raise _undeclarable(series, problem) from None


def _calls(asked: Iterable[Question], access: Access, now: datetime) -> Iterator[Question]:
    """Months before years, the newest period first: when a visit ends early, what is new is there."""
    for frequency, periods in (("M", _months(now)), ("A", _years(now))):
        for at in range(0, len(periods), access.periods_a_call):
            for question in asked:
                if question.frequency == frequency:
                    yield replace(question, periods=periods[at : at + access.periods_a_call])


def _months(now: datetime) -> tuple[str, ...]:
    today = now.astimezone(UTC)
    this = today.year * 12 + today.month - 1
    months = range(this - 1, this - 1 - MONTHS, -1)
    return tuple(f"{month // 12}{month % 12 + 1:02d}" for month in months)


def _years(now: datetime) -> tuple[str, ...]:
    this = now.astimezone(UTC).year
    return tuple(str(year) for year in range(this - 1, this - 1 - YEARS, -1))


def _records(reply: object, url: str, most_rows: int) -> list[Record]:
    """The rows of a sound envelope; an empty list is an answer: nothing is reported yet."""
    envelope = reply if isinstance(reply, dict) else {}
    said = as_text(envelope.get("error") or envelope.get("message"))
    if said:
        problem = f"answers with an error: {' '.join(said.split())[:200]!r}"
        raise ReplyShapeError(problem)
    found = records(reply, "data", fields=_FIELDS, known=_KNOWN)
    count = as_text(envelope.get("count")).removesuffix(".0")
    announced = int(count) if re.fullmatch(r"\d{1,9}", count, re.ASCII) else 0
    # Before the count: a reply that is cut off announces all that there is.
    if max(len(found), announced) >= most_rows:
        problem = f"{url} has {max(len(found), announced)} rows for what is one figure; nothing of it was taken"
        raise _TooManyRowsError(problem)
    if count not in ("", str(len(found))):
        problem = f"announces {count} rows and sends {len(found)}"
        raise ReplyShapeError(problem)
    for number, record in enumerate(found, start=1):
        needed = () if not _is_open(as_text(record["netWgt"])) else _needed_for_quantity(record)
        if missing := [name for name in needed if name not in record]:
            problem = f"data record {number} has no weight and no field {', '.join(missing)}"
            raise ReplyShapeError(problem)
    return found


def _needed_for_quantity(record: Record) -> tuple[str, ...]:
    """What a record without a weight must have, so that a quantity in kg can stand in for it."""
    return ("qty",) if _is_open(as_text(record.get("qty"))) else ("qty", "qtyUnitCode")


def _rows(
    found: Sequence[Record], question: Question, declared: Mapping[Figure, str]
) -> tuple[list[RawRow], int]:
    """The rows that the records make, and how many figures they leave open."""
    faults = [_fault(record, question) for record in found]
    twins: dict[tuple[str, ...], list[Record]] = {}
    for record, fault in zip(found, faults, strict=True):
        if not fault:
            twins.setdefault(_key(record), []).append(record)
    contradictions = {key: _contradiction(same) for key, same in twins.items() if len(same) > 1}
    rows: list[RawRow] = []
    not_published = 0
    for number, (record, fault) in enumerate(zip(found, faults, strict=True), start=1):
        wrong = fault or contradictions.get(_key(record), "")
        if wrong:
            rows.append(replace(_bare(record, number, question), fault=wrong))
            continue
        for row in _measures(record, number, question, declared):
            if row.value:
                rows.append(row)
            else:
                not_published += 1
    return rows, not_published


def _bare(record: Record, number: int, question: Question) -> RawRow:
    return RawRow(
        file=str(question),
        row=number,
        raw=json.dumps({it: record[it] for it in _SHOWN if it in record}, ensure_ascii=False),
        period=_dashed(as_text(record["period"])),
        statistic="year_total" if question.frequency == "A" else "month_total",
        source_id=CITATION.source_id,
    )


def _measures(
    record: Record, number: int, question: Question, declared: Mapping[Figure, str]
) -> Iterator[RawRow]:
    """The figures of one record that a series holds; one that the record leaves open has no value."""
    row = _bare(record, number, question)
    trust, note = "high", ""
    if record.get("isReported") is False:
        trust, note = "medium", "summed up by UN Comtrade from what was reported"
    weight, weight_field, is_estimated = _weight(record)
    value = as_text(record["primaryValue"])
    told = {
        "t": replace(row, value=weight, unit="kg", confidence=trust, note=note, field=weight_field),
        "usd": replace(
            row, value=value, unit="USD", confidence=trust, note=note, field="primaryValue"
        ),
    }
    if is_estimated:
        told["t"] = replace(told["t"], confidence="low", note="weight estimated by UN Comtrade")
    reporter, partner, code = (
        as_text(record[name]) for name in ("reporterCode", "partnerCode", "cmdCode")
    )
    for measure, figure in told.items():
        key = Figure(question.frequency, question.flow, reporter, partner, code, measure)
        if key in declared:  # a series may be declared in tonnes only
            yield replace(figure, series=declared[key])


def _fault(record: Record, question: Question) -> str:
    """How a record is not what was asked; empty when it is."""
    allowed: Mapping[str, tuple[str, ...]] = {
        "freqCode": (question.frequency,),
        "reporterCode": question.reporters,
        "flowCode": (question.flow,),
        "partnerCode": question.partners,
        "cmdCode": question.codes,
        "period": question.periods,
        # What a record does not say of these is as it was asked.
        **{name: (it,) for name, it in TOTALS.items() if record.get(name) is not None},
    }
    return "; ".join(
        f"{name}: {_said(name, as_text(record[name]))} was not asked "
        f"(asked: {_listed(repr(it) if name == 'cmdCode' else _said(name, it) for it in right)})"
        for name, right in allowed.items()
        if as_text(record[name]) not in right
    )


def _key(record: Record) -> tuple[str, ...]:
    return tuple(as_text(record[name]) for name in _KEY)


def _contradiction(twins: Sequence[Record]) -> str:
    """Why several records for one figure can't be told apart; empty when they say the same."""
    names = dict.fromkeys(name for record in twins for name in record)
    told = {name: [as_text(record.get(name)) for record in twins] for name in names}
    different = {name: values for name, values in told.items() if len(set(values)) > 1}
    if not different:
        return ""  # repeated word for word: one of them is kept at the door
    parts = [f"{name} {' and '.join(dict.fromkeys(it))}" for name, it in different.items()]
    return f"cmdCode: one figure has {len(twins)} rows, with {_listed(parts)}; none was taken"


def _weight(record: Record) -> tuple[str, str, bool]:
    """Kilograms as written ("": not reported), their field, and whether Comtrade estimated them.

    An empty or zero net weight means not reported; the quantity stands in when it is in kg.
    """
    flag = as_text(record.get("legacyEstimationFlag"))
    weight = as_text(record["netWgt"])
    if not _is_open(weight):
        is_estimated = record.get("isNetWgtEstimated") is True or flag in _WEIGHT_IS_ESTIMATED
        return weight, "netWgt", is_estimated
    quantity = as_text(record.get("qty"))
    if as_text(record.get("qtyUnitCode")) == _KILOGRAM and not _is_open(quantity):
        is_estimated = record.get("isQtyEstimated") is True or flag in _QUANTITY_IS_ESTIMATED
        return quantity, "qty", is_estimated
    return "", "netWgt", False


def _is_open(value: str) -> bool:
    return not value or re.fullmatch(r"0+(\.0*)?", value, re.ASCII) is not None


def _dashed(period: str) -> str:
    return f"{period[:4]}-{period[4:]}" if re.fullmatch(r"\d{6}", period, re.ASCII) else period


def _name(code: str) -> str:
    try:
        return comtrade_country(code).name
    except UnknownCodeError:
        return code


def _said(name: str, value: str) -> str:
    known = value
    if name in ("reporterCode", "partnerCode"):
        known = _name(value)
    elif name == "cmdCode":
        known = _line(value)
    return repr(value) if known == value else f"{value!r} ({known})"


def _line(code: str) -> str:
    try:
        return hs(code).description
    except UnknownCodeError:
        return code


def _listed(words: Iterable[str]) -> str:
    named = list(words)
    more = f" and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
    return ", ".join(named[:_MOST_NAMED]) + more
