"""IEA Global EV Data Explorer: electric vehicles sold a year, in the world and where magnets are bought."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import ClassVar

from flows.errors import SourceError
from flows.sources.csv_reply import Columns, csv_rows
from flows.sources.http import HttpClient
from flows.sources.shape import ReplyShapeError
from flows.sources.source import Citation, FetchResult, Kind, Problem
from flows.sources.tables import as_line
from flows.validation import RawRow

CALL = "https://api.iea.org/evs"

COLUMNS: Columns = (
    "region",
    "category",
    "parameter",
    "mode",
    "powertrain",
    "year",
    "unit",
    "value",
)
# The table of the 2025 edition's workbook, which one name and one more column tell apart.
COLUMNS_2025: Columns = ("region_country", *COLUMNS[1:], "Aggregate group")

_VEHICLES: Mapping[tuple[str, str], str] = {
    ("Cars", "BEV"): "cars_bev",
    ("Cars", "PHEV"): "cars_phev",
    ("Buses", "BEV"): "buses_bev",
    ("2 and 3 wheelers", "BEV"): "two_three_wheelers_bev",
    ("Vans", "BEV"): "vans_bev",
    ("Trucks", "BEV"): "trucks_bev",
}
# Of each region those that sell enough, for at least six years.
_REGIONS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "World": (
        "world",
        ("cars_bev", "cars_phev", "buses_bev", "two_three_wheelers_bev", "vans_bev", "trucks_bev"),
    ),
    "India": ("india", ("cars_bev", "buses_bev", "two_three_wheelers_bev")),
    "China": (
        "china",
        ("cars_bev", "cars_phev", "buses_bev", "two_three_wheelers_bev", "vans_bev"),
    ),
    "EU27": ("eu27", ("cars_bev", "cars_phev", "buses_bev", "two_three_wheelers_bev", "vans_bev")),
    "USA": (
        "united_states",
        ("cars_bev", "cars_phev", "buses_bev", "two_three_wheelers_bev", "vans_bev"),
    ),
    "Japan": ("japan", ("cars_bev", "cars_phev", "two_three_wheelers_bev", "vans_bev")),
}
# What is kept: region, vehicles and powertrain as the IEA names them, and our series.
SERIES: Mapping[tuple[str, str, str], str] = {
    (region, *vehicle): f"ev_sales_{name}_{kind}"
    for region, (name, kept) in _REGIONS.items()
    for vehicle, kind in _VEHICLES.items()
    if kind in kept
}

CITATION = Citation(
    source_id="IEA_EV_EXPLORER",
    title="IEA, Global EV Data Explorer, electric vehicle sales",
    url="https://www.iea.org/data-and-statistics/data-tools/global-ev-data-explorer",
    source_date="",
    reuse="CC BY 4.0",
    note="the reply names no edition and no day; a new edition comes out about mid-May",
)

_CATEGORY = "Historical"
_PARAMETER = "EV sales"
_UNIT = "vehicles"


@dataclass(frozen=True, slots=True)
class IeaEvSource:
    """Sales since 2010, asked for region by region."""

    name: ClassVar[str] = "iea_ev"
    title: ClassVar[str] = "IEA: electric vehicle sales"
    kind: ClassVar[Kind] = "reference"
    is_live: ClassVar[bool] = True

    open_client: Callable[[], HttpClient]

    def fetch(self, *, now: datetime) -> FetchResult:
        """Yearly sales of each region; one that can't be read is a problem and loses no other.

        Raises SourceError when no region can be read.
        """
        del now  # the usual lag of each series says when its figures became known
        rows: list[RawRow] = []
        problems: list[Problem] = []
        not_published = 0
        regions = tuple(dict.fromkeys(region for region, _, _ in SERIES))
        failed = 0
        with self.open_client() as client:
            for region in regions:
                # Without region or year it refuses; what it does not know, it answers with nothing.
                asked = {
                    "region": region,
                    "category": _CATEGORY,
                    "parameter": _PARAMETER,
                    "csv": "true",
                }
                try:
                    found = _sales(client.get_bytes(CALL, params=asked), region)
                except SourceError as error:
                    problems.append(Problem(region, error.problem))
                    failed += 1
                except ReplyShapeError as error:
                    text = f"{CALL} {error}; nothing of this region was taken"
                    problems.append(Problem(region, text))
                    failed += 1
                else:
                    published = [row for row in found if row.fault or row.value]
                    not_published += len(found) - len(published)
                    rows += published
                    problems += _gaps(region, found)
        if failed == len(regions):
            raise SourceError(self.name, "; ".join(dict.fromkeys(it.text for it in problems)))
        return FetchResult(
            tuple(rows), {CITATION.source_id: CITATION}, tuple(problems), not_published
        )


def _sales(content: bytes, region: str) -> list[RawRow]:
    """The rows of our series; projections, shares and stocks are left out."""
    columns, table = csv_rows(content, COLUMNS, COLUMNS_2025)
    rows: list[RawRow] = []
    for number, cells in table:
        row = RawRow(file=f"evs of {region}", row=number, raw=as_line(cells))
        if len(cells) != len(columns):
            fault = (
                f"row: has {len(cells)} cells instead of {len(columns)}: the answer may break off"
            )
            rows.append(replace(row, fault=fault))
            continue
        record = dict(zip(columns, (cell.strip() for cell in cells), strict=True))
        series = SERIES.get((record[columns[0]], record["mode"], record["powertrain"]))
        is_sale = (record["category"], record["parameter"]) == (_CATEGORY, _PARAMETER)
        if series and is_sale and record[columns[0]] == region:
            rows.append(_row(row, series, record))
    if not rows:
        problem = (
            f"has no {_CATEGORY} {_PARAMETER} of {region} for our vehicles among its {len(table)} "
            "rows: its labels may have changed"
        )
        raise ReplyShapeError(problem)
    last, _ = table[-1]
    if columns == COLUMNS and not content.endswith(b"\n") and rows[-1].row == last:
        # The value stands last: 12000 of 120000 would look whole.
        fault = rows[-1].fault or "value: the answer ends within this row, digits may be missing"
        rows[-1] = replace(rows[-1], fault=fault)
    return rows


def _row(row: RawRow, series: str, record: Mapping[str, str]) -> RawRow:
    unit = record["unit"]
    return replace(
        row,
        series=series,
        period=record["year"],
        value=record["value"],
        unit=_UNIT if unit.lower() == _UNIT else unit,
        raw_unit=unit,
        statistic="year_total",
        source_id=CITATION.source_id,
        confidence="high",
        field="value",
    )


def _gaps(region: str, rows: list[RawRow]) -> list[Problem]:
    told = {row.series for row in rows}
    return [
        Problem(series, f"{CALL} sent no sales of {mode} {powertrain} in {region}")
        for (where, mode, powertrain), series in SERIES.items()
        if where == region and series not in told
    ]
