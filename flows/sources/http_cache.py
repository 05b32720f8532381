"""Answers kept between runs, so that a publisher can confirm one instead of sending it again."""

import hashlib
import json
import logging
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

_SUFFIX = ".kept"
_PART = ".part"
# What may go back into a request header: a damaged or hostile one must not end the request.
_VALIDATOR = re.compile(r"[\x20-\x7e]{1,500}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Kept:
    """A whole answer and what its publisher calls this version of it."""

    body: bytes
    etag: str = ""
    last_modified: str = ""

    @property
    def validators(self) -> dict[str, str]:
        """The headers that ask a publisher whether this answer still holds."""
        named = {"If-None-Match": self.etag, "If-Modified-Since": self.last_modified}
        return {name: value for name, value in named.items() if _VALIDATOR.fullmatch(value)}


class HttpCache:
    """A folder of answers, one file for each address; a file that is damaged counts as missing.

    The file's name is a digest of the address: no query stands in the folder in plain text. A file is
    written whole under another name and then renamed, so that two processes see one version or the
    other, never half of one. A folder that can't be written costs transfers, not figures.
    """

    def __init__(self, folder: Path, *, max_bytes: int = 200_000_000) -> None:
        self._folder = folder
        self._max_bytes = max_bytes

    def find(self, address: str) -> Kept | None:
        """The answer kept for an address; None when there is none that can be trusted."""
        file = self._file(address)
        try:
            head, found, body = file.read_bytes().partition(b"\n")
        except FileNotFoundError:
            return None
        except OSError as error:
            logger.warning(
                "%s: a kept answer can't be read (%s); asking for it", file, type(error).__name__
            )
            return None
        kept = _parse(head, body) if found else None
        if kept is None or _digest(address, kept) != _field(head, "digest"):
            logger.warning("%s: a kept answer is damaged; asking for it", file)
            return None
        return kept

    def keep(self, address: str, kept: Kept) -> None:
        """Keep an answer in place of the one before, and let the oldest go when the folder is full.

        An answer without a validator, or larger than a quarter of the folder, is not kept.
        """
        if not kept.validators or len(kept.body) > self._max_bytes // 4:
            return
        head = {
            "etag": kept.etag,
            "last_modified": kept.last_modified,
            "digest": _digest(address, kept),
        }
        file = self._file(address)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._write(file, json.dumps(head).encode("ascii") + b"\n" + kept.body)
            self._make_room(file)
        except OSError as error:
            logger.warning("%s: an answer can't be kept (%s)", file, type(error).__name__)

    def _file(self, address: str) -> Path:
        return self._folder / (hashlib.sha256(address.encode()).hexdigest()[:40] + _SUFFIX)

    def _write(self, file: Path, content: bytes) -> None:
        handle, name = tempfile.mkstemp(dir=self._folder, suffix=_PART)
        part = Path(name)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
            part.replace(file)
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    def _make_room(self, newest: Path) -> None:
        """Delete the oldest files until the folder is within its size; parts left by a crash too."""
        sizes: dict[Path, tuple[float, int]] = {}
        for file in self._folder.iterdir():
            if file.suffix not in (_SUFFIX, _PART):
                continue  # not ours
            try:
                found = file.stat()
            except FileNotFoundError:
                continue  # another process was quicker
            sizes[file] = (found.st_mtime, found.st_size)
        total = sum(size for _, size in sizes.values())
        for file in sorted(sizes, key=lambda file: sizes[file]):
            if total <= self._max_bytes:
                return
            if file != newest:
                file.unlink(missing_ok=True)
                total -= sizes[file][1]


def _parse(head: bytes, body: bytes) -> Kept | None:
    etag, last_modified = _field(head, "etag"), _field(head, "last_modified")
    if etag is None or last_modified is None:
        return None
    return Kept(body, etag, last_modified)


def _field(head: bytes, name: str) -> str | None:
    try:
        found: Any = json.loads(head)
    except (ValueError, RecursionError):
        return None
    value = found.get(name) if isinstance(found, dict) else None
    return value if isinstance(value, str) else None


def _digest(address: str, kept: Kept) -> str:
    """Over everything: a file under another's name, or with another's validator, is damaged as well."""
    whole = hashlib.sha256()
    texts = (address, kept.etag, kept.last_modified)
    for part in (*(text.encode(errors="surrogatepass") for text in texts), kept.body):
        whole.update(len(part).to_bytes(8, "big"))
        whole.update(part)
    return whole.hexdigest()
