"""What an operator can mend: each error says which file, field or service, and what to do next."""


class LodestoneError(Exception):
    """Root of the errors that end a command with a sentence instead of a traceback."""


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


class PrefectUnreachableError(LodestoneError):
    """The Prefect server does not answer, or the embedded one can't be started."""
