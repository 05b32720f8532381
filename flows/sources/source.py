"""What every source is and hands over: rows nobody has judged, who said them, and what went wrong."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

import pandas as pd

from flows.validation import RawRow

Kind = Literal["price", "trade", "reference"]


@dataclass(frozen=True, slots=True)
class Citation:
    """A document or service that figures come from, under the id that rows carry."""

    source_id: str
    title: str
    url: str
    source_date: str
    reuse: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """A part of a source (file, mineral, call) that gave no rows, and what to do about it."""

    subject: str
    text: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.text}"


@dataclass(frozen=True, slots=True)
class FetchResult:
    """What one visit brought home: a part that failed is a problem, and loses no other part."""

    rows: (
        Sequence[RawRow] | pd.DataFrame
    )  # a table has columns as in RawRow, where they say anything
    citations: Mapping[str, Citation]  # by source_id
    problems: tuple[Problem, ...] = ()
    not_published: int = 0  # places where the publisher has a row but gives no figure
    notes: tuple[str, ...] = ()  # what was left out on purpose, for the account


class Source(Protocol):
    """A publisher that can be asked for its rows."""

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def kind(self) -> Kind: ...
    @property
    def is_live(self) -> bool:
        """Whether the network is asked."""
        ...

    def fetch(self, *, now: datetime) -> FetchResult:
        """Everything the publisher tells at `now`; raises SourceError when nothing can be read."""
        ...
