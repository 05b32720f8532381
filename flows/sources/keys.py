"""The user's key for a publisher: where it goes in a request, and how it stays out of every text."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, quote_plus, urlencode, urlsplit, urlunsplit

from flows.errors import SourceError
from flows.settings import KEY_PREFIX

_SHORTEST_HIDDEN = 4  # shorter ones are parts of ordinary words


@dataclass(frozen=True, slots=True)
class KeyPlace:
    """Where a publisher wants the user's key: a header, a parameter, or as a bearer token."""

    header: str = ""
    param: str = ""
    bearer: bool = False


@dataclass(frozen=True, slots=True)
class Access:
    """What it takes to ask one publisher: without `place` no key is sent."""

    source: str  # as in errors
    name: str  # as in the key's variable
    place: KeyPlace | None
    key: str = field(repr=False)

    def request(
        self, url: str, params: Mapping[str, str], headers: Mapping[str, str]
    ) -> tuple[str, dict[str, str]]:
        """The address and headers to ask with; raises SourceError naming the variable without a key."""
        query, sent = dict(params), dict(headers)
        if self.place is not None:
            secret = self._secret()
            if self.place.param:
                query[self.place.param] = secret
                # Kept answers are told apart by their address: this one must not be written down.
                sent["Cache-Control"] = "no-store"
            elif self.place.header:
                sent[self.place.header] = secret
            else:
                sent["Authorization"] = f"Bearer {secret}"
        return with_params(url, query), sent

    def _secret(self) -> str:
        secret = self.key.strip()
        if not secret:
            problem = f"needs a key: set {key_variable(self.name)} in the environment"
            raise SourceError(self.source, problem)
        if not (secret.isascii() and secret.isprintable()) or " " in secret:
            problem = f"{key_variable(self.name)} holds characters that no key has; copy it again"
            raise SourceError(self.source, problem)
        return secret

    def hidden(self, text: str) -> str:
        """A text without the key, should a publisher have said it back to us."""
        secret = self.key.strip()
        if len(secret) >= _SHORTEST_HIDDEN:
            for spelt in (secret, quote(secret, safe=""), quote(secret), quote_plus(secret)):
                text = text.replace(spelt, "…")
        return text


def key_variable(name: str) -> str:
    """The environment variable that holds the key of a declared source."""
    return f"{KEY_PREFIX}{name.upper()}"


def with_params(url: str, params: Mapping[str, str]) -> str:
    """An address with these parameters beside, or in place of, those it has."""
    if not params:
        return url
    parts = urlsplit(url)
    own = [it for it in parse_qsl(parts.query, keep_blank_values=True) if it[0] not in params]
    return urlunsplit(parts._replace(query=urlencode([*own, *params.items()])))
