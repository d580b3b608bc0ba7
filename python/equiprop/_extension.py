"""Raise an ImportError that names the cure if the package has no compiled extension; imported first."""

from __future__ import annotations

import sysconfig
from importlib.util import find_spec
from pathlib import Path

if find_spec("equiprop._core") is None:
    _folder = Path(__file__).parent
    raise ImportError(
        f"equiprop cannot be imported from {_folder}: this folder has no compiled extension "
        f"_core{sysconfig.get_config_var('EXT_SUFFIX')}. The folder is a source tree that is not built, or "
        "that was built for another version of Python. Run `pip install .` in the root of the source tree, "
        f"and start Python where {_folder.parent} is not on sys.path."
    )
