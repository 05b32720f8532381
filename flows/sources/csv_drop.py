"""The door for files: CSV and Excel exports in a folder or at an address, read as sources.toml says."""

import difflib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from flows.errors import SourceError
from flows.sources.declared import CsvDrop
from flows.sources.http import HttpClient, address
from flows.sources.keys import Access
from flows.sources.mapping import REST, Mapped, Named, map_rows, stacked
from flows.sources.source import Citation, FetchResult, Kind, Problem
from flows.sources.tables import MOST_BYTES, TableError, header_name, open_table

ENDINGS = (".csv", ".tsv", ".txt", ".xlsx", ".xlsm")
"""What is read of a folder, each also with .gz; a pattern or a file's name may end otherwise."""

# Exports that can't be read: a problem that says so, where a file left out in silence would be missed.
_NAMED_AT_LEAST = (".xls", ".xlsb", ".ods")
_WILD = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class CsvDropSource:
    """The files of one declared drop; one that can't be read loses no other."""

    declared: CsvDrop
    open_client: Callable[[], HttpClient]
    key: str = field(default="", repr=False)

    @property
    def name(self) -> str:
        return f"csv_drop.{self.declared.name}"

    @property
    def title(self) -> str:
        return self.declared.title

    @property
    def kind(self) -> Kind:
        return self.declared.kind

    @property
    def is_live(self) -> bool:
        """Whether the network is asked: files on this machine never need it."""
        return self.declared.is_address

    def fetch(self, *, now: datetime) -> FetchResult:
        """The rows of every readable file; raises SourceError when an address can't be read."""
        del now  # files say themselves when their figures were published
        found: list[Mapped] = []
        problems: list[Problem] = []
        if self.declared.is_address:
            found.append(self._from_address())
        else:
            files = self._files()
            if not files:
                problems.append(
                    Problem(self.declared.path, f"no file is there; looked in {self._place()}")
                )
            for label, file in files:
                try:
                    found.append(self._read(label, _steady_content(file)))
                except TableError as error:
                    problems.append(Problem(label, str(error)))
        rows = self.declared.columns.rows
        if rows is not None and found:
            problems += never_met(rows, found)
        table = stacked([it.table for it in found]) if found else pd.DataFrame()
        is_older = _is_replaced(table, [len(it.table) for it in found])
        replaced = int(is_older.sum())
        notes = [note] if (note := left_out(found)) else []
        if replaced:
            notes.append(f"rows of older files that newer ones replaced: {replaced:,}")
            table = table[~is_older]
        citation = Citation(
            source_id=self.name,
            title=self.title,
            url=self.declared.url or (address(self.declared.path) if self.is_live else ""),
            source_date="",
            reuse=self.declared.reuse,
        )
        return FetchResult(
            table,
            {citation.source_id: citation},
            tuple(problems),
            sum(it.not_published for it in found),
            tuple(notes),
        )

    def _read(self, label: str, content: bytes) -> Mapped:
        table = open_table(content, self.declared.layout)
        found = map_rows(
            table.chunks,
            table.header,
            self.declared.columns,
            file=label,
            source_id=self.name,
            confidence=self.declared.confidence,
            is_1904=table.is_1904,
        )
        if found.table.empty and not found.others and not found.not_published:
            problem = "has the header and no row below it"
            raise TableError(problem)
        return found

    def _from_address(self) -> Mapped:
        place = address(self.declared.path)
        access = Access(self.name, self.declared.name, self.declared.key, self.key)
        url, headers = access.request(self.declared.path, {}, {})
        try:
            with self.open_client() as client:
                if self.declared.key is not None:
                    client.hide(self.key.strip())
                content = client.get_bytes(url, headers=headers)
            found = self._read(place.rsplit("/", 1)[-1] or place, content)
            # What came packed, or as a workbook, can say the key only after it was unpacked.
            return _without_key(found, access)
        except SourceError as error:
            raise SourceError(self.name, access.hidden(error.problem)) from None
        except TableError as error:
            raise SourceError(self.name, access.hidden(f"{place} {error}")) from None

    def _place(self) -> Path:
        """The path from where the declared one starts; it begins in the folder of sources.toml."""
        return self.declared.folder / Path(self.declared.path).expanduser()

    def _files(self) -> list[tuple[str, Path]]:
        """Files with the names that rows carry, in the order of these names."""
        place = self._place()
        try:
            if place.is_file():
                return [(place.name, place)]
            if place.is_dir():
                files = [file for file in place.iterdir() if _is_export(file.name)]
            else:
                # The part before the first pattern is a folder.
                parts = place.parts
                wild = next((at for at, part in enumerate(parts) if _WILD & set(part)), None)
                if wild is None:
                    return []
                place = Path(*parts[:wild])
                files = list(place.glob(str(Path(*parts[wild:]))))
            return sorted(
                (file.relative_to(place).as_posix(), file)
                for file in files
                if file.is_file() and not _is_hidden(file.name)
            )
        # NotImplementedError is pathlib's word for a pattern that it can't follow.
        except (OSError, ValueError, NotImplementedError) as error:
            problem = f"{place} can't be read ({type(error).__name__}); check path in sources.toml"
            raise SourceError(self.name, problem) from error


def _without_key(found: Mapped, access: Access) -> Mapped:
    if access.place is None:
        return found
    table = found.table.copy(deep=False)
    for name in table.columns.difference(["row"]):
        table[name] = table[name].map(access.hidden)
    others = Counter[str]()
    for name, count in found.others.items():
        others[access.hidden(name)] += count
    return replace(found, table=table, others=others)


def _is_replaced(table: pd.DataFrame, sizes: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Undated rows whose period of a series a later file has too: the last file speaks for it.

    `table` has the files' rows one below the other, `sizes` how many each has. Two rows of one file stay,
    as they contradict each other; a row that can't be read replaces none.
    """
    older = np.zeros(len(table), dtype=np.bool_)
    if len(sizes) < 2 or table.empty:
        return older
    undated = np.ones(len(table), dtype=np.bool_)
    if "published_on" in table:
        undated = (table["published_on"] == "").to_numpy()
    sound = undated.copy()
    if "fault" in table:
        sound &= (table["fault"] == "").to_numpy()
    files = np.repeat(np.arange(len(sizes)), sizes)
    series, period = (table[name].cat for name in ("series", "period"))
    # One number for each period of a series: a million rows are compared as numbers.
    key = series.codes.to_numpy(np.int64) * len(period.categories) + period.codes
    places, _ = pd.factorize(key)
    last = np.full(places.max() + 1, -1)
    np.maximum.at(last, places[sound], files[sound])
    older[undated] = files[undated] < last[places[undated]]
    return older


def never_met(rows: Named, found: Sequence[Mapped]) -> list[Problem]:
    """A problem for each declared name that no row has: it may have been renamed."""
    met = {name for it in found for name in it.met}
    others = list(dict.fromkeys(name for it in found for name in it.others if name != REST))
    problems = []
    for name, series in rows.series.items():
        if header_name(name) not in met:
            near = difflib.get_close_matches(name, others, n=1)
            hint = f"; is it {near[0]!r} now?" if near else ""
            problems.append(Problem(series, f"no row has {name!r} in {rows.names!r}{hint}"))
    return problems


def left_out(found: Sequence[Mapped]) -> str:
    """How much was left out because nobody mapped it, as a note; empty when nothing was."""
    others: Counter[str] = Counter()
    for it in found:
        others.update(it.others)
    if not others:
        return ""
    names = f"more than {len(others) - 1}" if REST in others else str(len(others))
    return f"rows left out because nobody mapped their name: {others.total():,} (names: {names})"


def _is_export(name: str) -> bool:
    plain = name.lower().removesuffix(".gz")
    return plain.endswith((*ENDINGS, *_NAMED_AT_LEAST))


def _is_hidden(name: str) -> bool:
    # Excel keeps ~$name.xlsx beside an open file; .name.csv is a copy that is still under way.
    return name.startswith((".", "~$"))


def _steady_content(file: Path) -> bytes:
    """The bytes of a file that nobody writes to meanwhile."""
    try:
        before = file.stat()
        if before.st_size > MOST_BYTES:
            problem = f"is larger than {MOST_BYTES / 1e9:g} GB; split it"
            raise TableError(problem)
        content = file.read_bytes()
        after = file.stat()
    except OSError as error:
        problem = f"can't be read ({error.strerror or type(error).__name__})"
        raise TableError(problem) from error
    is_steady = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
    if not is_steady or len(content) != after.st_size:
        problem = "is being written; the next run takes it"
        raise TableError(problem)
    return content
