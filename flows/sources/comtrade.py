"""UN Comtrade, keyless preview: China's monthly exports of metal magnets (HS 850511), in t."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation

from flows.errors import SourceError
from flows.sources.http import HttpClient
from flows.sources.shape import Record, ReplyShapeError, as_text, inside, records
from flows.sources.source import Citation, FetchResult, Kind, Problem
from flows.validation import RawRow

CALL = "https://comtradeapi.un.org/public/v1/preview/C/M/HS"
SERIES = "cn_metal_magnet_exports_hs850511"
MONTHS = 24
MONTHS_A_CALL = 12
MOST_ROWS = 500
_KILOGRAM = "8"  # Comtrade's qtyUnitCode

# What every row must say of itself: totals over partners, transport and customs procedures.
_QUESTION = {
    "reporterCode": "156",
    "flowCode": "X",
    "cmdCode": "850511",
    "partnerCode": "0",
    "motCode": "0",
    "partner2Code": "0",
    "customsCode": "C00",
}
_FIELDS = (*_QUESTION, "period", "netWgt", "qty", "qtyUnitCode")

CITATION = Citation(
    source_id="COMTRADE_LIVE",
    title="UN Comtrade, China's exports of HS 850511 (permanent magnets of metal), monthly",
    url=CALL,
    source_date="",
    reuse="UN Comtrade terms; quote figures with attribution",
    note="all metal magnets, not only rare-earth ones; no release date is given",
)


@dataclass(frozen=True, slots=True)
class ComtradeSource:
    """The last 24 whole months, asked for twelve at a time."""

    open_client: Callable[[], HttpClient]

    @property
    def name(self) -> str:
        return "comtrade"

    @property
    def title(self) -> str:
        return "UN Comtrade: China's metal magnet exports"

    @property
    def kind(self) -> Kind:
        return "trade"

    def fetch(self, *, now: datetime) -> FetchResult:
        """Rows of the months that Comtrade has; raises SourceError when no call succeeds."""
        rows: list[RawRow] = []
        problems: list[Problem] = []
        months = _months_before(now, MONTHS)
        calls = [months[at : at + MONTHS_A_CALL] for at in range(0, MONTHS, MONTHS_A_CALL)]
        with self.open_client() as client:
            for periods in calls:
                asked = {
                    **_QUESTION,
                    "period": ",".join(periods),
                    "includeDesc": "true",
                    "maxRecords": str(MOST_ROWS),
                }
                subject = f"{periods[0]}–{periods[-1]}"
                try:
                    reply = client.get_json(CALL, params=asked)
                    found = _records(reply)
                except SourceError as error:
                    problems.append(Problem(subject, error.problem))
                except ReplyShapeError as error:
                    text = f"{CALL} {error}; nothing of these months was taken"
                    problems.append(Problem(subject, text))
                else:
                    rows += [
                        _row(record, number, periods, now) for number, record in enumerate(found, 1)
                    ]
        if len(problems) == len(calls):
            raise SourceError(self.name, "; ".join(dict.fromkeys(it.text for it in problems)))
        return FetchResult(tuple(rows), {CITATION.source_id: CITATION}, tuple(problems))


def _months_before(now: datetime, count: int) -> list[str]:
    """The whole months before this one as YYYYMM, oldest first."""
    this = now.year * 12 + now.month - 1
    return [f"{month // 12}{month % 12 + 1:02d}" for month in range(this - count, this)]


def _records(reply: object) -> list[Record]:
    """The rows of a sound envelope; an empty list is an answer: nothing is reported yet."""
    said = as_text(reply.get("error") or reply.get("message")) if isinstance(reply, dict) else ""
    if said:
        problem = f"answers with an error: {' '.join(said.split())[:200]!r}"
        raise ReplyShapeError(problem)
    count = inside(reply, "count")
    found = records(reply, "data", fields=_FIELDS)
    if count != len(found):
        problem = f"announces {count} rows and sends {len(found)}"
        raise ReplyShapeError(problem)
    if len(found) >= MOST_ROWS:
        problem = f"sends {len(found)} rows, the most it can: some may be cut off"
        raise ReplyShapeError(problem)
    return found


def _row(record: Record, number: int, periods: Sequence[str], now: datetime) -> RawRow:
    period = as_text(record["period"])
    kilograms, is_estimated = _weight(record)
    notes = ["all permanent magnets of metal"]
    if is_estimated:
        notes.append("weight estimated by UN Comtrade")
    return RawRow(
        file=f"preview of {periods[0]}–{periods[-1]}",
        row=number,
        raw=json.dumps({name: record[name] for name in _FIELDS}, ensure_ascii=False),
        series=SERIES,
        period=f"{period[:4]}-{period[4:]}",
        value="" if kilograms is None else f"{kilograms / 1000:f}",
        unit="t",
        statistic="month_total",
        source_id=CITATION.source_id,
        confidence="low" if is_estimated else "medium",
        note="; ".join(notes),
        raw_value="" if kilograms is None else f"{kilograms:f}",
        raw_unit="kg",
        known_at=now,
        fault=_fault(record, periods, kilograms),
    )


def _fault(record: Record, periods: Sequence[str], kilograms: Decimal | None) -> str:
    wrong = [
        f"{name}: {as_text(record[name])!r} is not {right!r}, which was asked"
        for name, right in _QUESTION.items()
        if as_text(record[name]) != right
    ]
    if as_text(record["period"]) not in periods:
        wrong.append(f"period: {as_text(record['period'])!r} was not asked")
    if kilograms is None:
        weight, unit = as_text(record["netWgt"]), as_text(record["qtyUnitCode"])
        wrong.append(f"netWgt: {weight!r} is no weight, and qty is not in kg (unit {unit!r})")
    return "; ".join(wrong)


def _weight(record: Mapping[str, object]) -> tuple[Decimal | None, bool]:
    """Kilograms (None: the row has none) and whether Comtrade estimated them.

    An empty or zero net weight means not reported; the quantity stands in when it is in kg.
    """
    weight = _positive(record["netWgt"])
    if weight is not None:
        return weight, record.get("isNetWgtEstimated") is True
    if as_text(record["qtyUnitCode"]) == _KILOGRAM:
        return _positive(record["qty"]), record.get("isQtyEstimated") is True
    return None, False


def _positive(value: object) -> Decimal | None:
    if isinstance(value, bool):
        return None
    try:
        number = Decimal(as_text(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() and number > 0 else None
