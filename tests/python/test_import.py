"""The import of a package folder without a usable extension fails with the reason."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import equiprop as eq
import pytest

EXTENSION = f"_core{sysconfig.get_config_var('EXT_SUFFIX')}"


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """Return a folder with only the Python files of the package, as in a source tree that is not built."""
    folder = tmp_path / "equiprop"
    shutil.copytree(Path(eq.__file__).parent, folder, ignore=shutil.ignore_patterns("*.so", "*.pyd", "sdk"))
    return folder


def import_error(sources: Path, module: str) -> str:
    """Return the last line that Python prints when it imports `module` beside `sources`."""
    # Without -S, an editable installation would find its own extension.
    command = [sys.executable, "-S", "-B", "-c", f"import sys; sys.path += {sys.path!r}; import {module}"]
    result = subprocess.run(command, cwd=sources.parent, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    return result.stderr.splitlines()[-1]


@pytest.mark.parametrize("module", ["equiprop", "equiprop.cli"])
def test_a_source_tree_that_is_not_built_says_so(module: str, sources: Path) -> None:
    message = import_error(sources, module)
    assert message.startswith(f"ImportError: equiprop cannot be imported from {sources}: ")
    assert EXTENSION in message
    assert "not built" in message
    assert "pip install ." in message
    assert f"where {sources.parent} is not on sys.path" in message


def test_an_extension_that_cannot_be_loaded_is_another_error(sources: Path) -> None:
    (sources / EXTENSION).write_bytes(b"no library")
    message = import_error(sources, "equiprop")
    assert message.startswith("ImportError: ")
    assert "not built" not in message
    assert EXTENSION in message
