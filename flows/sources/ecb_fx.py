"""European Central Bank: euro reference rates of CNY, INR, USD and JPY, daily, whole history."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import ClassVar
from zoneinfo import ZoneInfo

from flows.errors import SourceError
from flows.sources.csv_reply import csv_rows
from flows.sources.http import HttpClient
from flows.sources.shape import ReplyShapeError
from flows.sources.source import Citation, FetchResult, Kind, Problem
from flows.sources.tables import as_line
from flows.validation import RawRow

BASE = "EUR"
CURRENCIES = ("CNY", "INR", "USD", "JPY")
CALL = f"https://data-api.ecb.europa.eu/service/data/EXR/D.{'+'.join(CURRENCIES)}.{BASE}.SP00.A"
SERIES = {currency: f"{currency.lower()}_per_eur" for currency in CURRENCIES}

# All that the portal sends with a rate. The short form (detail=dataonly) ends in the value itself:
# of an answer that breaks off, nobody could tell 7.8 from 7.85.
COLUMNS = (
    "KEY",
    "FREQ",
    "CURRENCY",
    "CURRENCY_DENOM",
    "EXR_TYPE",
    "EXR_SUFFIX",
    "TIME_PERIOD",
    "OBS_VALUE",
    "OBS_STATUS",
    "OBS_CONF",
    "OBS_PRE_BREAK",
    "OBS_COM",
    "TIME_FORMAT",
    "BREAKS",
    "COLLECTION",
    "COMPILING_ORG",
    "DISS_ORG",
    "DOM_SER_IDS",
    "PUBL_ECB",
    "PUBL_MU",
    "PUBL_PUBLIC",
    "UNIT_INDEX_BASE",
    "COMPILATION",
    "COVERAGE",
    "DECIMALS",
    "NAT_TITLE",
    "SOURCE_AGENCY",
    "SOURCE_PUB",
    "TITLE",
    "TITLE_COMPL",
    "UNIT",
    "UNIT_MULT",
)

CITATION = Citation(
    source_id="ECB_EXR",
    title="European Central Bank, euro foreign exchange reference rates, daily",
    url=CALL,
    source_date="",
    reuse="free to reuse with the ECB named as source, unchanged",
    note="for information only; published about 16:00 in Frankfurt on TARGET working days",
)

# What every row must say of itself: daily, against the euro, reference rate, average of the fixing.
_QUESTION = {
    "FREQ": "D",
    "CURRENCY_DENOM": BASE,
    "EXR_TYPE": "SP00",
    "EXR_SUFFIX": "A",
    "UNIT_MULT": "0",
}
_NORMAL = "A"  # the portal's OBS_STATUS of an ordinary value
# Rates came out soon after 14:15 until June 2016, about 16:00 since: the later hour never looks ahead.
_PUBLISHED = time(16, tzinfo=ZoneInfo("Europe/Berlin"))
_NOT_PUBLISHED = frozenset({"", "N/A", "NaN"})


@dataclass(frozen=True, slots=True)
class EcbFxSource:
    """Every daily rate since the euro began, in one call."""

    name: ClassVar[str] = "ecb_fx"
    title: ClassVar[str] = "ECB: euro reference rates"
    kind: ClassVar[Kind] = "price"
    is_live: ClassVar[bool] = True

    open_client: Callable[[], HttpClient]

    def fetch(self, *, now: datetime) -> FetchResult:
        """Rates of all days; a currency that is missing is a problem and loses no other.

        Raises SourceError when the answer is no table of rates.
        """
        del now  # each rate has an instant of its own
        with self.open_client() as client:
            content = client.get_bytes(CALL, params={"format": "csvdata"})
        try:
            _, found = csv_rows(content, COLUMNS)
        except ReplyShapeError as error:
            problem = f"{CALL} {error}"
            raise SourceError(self.name, problem) from error
        rows: list[RawRow] = []
        not_published = 0
        for number, cells in found:
            row = _row(number, cells)
            if not row.fault and row.value in _NOT_PUBLISHED:
                not_published += 1
            else:
                rows.append(row)
        told = {row.series for row in rows if not row.fault}
        problems = tuple(
            Problem(series, f"{CALL} sent no {currency} rate")
            for currency, series in SERIES.items()
            if series not in told
        )
        if len(problems) == len(SERIES):
            faults = "; ".join(dict.fromkeys(row.fault for row in rows))
            problem = f"{CALL} sent no rate that can be read{': ' if faults else ''}{faults[:200]}"
            raise SourceError(self.name, problem)
        return FetchResult(tuple(rows), {CITATION.source_id: CITATION}, problems, not_published)


def _row(number: int, cells: list[str]) -> RawRow:
    file, raw = "EXR csvdata", as_line(cells)
    if len(cells) != len(COLUMNS):
        fault = f"row: has {len(cells)} cells instead of {len(COLUMNS)}: the answer may break off"
        return RawRow(file=file, row=number, raw=raw, fault=fault)
    record = dict(zip(COLUMNS, (cell.strip() for cell in cells), strict=True))
    currency, day, status = record["CURRENCY"], record["TIME_PERIOD"], record["OBS_STATUS"]
    return RawRow(
        file=file,
        row=number,
        raw=raw,
        series=SERIES.get(currency, ""),
        period=day,
        value=record["OBS_VALUE"],
        unit=f"{currency}/{BASE}",
        statistic="daily_reference_rate",
        source_id=CITATION.source_id,
        confidence="high",
        note="" if status in ("", _NORMAL) else f"ECB status {status}",
        known_at=_known_at(day),
        field="OBS_VALUE",
        fault=_fault(record),
    )


def _fault(record: Mapping[str, str]) -> str:
    wrong = [
        f"{name}: {record[name]!r} is not {right!r}, which was asked"
        for name, right in _QUESTION.items()
        if record[name] != right
    ]
    if record["CURRENCY"] not in SERIES:
        wrong.append(f"CURRENCY: {record['CURRENCY']!r} was not asked")
    return "; ".join(wrong)


def _known_at(day: str) -> datetime | None:
    try:
        return datetime.combine(date.fromisoformat(day), _PUBLISHED).astimezone(UTC)
    except ValueError:
        return None  # validation turns the row away for its period
