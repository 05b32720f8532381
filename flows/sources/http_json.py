"""The door for interfaces: any vendor's JSON over HTTP with the user's key, read as sources.toml says."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import urljoin, urlsplit

from flows.errors import SourceError
from flows.sources.csv_drop import left_out, never_met
from flows.sources.declared import HttpJson
from flows.sources.http import HttpClient, address
from flows.sources.keys import Access, key_variable, with_params
from flows.sources.mapping import Mapped, map_rows, stacked
from flows.sources.shape import Record, ReplyShapeError, inside
from flows.sources.source import Citation, FetchResult, Kind, Problem
from flows.sources.tables import FaultyCell, NumberCell, Row, header_name, shortened

_ERROR_FIELDS = ("error", "errors")
# These are of an error only where there are no records: some vendors wish success with every page.
_MESSAGE_FIELDS = ("message", "detail", "msg")
_WISHES = frozenset({"ok", "success", "successful", "succeeded"})
_NOT_TAKEN = "; nothing of it was taken"
_LONGEST_SAID = 200
_MISSING = object()


@dataclass(frozen=True, slots=True)
class _Page:
    """One reply: where it was asked for, all that it says, and its records."""

    url: str  # without the key
    reply: object
    records: list[Record]


@dataclass(frozen=True, slots=True)
class HttpJsonSource:
    """The records of one declared interface, page by page; `key` is the user's."""

    declared: HttpJson
    key: str = field(repr=False)
    open_client: Callable[[], HttpClient]

    @property
    def name(self) -> str:
        return f"http_json.{self.declared.name}"

    @property
    def title(self) -> str:
        return self.declared.title

    @property
    def kind(self) -> Kind:
        return self.declared.kind

    @property
    def is_live(self) -> bool:
        """Whether the network is asked: an interface has nothing else."""
        return True

    def fetch(self, *, now: datetime) -> FetchResult:
        """The rows of every page up to one that fails; raises SourceError when that is the first."""
        del now  # replies say themselves when their figures were published
        pages, problems = self._pages()
        found = [self._mapped(page, number) for number, page in enumerate(pages, start=1)]
        rows = self.declared.columns.rows
        if not any(page.records for page in pages):
            subject = self.declared.records or "the reply"
            problems.append(Problem(subject, self._nothing(pages[0].reply)))
        elif rows is not None:
            problems += never_met(rows, found)
        citation = Citation(
            source_id=self.name,
            title=self.title,
            url=address(self.declared.url),
            source_date="",
            reuse=self.declared.reuse,
        )
        note = left_out(found)
        return FetchResult(
            stacked([it.table for it in found]),
            {citation.source_id: citation},
            tuple(problems),
            sum(it.not_published for it in found),
            (note,) if note else (),
        )

    def _pages(self) -> tuple[list[_Page], list[Problem]]:
        """All pages in turn; what ends them early is a problem, unless it is the first page's."""
        told = self.declared
        counter = {} if told.page is None else {told.page.param: str(told.page.start)}
        url = with_params(told.url, {**told.params, **counter})
        pages: list[_Page] = []
        with self.open_client() as client:
            if told.key is not None:
                client.hide(self.key.strip())
            while len(pages) < told.max_pages:
                subject = f"page {len(pages) + 1}"
                try:
                    page = self._page(client, url, pages[-1].reply if pages else None)
                except SourceError as error:
                    if not pages:
                        raise
                    problem = error.problem.removesuffix(_NOT_TAKEN)
                    return pages, [Problem(subject, f"{problem}; it was not taken")]
                if pages and page.records and page.records == pages[-1].records:
                    problem = (
                        "repeats the one before it: next_page is not what the publisher pages by"
                    )
                    return pages, [Problem(subject, f"{problem}; it was not taken")]
                pages.append(page)
                try:
                    following = self._following(pages)
                except ReplyShapeError as error:
                    problem = self._access.hidden(f"{error}; no further page was taken")
                    return pages, [Problem(f"page {len(pages) + 1}", problem)]
                if not following:
                    return pages, []
                url = following
        problem = f"was not asked for: max_pages is {told.max_pages}; raise it in sources.toml"
        return pages, [Problem(f"page {len(pages) + 1}", problem)]

    @property
    def _access(self) -> Access:
        return Access(self.name, self.declared.name, self.declared.key, self.key)

    def _page(self, client: HttpClient, url: str, before: object) -> _Page:
        access = self._access
        asked, headers = access.request(url, {}, self.declared.headers)
        try:
            reply = client.get_json(asked, headers=headers)
            return _Page(url, reply, self._records(reply, before))
        except SourceError as error:
            problem = error.problem
            if self.declared.key is not None and ("HTTP 401" in problem or "HTTP 403" in problem):
                problem += f"; check {key_variable(self.declared.name)}"
        except ReplyShapeError as error:
            problem = f"{address(url)}: {error}{_NOT_TAKEN}"
        raise SourceError(self.name, access.hidden(problem))

    def _records(self, reply: object, before: object) -> list[Record]:
        """The records of a reply in the declared shape; every field must be in one of them at least.

        A reply that tells an error has none, even where it holds some; what the page `before` it said
        as well is none.
        """
        path = self.declared.records
        try:
            found = inside(reply, *path.split(".")) if path else reply
        except ReplyShapeError as error:
            problem = f"{error}{self._said(reply)}"
            raise ReplyShapeError(problem) from None
        where = path or "the reply"
        if _tells_error(reply, before, has_records=bool(found)):
            problem = f"{where} can't be trusted: the reply tells an error{self._said(reply)}"
            raise ReplyShapeError(problem)
        if found is None:
            return []
        if not isinstance(found, list):
            problem = (
                f"{where} is no list of records; check records in sources.toml{self._said(reply)}"
            )
            raise ReplyShapeError(problem)
        for number, record in enumerate(found, start=1):
            if not isinstance(record, dict):
                problem = f"{where} record {number} is no object with fields{self._said(reply)}"
                raise ReplyShapeError(problem)
        names = self.declared.columns.names
        missing = [
            name for name in names if found and all(_value(it, name) is _MISSING for it in found)
        ]
        if missing:
            used = {name.split(".")[0] for name in names} | set(names)
            new = dict.fromkeys(name for it in found for name in it)
            unknown = [name for name in new if name not in used]
            problem = f"{where}: missing {', '.join(map(repr, missing))}"
            if unknown:
                problem += f"; not known: {', '.join(map(repr, unknown[:8]))}"
            raise ReplyShapeError(problem)
        return found

    def _following(self, pages: list[_Page]) -> str:
        """The address of the next page; empty when there is none."""
        last, counter = pages[-1], self.declared.page
        if counter is not None:
            is_short = len(last.records) < len(pages[0].records)
            if not last.records or (is_short and not counter.until_empty):
                return ""
            at = counter.start + len(pages) * counter.step
            return with_params(last.url, {counter.param: str(at)})
        if not self.declared.next_link:
            return ""
        link = _value(last.reply, self.declared.next_link)
        if link in (_MISSING, None, "", False):
            return ""
        if not isinstance(link, str):
            problem = f"{self.declared.next_link} is no address"
            raise ReplyShapeError(problem)
        url = urljoin(last.url, link)
        here, there = urlsplit(last.url), urlsplit(url)
        if (there.scheme, there.netloc) != (here.scheme, here.netloc):
            # Another host must not be handed the key.
            problem = f"{self.declared.next_link} leads to another host ({address(url)})"
            raise ReplyShapeError(problem)
        if url in {page.url for page in pages}:
            problem = f"{self.declared.next_link} leads back to a page that was read already"
            raise ReplyShapeError(problem)
        return url

    def _mapped(self, page: _Page, number: int) -> Mapped:
        names = self.declared.columns.names
        access = self._access
        rows = [
            Row(
                at,
                [_cell(record, name) for name in names],
                shortened(access.hidden(json.dumps(record, ensure_ascii=False))),
            )
            for at, record in enumerate(page.records, start=1)
        ]
        place = address(self.declared.url).rstrip("/").rsplit("/", 1)[-1]
        return map_rows(
            [rows],
            [header_name(name) for name in names],
            self.declared.columns,
            file=place if number == 1 else f"{place} page {number}",
            source_id=self.name,
            confidence=self.declared.confidence,
        )

    def _nothing(self, reply: object) -> str:
        return f"has no record{self._said(reply)}; check params in sources.toml"

    def _said(self, reply: object) -> str:
        """What a reply says of an error, for the end of a sentence; empty when it says nothing."""
        names = (*_ERROR_FIELDS, *_MESSAGE_FIELDS)
        said = [reply[it] for it in names if isinstance(reply, Mapping) and _speaks(reply.get(it))]
        if not said:
            return ""
        text = said[0] if isinstance(said[0], str) else json.dumps(said[0], ensure_ascii=False)
        # The key goes first: the cut could leave the half of it.
        return f" (it says {' '.join(self._access.hidden(text).split())[:_LONGEST_SAID]!r})"


def _tells_error(reply: object, before: object, *, has_records: bool) -> bool:
    if not isinstance(reply, Mapping):
        return False
    names = _ERROR_FIELDS if has_records else (*_ERROR_FIELDS, *_MESSAGE_FIELDS)
    said = {name: reply[name] for name in names if _speaks(reply.get(name))}
    if isinstance(before, Mapping):
        # The page before was taken, so what it said was no error.
        said = {name: it for name, it in said.items() if it != before.get(name)}
    return bool(said)


def _speaks(said: object) -> bool:
    """Whether something is said that is more than a wish: {"code": 0, "message": ""} is nothing."""
    if isinstance(said, Mapping):
        return any(map(_speaks, said.values()))
    if isinstance(said, list):
        return any(map(_speaks, said))
    return bool(said) and not (isinstance(said, str) and said.strip().lower() in {"", *_WISHES})


def _value(record: object, path: str) -> object:
    """The value under a dotted path, with numbers for places in lists; `_MISSING` when it isn't there."""
    if isinstance(record, Mapping) and path in record:
        return record[path]
    found = record
    for name in path.split("."):
        if isinstance(found, Mapping) and name in found:
            found = found[name]
        elif isinstance(found, list) and name.isdecimal() and int(name) < len(found):
            found = found[int(name)]
        else:
            return _MISSING
    return found


def _cell(record: Record, path: str) -> str:
    value = _value(record, path)
    if value is _MISSING or value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return NumberCell(value)
    shown = json.dumps(value, ensure_ascii=False)[:60]
    return FaultyCell(shown, f"{path}: {shown} is no single value; name the field inside it")
