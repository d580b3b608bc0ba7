"""Digests of the entries of a certificate, which show what was changed after the file was written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from equiprop.verify.comparison import differences

#: Entries whose own entries have digests; all others have one digest.
_OPENED = ("environment", "cases", "claims", "settings", "problem", "not_claimed", "left_out")
#: Entries that are stored as they are, because they name an object in a list.
_NAMES = ("network", "claim")
#: Key of the digests in a certificate.
KEY = "sha256"


def fingerprints(certificate: Mapping[str, Any]) -> dict[str, Any]:
    """Return a structure like that of the certificate with the SHA-256 of each entry in place of it.

    Whole numbers have equal digests as integers and as floats.
    """
    return {key: _opened(key, entry) for key, entry in certificate.items() if key != KEY}


def _opened(key: str, entry: Any) -> Any:
    if key in _NAMES and isinstance(entry, str):
        return entry
    if key in _OPENED and isinstance(entry, dict):
        return {name: _opened(name, part) for name, part in entry.items()}
    if key in _OPENED and isinstance(entry, list):
        return [_opened(key, part) for part in entry]
    text = json.dumps(_canonical(entry), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _canonical(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _canonical(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(entry) for entry in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 and str(value) != "-0.0":
        return int(value)
    return value


@dataclass(frozen=True)
class Alteration:
    """An entry of a file that was changed, removed or added after the file was written.

    Attributes
    ----------
    path : tuple of str
        Keys and names from the outermost structure to the entry.
    text : str
        The path and the kind of change in words.
    """

    path: tuple[str, ...]
    text: str

    @property
    def of_input(self) -> bool:
        """True if the entry decides what a repetition checks: a setting, or a part of the problem."""
        return "settings" in self.path or "problem" in self.path


def alterations(certificate: Mapping[str, Any]) -> Iterator[Alteration]:
    """Yield each entry of a file whose digest is missing or does not belong to it."""
    for found in differences(certificate[KEY], fingerprints(certificate)):
        kind = {"only": "removed", "not ": "added"}.get(found.values[:4], "changed")
        text = f"{found.where}: {kind} after the certificate was written, as its SHA-256 shows"
        yield Alteration(found.path, text)
