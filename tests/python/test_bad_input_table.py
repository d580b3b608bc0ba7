"""Every public entry with every kind of bad input: it works, or is refused with a sentence.

The entries are found by introspection: a new public function, class or method without a valid call in the
table fails a test.
"""

from __future__ import annotations

import inspect
import zlib
from collections.abc import Iterator
from pathlib import Path

import equiprop as eq
import numpy as np
import pytest
from bad_inputs import bad_values, complaint, equal, equivalent_forms
from public_surface import entries
from valid_calls import CALLS, IN_PLACE, INTERFACES, OF_THE_AUTHOR, RESULTS, UNBOUNDED

#: One of so many inputs of an argument is tried by default; `pytest -m slow` tries all.
SHARE = 7
#: Arguments that are not tried: the name of the caller for errors, and options of another function.
_APART = {"self", "cls", "where", "options"}
#: Arguments that are integers of NumPy, which are not read from objects; scikit-learn reads none either.
INDICES = {"indices", "order", "chosen", "draws", "pairs"}


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield
    eq.set_num_threads(0)


def names_of(entry: str) -> set[str]:
    """Return the names under which an entry is in the table: its own, and those of other valid calls."""
    return {name for name in CALLS if name.partition(" ")[0] == entry}


def is_excluded(entry: str) -> bool:
    of_the_author = "." in entry and entry.partition(".")[0] in OF_THE_AUTHOR
    return entry in RESULTS | INTERFACES or of_the_author


def test_every_public_entry_has_a_valid_call() -> None:
    found = entries()
    assert sorted(name for name in found if not names_of(name) and not is_excluded(name)) == []
    known = {name.partition(" ")[0] for name in CALLS} | RESULTS | INTERFACES
    assert sorted(known - found.keys()) == []


def test_every_argument_of_an_entry_is_in_a_valid_call(tmp_path: Path) -> None:
    missing = {}
    for entry, function in entries().items():
        given = {argument for name in names_of(entry) for argument in CALLS[name](tmp_path)[1]}
        if names_of(entry) and (absent := set(inspect.signature(function).parameters) - _APART - given):
            missing[entry] = absent
    assert missing == {}


@pytest.mark.parametrize("name", CALLS)
def test_valid_calls_work(name: str, tmp_path: Path) -> None:
    function, arguments = CALLS[name](tmp_path)
    if name.startswith("fetch_"):  # there is no server
        with pytest.raises(ConnectionError, match=rf"^\[{name}\] "):
            function(**arguments)
    else:
        function(**arguments)


def outcomes(name: str, folder: Path, share: int) -> Iterator[str]:
    """Call an entry with bad inputs, and yield what is wrong."""
    CALLS[name](folder)
    for argument, value in CALLS[name](folder)[1].items():
        for number, (label, bad) in enumerate(bad_values(value)):
            if (name, argument, label) in UNBOUNDED or (number + zlib.crc32(argument.encode())) % share:
                continue
            function, arguments = CALLS[name](folder)
            wrong = complaint(lambda f=function, a={**arguments, argument: bad}: f(**a))
            if wrong is not None:
                yield f"{name}({argument}={label}): {wrong[:200]}"


@pytest.mark.parametrize("name", CALLS)
def test_bad_inputs_are_refused_with_a_sentence(name: str, tmp_path: Path) -> None:
    assert list(outcomes(name, tmp_path, SHARE)) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
def test_all_bad_inputs_are_refused_with_a_sentence(name: str, tmp_path: Path) -> None:
    assert list(outcomes(name, tmp_path, 1)) == []


@pytest.mark.parametrize("name", CALLS)
def test_equivalent_arrays_have_equal_results(name: str, tmp_path: Path) -> None:
    function, arguments = CALLS[name](tmp_path)
    arrays = {key: value for key, value in arguments.items() if isinstance(value, np.ndarray)}
    expected = function(**arguments) if arrays else None
    for argument, array in arrays.items():
        for label, form in equivalent_forms(array):
            from_objects = argument not in INDICES and not name.startswith("Equilibrium")
            if (name, argument) in IN_PLACE or (label == "objects" and not from_objects):
                continue
            function, arguments = CALLS[name](tmp_path)
            assert equal(function(**{**arguments, argument: form}), expected), (argument, label)
