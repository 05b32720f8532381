"""USGS Mineral Commodity Summaries: rare earths mined, reserves and yearly oxide prices, the two newest editions."""

import io
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import ClassVar

from flows.errors import SourceError
from flows.sources.csv_reply import Columns, Rows, csv_rows
from flows.sources.http import HttpClient, address
from flows.sources.shape import Record, ReplyShapeError, as_text, records
from flows.sources.source import Citation, FetchResult, Kind, Problem
from flows.sources.tables import as_line
from flows.validation import RawRow

SITE = "https://www.sciencebase.gov/"
LIST_CALL = f"{SITE}catalog/items"
COLLECTION = "5c8c03e4e4b0938824529f7d"  # National Minerals Information Center
FIRST_EDITION = 2025  # earlier ones are cut into a file for each mineral, in layouts of their own
EDITIONS_READ = 2  # the newest, and the one that it revises


@dataclass(frozen=True, slots=True)
class Edition:
    """When an edition came out, and when its data files did: a file put up later is a revision."""

    published_on: str
    data_released_on: str


# For editions that are not here, the day is the one that ScienceBase gives as their publication.
EDITIONS: Mapping[int, Edition] = {
    # The day of the report is approximate (not found in a page of the USGS); the files' is in their metadata.
    2025: Edition("2025-01-31", "2025-04-08"),
    # Version history and metadata. Version 1.3 of the report (2026-05-27) never reached the files.
    2026: Edition("2026-02-06", "2026-02-06"),
}

LONG: Columns = (
    "MCS chapter",
    "Section",
    "Commodity",
    "Country",
    "Statistics",
    "Statistics_detail",
    "Unit",
    "Year",
    "Value",
    "Notes",
    "Is critical mineral 2025",
    "Other notes",
)

# As the files spell them, without "(rounded)", in any case.
COUNTRIES: Mapping[str, str] = {
    "australia": "australia",
    "brazil": "brazil",
    "burma": "myanmar",
    "burundi": "burundi",
    "canada": "canada",
    "china": "china",
    "greenland": "greenland",
    "india": "india",
    "madagascar": "madagascar",
    "malaysia": "malaysia",
    "nigeria": "nigeria",
    "other countries": "other_countries",
    "russia": "russia",
    "south africa": "south_africa",
    "tanzania": "tanzania",
    "thailand": "thailand",
    "united states": "united_states",
    "vietnam": "vietnam",
    "world total": "world",
}


@dataclass(frozen=True, slots=True)
class Price:
    """A price that is kept: its series, and the purity that it must be of."""

    series: str
    purity: str


PRICES: Mapping[str, Price] = {
    "Neodymium oxide": Price("nd_oxide_year", "99.5% minimum"),
    "Praseodymium oxide": Price("pr_oxide_year", "99.99% minimum"),
    "Neodymium-praseodymium (NdPr) oxide": Price("ndpr_oxide_year", "99% minimum"),
    "Dysprosium oxide": Price("dy_oxide_year", "99.5% minimum"),
    "Terbium oxide": Price("tb_oxide_year", "99.99% minimum"),
    "Lanthanum oxide": Price("la_oxide_year", "99.5% minimum"),
    "Cerium oxide": Price("ce_oxide_year", "99.5% minimum"),
    "Samarium oxide": Price("sm_oxide_year", "99.5% minimum"),
    "Europium oxide": Price("eu_oxide_year", "99.99% minimum"),
    "Gadolinium oxide": Price("gd_oxide_year", "99.99% minimum"),
    "Y2O3": Price("y_oxide_year", "minimum 99.999% purity"),
}

SERIES = (
    *(f"mine_output_{slug}" for slug in COUNTRIES.values()),
    *(f"reserves_{slug}" for slug in COUNTRIES.values()),
    *(price.series for price in PRICES.values()),
)

# The yttrium chapter has a table of mines too, but in yttrium oxide: only its price is read.
_CHAPTER = "RARE EARTHS"
_PRICE_CHAPTERS = (_CHAPTER, "RARE EARTHS (Heavy)", "YTTRIUM")
_WORLD_SECTION = "World Mine Production and Reserves"
_DETAILS = {
    "Production": ("mine_output", ("Mine production", "Mine production: rounded")),
    "Reserves": ("reserves", ("Reserves", "Reserves: rounded")),
}
_PRICE_DETAIL = "Price, average, dollars per kilogram: "
_WIDE_TYPE = "Mine production, rare-earth-oxide equivalent"
_STATISTICS = {"mine_output": "year_total", "reserves": "reserves", "price": "annual_average"}
_REO = "rare-earth-oxide"

# Footnotes of the summaries: W withheld, NA not available, XX not applicable, E net exporter, — zero.
_NOT_PUBLISHED = frozenset({"", "W", "NA", "XX", "E"})
_ZERO = frozenset({"—", "–", "―", "-", "--"})
_BOUND = re.compile(r"[<>≤≥]|(less|more|greater) than|.*½", re.IGNORECASE)

_EDITION_TITLE = re.compile(
    r"^(?:U\.S\. Geological Survey )?Mineral Commodity Summaries (\d{4}) Data Release"
)
_LONG_FILE = re.compile(r"Commodities_Data\.csv$", re.IGNORECASE)
_WIDE_FILE = re.compile(r"World_Data(_Release)?.*\.(csv|zip)$", re.IGNORECASE)
_MOST_BYTES = 50_000_000  # of a table that comes packed
_CONTROLS = {code: bytes([code]).decode("cp1252", "replace") for code in range(0x80, 0xA0)}


@dataclass(frozen=True, slots=True)
class _File:
    """A table of an edition as ScienceBase lists it."""

    year: int
    name: str
    url: str
    published_on: str
    size: int | None


@dataclass(frozen=True, slots=True)
class UsgsSource:
    """The tables of the two newest editions, found in the list that ScienceBase keeps."""

    name: ClassVar[str] = "usgs"
    title: ClassVar[str] = "USGS: Mineral Commodity Summaries"
    kind: ClassVar[Kind] = "reference"
    is_live: ClassVar[bool] = True

    open_client: Callable[[], HttpClient]

    def fetch(self, *, now: datetime) -> FetchResult:
        """Rows of both editions; one that can't be read is a problem and loses no other.

        Raises SourceError when no edition can be read.
        """
        del now  # editions say themselves when they were published
        rows: list[RawRow] = []
        citations: dict[str, Citation] = {}
        problems: list[Problem] = []
        not_published = 0
        with self.open_client() as client:
            items = self._editions(client)
            for year, item in items:
                subject = f"MCS{year}"
                try:
                    file = _file_of(year, item)
                    content = client.get_bytes(file.url)
                    found, gaps = _parsed(file, content)
                except SourceError as error:
                    problems.append(Problem(subject, error.problem))
                except ReplyShapeError as error:
                    problems.append(Problem(subject, f"{error}; nothing of it was taken"))
                else:
                    published = [row for row in found if row.fault or row.value]
                    not_published += len(found) - len(published)
                    rows += published
                    citations[citation_id(year)] = _citation(year, item)
                    problems += [Problem(subject, text) for text in gaps]
        if not citations:
            raise SourceError(self.name, "; ".join(problem.text for problem in problems))
        return FetchResult(tuple(rows), citations, tuple(problems), not_published)

    def _editions(self, client: HttpClient) -> list[tuple[int, Record]]:
        """The newest editions and their items, newest first."""
        asked = {
            "parentId": COLLECTION,
            "format": "json",
            "fields": "title,dates,files",
            "max": "200",
        }
        reply = client.get_json(LIST_CALL, params=asked)
        try:
            items = records(reply, "items", fields=("id", "title"))
        except ReplyShapeError as error:
            raise SourceError(self.name, f"{LIST_CALL} {error}") from error
        editions: dict[int, Record] = {}
        for item in items:
            title = _EDITION_TITLE.match(as_text(item["title"]))
            if title and int(title[1]) >= FIRST_EDITION:
                editions.setdefault(int(title[1]), item)
        if not editions:
            problem = (
                f"{LIST_CALL} lists {len(items)} items, none titled 'Mineral Commodity Summaries "
                f"{FIRST_EDITION} Data Release' or newer"
            )
            raise SourceError(self.name, problem)
        return sorted(editions.items(), reverse=True)[:EDITIONS_READ]


def citation_id(year: int) -> str:
    """The source_id under which an edition's figures are cited."""
    return f"USGS_MCS{year}"


def _citation(year: int, item: Record) -> Citation:
    return Citation(
        source_id=citation_id(year),
        title=f"USGS Mineral Commodity Summaries {year}, data release",
        url=f"{SITE}catalog/item/{as_text(item['id'])}",
        source_date=str(year),
        reuse="US public domain",
        note="prices attributed by USGS to Argus",
    )


# --- the list -------------------------------------------------------------------------------


def _file_of(year: int, item: Record) -> _File:
    files = item.get("files")
    listed = [it for it in files if isinstance(it, dict)] if isinstance(files, list) else []
    fitting = [
        it
        for pattern in (_LONG_FILE, _WIDE_FILE)
        for it in listed
        if pattern.search(as_text(it.get("name")))
    ]
    if not fitting:
        names = ", ".join(as_text(it.get("name")) for it in listed) or "none"
        problem = f"{LIST_CALL} lists no Commodities_Data.csv or World_Data file (files: {names})"
        raise ReplyShapeError(problem)
    file = fitting[0]
    name, url, size = as_text(file["name"]), as_text(file.get("url")), file.get("size")
    if not url.startswith(SITE):
        problem = f"{LIST_CALL} keeps {name} outside {SITE}, which is not followed"
        raise ReplyShapeError(problem)
    return _File(
        year=year,
        name=name,
        url=url,
        published_on=_published_on(year, item, file),
        size=size if isinstance(size, int) and size > 0 else None,
    )


def _published_on(year: int, item: Record, file: Record) -> str:
    edition = EDITIONS.get(year)
    if edition is None:
        stated = _publication_day(item)
        edition = Edition(stated, stated)
    uploaded = _day(as_text(file.get("dateUploaded")))
    # Figures that were put up later could not be known on the day of the edition.
    return uploaded if uploaded > edition.data_released_on else edition.published_on


def _publication_day(item: Record) -> str:
    dates = item.get("dates")
    for entry in dates if isinstance(dates, list) else []:
        if isinstance(entry, dict) and as_text(entry.get("type")).lower() == "publication":
            day = _day(as_text(entry.get("dateString")))
            if day:
                return day
    problem = f"{LIST_CALL} gives no publication day; add the edition to EDITIONS in flows/sources/usgs.py"
    raise ReplyShapeError(problem)


def _day(text: str) -> str:
    """The day that a timestamp begins with; empty when it is none."""
    try:
        return date.fromisoformat(text[:10]).isoformat()
    except ValueError:
        return ""


# --- the tables -----------------------------------------------------------------------------


def _parsed(file: _File, content: bytes) -> tuple[list[RawRow], list[str]]:
    """All rows of a file, not-published ones with an empty value, and what is missing from it."""
    place = f"{address(file.url)} ({file.name})"
    wide = _wide_columns(file.year)
    try:
        columns, table = csv_rows(_text(_unpacked(content)).encode(), LONG, wide)
    except ReplyShapeError as error:
        problem = f"{place} {error}"
        raise ReplyShapeError(problem) from error
    if file.size is not None and len(content) != file.size:
        problem = (
            f"{place} sent {len(content)} of {file.size} bytes: it breaks off, or is being replaced"
        )
        raise ReplyShapeError(problem)
    read = _long_rows if columns == LONG else _wide_rows
    rows = [
        replace(
            row,
            file=file.name,
            published_on=file.published_on,
            source_id=citation_id(file.year),
            note="; ".join(part for part in (f"MCS{file.year}", row.note) if part),
        )
        for row in read(file.year, table)
    ]
    wanted = {"mine_output_world": "mine production", "reserves_china": "reserves"}
    if columns == LONG:
        wanted |= {price.series: f"the price of {name}" for name, price in PRICES.items()}
    told = {row.series for row in rows if not row.fault}
    missing = [what for series, what in wanted.items() if series not in told]
    if len(missing) == len(wanted):
        problem = f"{place} has no row of {', '.join(missing)}: its labels have changed"
        raise ReplyShapeError(problem)
    gaps = [f"{place} has no readable row of {', '.join(missing)}"] if missing else []
    return rows, gaps


def _unpacked(content: bytes) -> bytes:
    if not content.startswith(b"PK"):
        return content
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            tables = [it for it in archive.infolist() if _is_wide_table(it.filename)]
            if len(tables) != 1:
                names = ", ".join(archive.namelist()[:10]) or "none"
                problem = (
                    f"holds {len(tables)} tables World_Data*.csv instead of one (files: {names})"
                )
                raise ReplyShapeError(problem)
            if tables[0].file_size > _MOST_BYTES:
                problem = f"holds a table of {tables[0].file_size / 1e6:.0f} MB"
                raise ReplyShapeError(problem)
            return archive.read(tables[0])
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, ValueError, OSError) as error:
        problem = f"is a damaged zip file ({type(error).__name__})"
        raise ReplyShapeError(problem) from error
    except (NotImplementedError, RuntimeError) as error:  # an unknown compression, a password
        problem = f"is a zip file that can't be opened ({type(error).__name__})"
        raise ReplyShapeError(problem) from error


def _is_wide_table(path: str) -> bool:
    name = path.rpartition("/")[2]
    # Archives made on a Mac carry a shadow "._NAME" of each file.
    return bool(_WIDE_FILE.search(name)) and name.lower().endswith(".csv") and name[:2] != "._"


def _text(content: bytes) -> str:
    """The text of a file in UTF-8 or Windows-1252, also where one was taken for the other."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        try:
            text = content.decode("cp1252")
        except UnicodeDecodeError as error:
            problem = f"is neither UTF-8 nor Windows-1252 (byte {error.start})"
            raise ReplyShapeError(problem) from error
    # A dash of Windows-1252 that went through Latin-1 is a control character now.
    return text.translate(_CONTROLS)


def _wide_columns(year: int) -> Columns:
    before, last = year - 2, year - 1
    return (
        "SOURCE",
        "COMMODITY",
        "COUNTRY",
        "TYPE",
        "UNIT_MEAS",
        f"PROD_{before}",
        f"PROD_EST_ {last}",
        "PROD_NOTES",
        f"CAP_{before}",
        f"CAP_EST_ {last}",
        "CAP_NOTES",
        f"RESERVES_{last}",
        "RESERVE_NOTES",
    )


def _long_rows(year: int, table: Rows) -> Iterator[RawRow]:
    """Rows of the layout since 2026: a line for each figure."""
    del year  # each line says the year that it is about
    for number, cells in table:
        chapter = cells[0].strip()
        if chapter not in _PRICE_CHAPTERS:
            continue
        row = RawRow(file="", row=number, raw=as_line(cells))
        if len(cells) != len(LONG):
            yield replace(row, fault=_wrong_width(cells, LONG))
            continue
        record = _clean(LONG, cells)
        row = replace(row, period=record["Year"], note=record["Notes"])
        if record["Section"] == _WORLD_SECTION and chapter == _CHAPTER:
            yield _world_row(row, record)
        elif record["Statistics"] == "Price":
            yield from _price_row(row, record)


def _world_row(row: RawRow, record: Mapping[str, str]) -> RawRow:
    what, details = _DETAILS.get(record["Statistics"], ("", ()))
    if record["Statistics_detail"] not in details:
        said = f"{record['Statistics']}: {record['Statistics_detail']}"
        return replace(row, fault=f"Statistics_detail: {said!r} is not known; is it another form?")
    row = _of_country(row, what, record["Country"], "Country")
    basis = f"{record['Statistics_detail']} {record['Other notes']}"
    row = _in_reo(row, record["Unit"], basis)
    return _valued(row, what, record["Value"], "Value", is_estimate=_is_estimate(record["Notes"]))


def _price_row(row: RawRow, record: Mapping[str, str]) -> Iterator[RawRow]:
    detail = record["Statistics_detail"]
    name, _, purity = detail.rpartition(": ")[2].partition(", ")
    price = PRICES.get(name)
    if price is None:
        return  # mischmetal, metals and the oxides that no magnet needs
    fault = ""
    if not detail.startswith(_PRICE_DETAIL):
        fault = f"Statistics_detail: {detail!r} is not {_PRICE_DETAIL.strip(': ')!r}"
    elif purity != price.purity:
        fault = (
            f"Statistics_detail: {name}, {purity!r} is not {price.purity!r}: the basis has changed"
        )
    elif "free on board" not in record["Notes"].lower():
        fault = "Notes: 'Free on board' is missing: the basis has changed"
    row = replace(row, series=price.series, unit=record["Unit"], fault=fault)
    yield _valued(row, "price", record["Value"], "Value", is_estimate=_is_estimate(record["Notes"]))


def _wide_rows(year: int, table: Rows) -> Iterator[RawRow]:
    """Rows of the layout of 2025: a line for each country, two years and the reserves in it."""
    columns = _wide_columns(year)
    produced, estimated, reserves = columns[5], columns[6], columns[11]
    for number, cells in table:
        if len(cells) < 2 or cells[1].strip().lower() != _CHAPTER.lower():
            continue
        row = RawRow(file="", row=number, raw=as_line(cells))
        if len(cells) != len(columns):
            yield replace(row, fault=_wrong_width(cells, columns))
            continue
        record = _clean(columns, cells)
        if record["SOURCE"] != f"MCS{year}":
            yield replace(row, fault=f"SOURCE: {record['SOURCE']!r} is not 'MCS{year}'")
            continue
        if record["TYPE"] != _WIDE_TYPE:
            yield replace(row, fault=f"TYPE: {record['TYPE']!r} is not {_WIDE_TYPE!r}")
            continue
        for what, column, notes in (
            ("mine_output", produced, record["PROD_NOTES"]),
            ("mine_output", estimated, record["PROD_NOTES"]),
            ("reserves", reserves, record["RESERVE_NOTES"]),
        ):
            one = replace(row, period=column[-4:], note=notes)
            one = _of_country(one, what, record["COUNTRY"], "COUNTRY")
            one = _in_reo(one, record["UNIT_MEAS"], record["TYPE"])
            is_estimate = column == estimated or _is_estimate(notes)
            if column == estimated and not _is_estimate(notes):
                one = replace(one, note="; ".join(part for part in ("Estimated", notes) if part))
            yield _valued(one, what, record[column], column, is_estimate=is_estimate)


def _clean(columns: Columns, cells: list[str]) -> dict[str, str]:
    """Cells by column, without spaces around them or no-break spaces within."""
    return {name: " ".join(cell.split()) for name, cell in zip(columns, cells, strict=True)}


def _wrong_width(cells: list[str], columns: Columns) -> str:
    return f"row: has {len(cells)} cells instead of {len(columns)}: the file may break off"


def _of_country(row: RawRow, what: str, country: str, field: str) -> RawRow:
    # "World total (rounded) 10" carries the number of a footnote.
    name = re.sub(r"\s*\(rounded\)|\s*\d+$", "", country).strip().lower()
    slug = COUNTRIES.get(name)
    if slug is None:
        fault = f"{field}: {country!r} is not known; add it to COUNTRIES and to the catalogue"
        return replace(row, fault=fault)
    return replace(row, series=f"{what}_{slug}")


def _in_reo(row: RawRow, unit: str, basis: str) -> RawRow:
    """The row in t REO, when it says that its metric tons are meant so; else in what it says."""
    is_reo = unit == "metric tons" and _REO in basis.lower()
    return replace(row, unit="t REO" if is_reo else unit, raw_unit=unit)


def _is_estimate(notes: str) -> bool:
    return "estimated" in notes.lower()


def _valued(row: RawRow, what: str, text: str, field: str, *, is_estimate: bool) -> RawRow:
    """The row with its value; an empty one stands for what the USGS does not publish."""
    value = "" if text in _NOT_PUBLISHED else "0" if text in _ZERO else text
    fault = row.fault
    if not fault and value and _BOUND.match(value):
        fault = f"{field}: {text!r} is a bound, not a value"
    return replace(
        row,
        value=value,
        raw_value=text,
        statistic=_STATISTICS[what],
        confidence="medium" if is_estimate else "high",
        field=field,
        fault=fault if value else "",
    )
