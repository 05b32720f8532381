"""The user's key for a publisher: where it goes in a request, and how it stays out of every text."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from flows.errors import SourceError
from flows.settings import KEY_PREFIX

_SHORTEST_HIDDEN = 4  # shorter ones are parts of ordinary words
_SHORTEST_SECRET = 6  # shorter ones are words and numbers that any body may hold
_WORDS = re.compile(r"[^A-Za-z0-9]+|(?<=[a-z0-9])(?=[A-Z])")
_SECRET_WORD = re.compile(
    r".*(keys?|tokens?|secret|signature|session(id)?|credentials?|passw(or)?d|cookie)"
    r"|o?auth|auth(oriz|entic)ation|sig|pass(phrase|code)?|pwd",
    re.IGNORECASE,
)
_ENTITIES = {"&": "amp", "<": "lt", ">": "gt", '"': "quot", "'": "apos"}


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
            text = re.sub(_any_spelling(secret), "…", text)
        return text


class Hidden:
    """Secrets that are taken out of texts and bodies, however they are spelt there."""

    def __init__(self) -> None:
        self._secrets: set[str] = set()
        self._text: re.Pattern[str] | None = None
        self._body: re.Pattern[bytes] | None = None

    def add(self, secret: str) -> None:
        """Hide one more; what is shorter than six characters is none."""
        if len(secret) < _SHORTEST_SECRET or secret in self._secrets:
            return
        self._secrets.add(secret)
        # The longest first: one may be a part of another.
        spelt = "|".join(map(_any_spelling, sorted(self._secrets, key=len, reverse=True)))
        self._text = re.compile(spelt)
        self._body = re.compile(spelt.encode())

    def text(self, text: str) -> str:
        """A text without them."""
        return text if self._text is None else self._text.sub("…", text)

    def body(self, body: bytes) -> bytes:
        """A body without them, in whichever encoding it is that has ASCII's letters."""
        if self._body is None or self._body.search(body) is None:
            return body
        try:
            body.decode()
        except UnicodeDecodeError:
            return self._body.sub(b"...", body)
        return self._body.sub("…".encode(), body)


def _any_spelling(secret: str) -> str:
    """An expression for a secret as it is, in an address, in JSON and in a web page."""
    return "".join(map(_any_character, secret))


def _any_character(character: str) -> str:
    # Nobody writes letters and digits otherwise: the search for them is a quick one.
    if character.isascii() and character.isalnum():
        return character
    code = ord(character)
    spelt = [
        re.escape(character),
        rf"\\{re.escape(character)}",
        rf"\\u(?i:{code:04x})",
        rf"&#(?:{code}|x0*(?i:{code:x}));",
        f"(?i:{re.escape(quote(character, safe=''))})",
    ]
    if character == " ":
        spelt.append(r"\+")
    if character in _ENTITIES:
        spelt.append(f"&{_ENTITIES[character]};")
    return f"(?:{'|'.join(spelt)})"


def is_secret_name(name: str) -> bool:
    """Whether a header or parameter of this name may hold a key, a password or a session."""
    return any(_SECRET_WORD.fullmatch(word) for word in _WORDS.split(name))


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
