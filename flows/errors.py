"""What an operator can mend: each error says which file, field or service, and what to do next."""

import difflib
from collections.abc import Iterable


class LodestoneError(Exception):
    """Root of the errors that end a command with a sentence instead of a traceback."""


class UsageError(LodestoneError):
    """What was asked for does not exist or can't be done as asked."""


class SettingsError(LodestoneError):
    """A setting is unknown or has a value that can't be used."""


class CatalogError(LodestoneError):
    """A reference file (catalogue, markets, scenarios) can't be used."""


class DatabaseUnusableError(LodestoneError):
    """The database can't be opened, written or upgraded."""


class SourceError(LodestoneError):
    """A publisher could not be read; nothing that was stored is touched."""

    def __init__(self, source: str, problem: str) -> None:
        self.source = source
        self.problem = problem
        super().__init__(f"{source}: {problem}")


class EngineError(LodestoneError):
    """What computes many series can't be used, or a part of it died."""


class PrefectUnreachableError(LodestoneError):
    """The Prefect server does not answer, or the embedded one can't be started."""


MOST_NAMED = 20
"""Names that an error lists: five hundred help nobody."""


def require_known(what: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise UsageError for the first name that isn't known, with the nearest one that is."""
    names = tuple(known)
    for word in given:
        if word not in names:
            near = difflib.get_close_matches(word, names, n=1)
            listed = ", ".join(names[:MOST_NAMED]) or "none"
            listed += f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
            hint = f"did you mean {near[0]!r}?" if near else f"known: {listed}"
            message = f"there is no {what} {word!r}; {hint}"
            raise UsageError(message)
