"""Imported first: the import of a package without its compiled extension fails with a cure."""

from __future__ import annotations

import sysconfig
from importlib.util import find_spec
from pathlib import Path

if find_spec("equiprop._core") is None:
    _folder = Path(__file__).parent
    raise ImportError(
        f"equiprop cannot be imported from {_folder}: this folder has no compiled extension "
        f"_core{sysconfig.get_config_var('EXT_SUFFIX')}. It is a source tree that is not built, or was built "
        "for another Python. Run `pip install .` in the root of the source tree, and start Python where "
        f"{_folder.parent} is not on sys.path."
    )
