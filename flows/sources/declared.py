"""Sources that the user declares in sources.toml: what each table may say, checked before anything is read."""

import difflib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NoReturn, cast
from urllib.parse import parse_qsl, urlsplit

from flows.catalog import FREQUENCIES, KINDS
from flows.declarations import entry_of, read_toml, tables_of
from flows.errors import CatalogError
from flows.sources.dates import form_fault
from flows.sources.keys import KeyPlace, is_secret_name, key_variable
from flows.sources.mapping import ColumnMap, Measured, Named
from flows.sources.source import Kind
from flows.sources.tables import Layout, header_name
from flows.validation import CONFIDENCES

FILE = "sources.toml"
DOORS = ("csv_drop", "http_json")

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}", re.ASCII)
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class PageNumber:
    """A parameter that counts pages (step 1) or records (step: records a page)."""

    param: str
    start: int = 1
    step: int = 1
    until_empty: bool = True  # False: a page with fewer records than the first is the last


@dataclass(frozen=True, slots=True)
class CsvDrop:
    """Files of one layout, in a folder or at an address."""

    name: str
    path: str
    folder: Path  # of sources.toml: a path starts there
    kind: Kind
    title: str
    url: str
    reuse: str
    confidence: str
    columns: ColumnMap
    layout: Layout
    key: KeyPlace | None

    @property
    def is_address(self) -> bool:
        return _ADDRESS.match(self.path) is not None


@dataclass(frozen=True, slots=True)
class HttpJson:
    """A JSON interface of a vendor, and where its records are in a reply."""

    name: str
    url: str
    kind: Kind
    title: str
    reuse: str
    confidence: str
    columns: ColumnMap
    records: str
    params: Mapping[str, str]
    headers: Mapping[str, str]
    key: KeyPlace | None
    next_link: str
    page: PageNumber | None
    max_pages: int


@dataclass(frozen=True, slots=True)
class Declared:
    """All sources of a sources.toml."""

    csv_drops: tuple[CsvDrop, ...] = ()
    http_jsons: tuple[HttpJson, ...] = ()

    @property
    def key_names(self) -> frozenset[str]:
        """Names that `Settings.keys` may have, as these sources ask for them."""
        drops = {it.name for it in self.csv_drops if it.key is not None}
        return frozenset(drops | {it.name for it in self.http_jsons if it.key is not None})

    def unused_keys(self, given: Iterable[str]) -> tuple[str, ...]:
        """A sentence for each key in the environment that no source asks for."""
        names = sorted(self.key_names)
        sentences = []
        for name in sorted(set(given) - self.key_names):
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
            known = ", ".join(map(key_variable, names)) or "none is asked for"
            hint = f"did you mean {key_variable(near[0])}?" if near else f"known: {known}"
            sentences.append(f"{key_variable(name)}: no source in {FILE} asks for it; {hint}")
        return tuple(sentences)


def load_declared(path: Path, *, series: Collection[str] | None = None) -> Declared:
    """The sources declared in a file; a file that isn't there declares none.

    With `series`, each must be one of these. Raises CatalogError naming table, field and what is
    allowed; a secret in the file is refused, and never repeated.
    """
    data = read_toml(path, optional=True)
    for door in data:
        if door not in DOORS:
            message = f"{FILE}: {door}: there is no such kind of source; {_hint(door, DOORS)}"
            raise CatalogError(message)
    return Declared(
        tuple(_csv_drop(it, path.parent, series) for it in _named_tables(data, "csv_drop")),
        tuple(_http_json(it, series) for it in _named_tables(data, "http_json")),
    )


@dataclass(frozen=True, slots=True)
class _Table:
    """One table of the file: its name, its place for errors, and what it says."""

    name: str
    place: str
    values: Mapping[str, Any]

    def refuse(self, field: str, problem: str) -> NoReturn:
        message = f"{FILE}: {self.place}: {field}: {problem}"
        raise CatalogError(message)

    def require(self, field: str, given: str, allowed: Collection[str]) -> str:
        if given not in allowed:
            problem = f"{given!r} is not one of {', '.join(allowed)}"
            self.refuse(field, problem)
        return given


@dataclass(frozen=True, slots=True)
class _CsvDropFields:
    path: str
    kind: str
    title: str
    confidence: str
    period: str
    url: str = ""
    reuse: str = ""
    published: str = ""
    dates: tuple[str, ...] = ()
    frequency: str = ""
    delimiter: str = ""
    decimal: str = ""
    encoding: str = ""
    sheet: str = ""
    header_row: int = 0
    ignore: tuple[str, ...] = ()
    other_columns: str = ""
    no_figure: tuple[str, ...] = ()
    key: Any = None
    column: Any = None
    rows: Any = None


@dataclass(frozen=True, slots=True)
class _HttpJsonFields:
    url: str
    kind: str
    title: str
    confidence: str
    period: str
    records: str = ""
    reuse: str = ""
    published: str = ""
    dates: tuple[str, ...] = ()
    frequency: str = ""
    decimal: str = ""
    no_figure: tuple[str, ...] = ()
    params: Any = None
    headers: Any = None
    key: Any = None
    next_page: Any = None
    max_pages: int = 50
    column: Any = None
    rows: Any = None


_Fields = _CsvDropFields | _HttpJsonFields

CSV_DROP_FIELDS = tuple(it.name for it in fields(_CsvDropFields))
HTTP_JSON_FIELDS = tuple(it.name for it in fields(_HttpJsonFields))
"""What a table of either door may say, for the pages that explain it."""


def _named_tables(data: Mapping[str, Any], door: str) -> Iterator[_Table]:
    tables = data.get(door, {})
    if not isinstance(tables, dict):
        message = f"{FILE}: {door}: is a table of tables, written [{door}.NAME]"
        raise CatalogError(message)
    for name, values in tables.items():
        table = _Table(name, f"{door}.{name}", values if isinstance(values, dict) else {})
        if not isinstance(values, dict):
            message = (
                f"{FILE}: {door}: {name}: stands outside a source; write [{door}.NAME] above it"
            )
            raise CatalogError(message)
        if not _NAME.fullmatch(name):
            problem = "small letters, digits and _ only, a letter first, at most 40"
            table.refuse("name", problem)
        yield table


def _csv_drop(table: _Table, folder: Path, series: Collection[str] | None) -> CsvDrop:
    said = entry_of(_CsvDropFields, FILE, table.place, dict(table.values))
    if not said.path.strip():
        problem = 'is empty; write a folder, a pattern such as "drops/*.csv", a file or an address'
        table.refuse("path", problem)
    key = _key(table, said.key)
    if _ADDRESS.match(said.path):
        _check_address(table, "path", said.path, key)
    elif key is not None:
        problem = "only an address is asked with a key, not a file"
        table.refuse("key", problem)
    columns = _column_map(table, said, series)
    return CsvDrop(
        name=table.name,
        path=said.path,
        folder=folder,
        kind=_kind(table, said),
        title=said.title,
        url=said.url,
        reuse=said.reuse or "terms not stated",
        confidence=_confidence(table, said),
        columns=columns,
        layout=_layout(table, said, columns),
        key=key,
    )


def _http_json(table: _Table, series: Collection[str] | None) -> HttpJson:
    said = entry_of(_HttpJsonFields, FILE, table.place, dict(table.values))
    if not _ADDRESS.match(said.url):
        problem = "is no address; it begins with https://"
        table.refuse("url", problem)
    key = _key(table, said.key)
    _check_address(table, "url", said.url, key)
    params = _texts(table, "params", said.params)
    headers = _texts(table, "headers", said.headers)
    _refuse_secrets(table, "params", params)
    _refuse_secrets(table, "headers", headers)
    if key is not None and key.param in params:
        problem = f"{key.param} is the place of the key; leave it out here"
        table.refuse("params", problem)
    if said.max_pages < 1:
        problem = f"{said.max_pages} must be 1 or more"
        table.refuse("max_pages", problem)
    link, page = _paging(table, said.next_page, params)
    return HttpJson(
        name=table.name,
        url=said.url,
        kind=_kind(table, said),
        title=said.title,
        reuse=said.reuse or "terms not stated",
        confidence=_confidence(table, said),
        columns=_column_map(table, said, series),
        records=said.records,
        params=params,
        headers=headers,
        key=key,
        next_link=link,
        page=page,
        max_pages=said.max_pages,
    )


def _kind(table: _Table, said: _Fields) -> Kind:
    return cast(Kind, table.require("kind", said.kind, KINDS))


def _confidence(table: _Table, said: _Fields) -> str:
    return table.require("confidence", said.confidence, CONFIDENCES)


def _column_map(table: _Table, said: _Fields, series: Collection[str] | None) -> ColumnMap:
    if (said.column is None) == (said.rows is None):
        way = f"[[{table.place}.column]] for each series, or one [{table.place}.rows]"
        table.refuse("column", f"say which columns are read: {way}")
    for form in said.dates:
        if fault := form_fault(form):
            table.refuse("dates", f"{form!r} {fault}")
    if said.frequency:
        table.require("frequency", said.frequency, FREQUENCIES)
    if said.decimal:
        table.require("decimal", said.decimal, (".", ","))
    if not said.period.strip():
        problem = "is empty; name the column or field that says the day, month or year"
        table.refuse("period", problem)
    columns = _measured(table, said.column, series)
    rows = None if said.rows is None else _named(table, said.rows, series)
    return ColumnMap(
        period=said.period,
        columns=columns,
        rows=rows,
        published=said.published,
        dates=said.dates,
        frequency=said.frequency,
        decimal=said.decimal,
        no_figure=said.no_figure,
    )


def _measured(table: _Table, tables: Any, series: Collection[str] | None) -> tuple[Measured, ...]:
    found: list[Measured] = []
    for values in tables_of([] if tables is None else tables, FILE, table.place, "column"):
        one = _Table(table.name, f"{table.place}: column {values.get('column', '?')!r}", values)
        it = entry_of(Measured, FILE, one.place, values)
        _check_figure(one, it, it.column, "column")
        _check_series(one, it.series, series)
        if it.series in {other.series for other in found}:
            one.refuse("series", f"{it.series!r} is read from another column already")
        found.append(it)
    if tables is not None and not found:
        table.refuse("column", "is empty; map at least one column")
    return tuple(found)


def _named(table: _Table, values: Any, series: Collection[str] | None) -> Named:
    place = f"{table.place}.rows"
    if not isinstance(values, dict):
        message = f"{FILE}: {place}: is a table, written [{place}]"
        raise CatalogError(message)
    one = _Table(table.name, place, values)
    series_by_name = values.get("series", {})
    if not isinstance(series_by_name, dict) or not all(
        isinstance(name, str) for name in series_by_name.values()
    ):
        one.refuse("series", 'is a table of texts, {"NAME IN THE FILE" = "series"}')
    it = entry_of(Named, FILE, place, values)
    _check_figure(one, it, it.value, "value")
    if not it.names.strip():
        one.refuse("names", "is empty; name the column that says what a row is about")
    if not it.series:
        problem = 'is empty; say which name is which series: series = {"E-RICKSHAW(P)" = "…"}'
        one.refuse("series", problem)
    for name in it.series.values():
        _check_series(one, name, series)
    spelt = [header_name(name) for name in it.series]
    if len(set(spelt)) < len(spelt):
        one.refuse("series", "has names that differ only in spaces")
    return it


def _check_figure(table: _Table, it: Measured | Named, value: str, field: str) -> None:
    if not value.strip():
        table.refuse(field, "is empty; name the column or field of the values")
    if bool(it.unit) == bool(it.unit_column):
        table.refuse("unit", "say either unit, or unit_column where each row says its own")


def _check_series(table: _Table, name: str, known: Collection[str] | None) -> None:
    if known is not None and name not in known:
        table.refuse("series", f"{name!r} is not in the catalogue; {_hint(name, known)}")


def _layout(table: _Table, said: _CsvDropFields, columns: ColumnMap) -> Layout:
    delimiter = "\t" if said.delimiter.lower() in ("tab", "\\t") else said.delimiter
    if delimiter and (len(delimiter) != 1 or delimiter in '"\r\n' or delimiter.isalnum()):
        table.refuse("delimiter", f'{delimiter!r} is not one mark such as , ; | or "tab"')
    if said.encoding and not _is_encoding(said.encoding):
        problem = f"{said.encoding!r} is no encoding; utf-8, gb18030, cp1252 and utf-16 are"
        table.refuse("encoding", problem)
    if not 0 <= said.header_row < 100:
        table.refuse("header_row", f"{said.header_row} is not between 1 and 99")
    if said.other_columns:
        table.require("other_columns", said.other_columns, ("refuse", "ignore"))
    mapped = {header_name(name) for name in columns.names}
    if both := [name for name in said.ignore if header_name(name) in mapped]:
        table.refuse("ignore", f"{both[0]!r} is read; it can't be ignored too")
    return Layout(
        columns=columns.names,
        ignored=said.ignore,
        # Whoever lists what may be there wants to hear of anything else.
        refuses_others=(said.other_columns or ("refuse" if said.ignore else "ignore")) == "refuse",
        delimiter=delimiter,
        encoding=said.encoding,
        sheet=said.sheet,
        header_row=said.header_row,
    )


def _is_encoding(name: str) -> bool:
    try:
        return b"1".decode(name) is not None
    except UnicodeError:
        return True  # UTF-16 needs two bytes
    except LookupError:
        return False


def _key(table: _Table, values: Any) -> KeyPlace | None:
    """Where the key goes; what stands there is never repeated, as it may be the key itself."""
    if values is None:
        return None
    variable = key_variable(table.name)
    if not isinstance(values, dict):
        problem = (
            'says where the key goes: {header = "X-Api-Key"}, {param = "apikey"} or '
            f"{{bearer = true}}; the key itself belongs in the environment ({variable})"
        )
        table.refuse("key", problem)
    for name, value in values.items():
        if name in ("header", "param") and not isinstance(value, str):
            table.refuse(f"key.{name}", "is not a text")
        if name == "bearer" and value is not True:
            table.refuse("key.bearer", "is true, or left out")
    key = entry_of(KeyPlace, FILE, f"{table.place}: key", values)
    if sum((bool(key.header), bool(key.param), key.bearer)) != 1:
        table.refuse("key", "one of header, param and bearer says where the key goes")
    if key.header and not re.fullmatch(r"[A-Za-z0-9-]+", key.header):
        table.refuse("key.header", "is the name of a header: letters, digits and -")
    return key


def _check_address(table: _Table, field: str, url: str, key: KeyPlace | None) -> None:
    """Refuse addresses that can't be asked or would send a secret in the clear or keep it here."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        parts, host = urlsplit(""), ""  # without the error, which may hold the address
    if parts.scheme.lower() != "https" and not (
        parts.scheme.lower() == "http" and host in _THIS_MACHINE
    ):
        table.refuse(field, "is no address that begins with https://; no other is asked")
    if not host:
        table.refuse(field, "names no host")
    if parts.username or parts.password:
        problem = f"holds a user or password; use key and {key_variable(table.name)} instead"
        table.refuse(field, problem)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    _refuse_secrets(table, field, query)
    if key is not None and key.param in query:
        table.refuse(field, f"{key.param} is the place of the key; leave it out here")


def _refuse_secrets(table: _Table, field: str, given: Mapping[str, str]) -> None:
    for name in given:
        if is_secret_name(name):
            what = "header" if field == "headers" else "param"
            problem = (
                f"{name} looks like a secret, which belongs in the environment: say "
                f'key = {{{what} = "{name}"}} and set {key_variable(table.name)}'
            )
            table.refuse(field, problem)


def _texts(table: _Table, field: str, values: Any) -> dict[str, str]:
    if values is None:
        return {}
    if not isinstance(values, dict):
        table.refuse(field, 'is a table, {name = "value"}')
    found: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            table.refuse(f"{field}.{name}", "is neither text nor number")
        found[name] = str(value)
    return found


def _paging(table: _Table, values: Any, params: Mapping[str, str]) -> tuple[str, PageNumber | None]:
    if values is None:
        return "", None
    if isinstance(values, str) and values.strip():
        return values, None
    if not isinstance(values, dict):
        problem = (
            'is the field of the next page\'s address, such as "links.next", or a parameter that '
            'counts: {param = "page"}'
        )
        table.refuse("next_page", problem)
    page = entry_of(PageNumber, FILE, f"{table.place}: next_page", values)
    if not page.param or page.step < 1:
        table.refuse("next_page", "param names a parameter, and step is 1 or more")
    if page.param in params:
        table.refuse("params", f"{page.param} counts the pages; leave it out here")
    return "", page


def _hint(word: str, known: Iterable[str]) -> str:
    names = tuple(known)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else f"known: {', '.join(names[:20])}"
