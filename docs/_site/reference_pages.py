"""The pages of the Python reference: one for each public module, with the names that it exports.

The names of `equiprop` itself are grouped by hand in docs/reference/equiprop.rst, and a test compares them
with the package. The names of the other modules are listed here, when the site is built.
"""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import equiprop
import public_surface
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.ext.autodoc.mock import mock

FOLDER = "reference"


def is_of_equiprop(thing: Any) -> bool:
    """Return whether `equiprop` exports a thing under the same name; its page then belongs to `equiprop`."""
    return getattr(equiprop, thing.__name__, None) is thing


def table(things: list[Any]) -> str:
    """Return tables of names: those that get a page here, and those that `equiprop` exports, too."""
    own = [f"   {thing.__name__}" for thing in things if not is_of_equiprop(thing)]
    shared = [f"   ~equiprop.{thing.__name__}" for thing in things if is_of_equiprop(thing)]
    lines = [".. autosummary::", "   :toctree: api", "", *own, ""] if own else []
    return "\n".join([*lines, *([".. autosummary::", "", *shared, ""] if shared else [])])


def page(module: ModuleType) -> str:
    """Return the page of a module: its docstring, its functions and its classes."""
    name = module.__name__
    things = sorted(public_surface.exported(module), key=lambda thing: str(thing.__name__).lower())
    lines = [name, "=" * len(name), "", f".. currentmodule:: {name}", "", inspect.getdoc(module) or "", ""]
    for title, wanted in (("Functions", False), ("Classes", True)):
        chosen = [thing for thing in things if inspect.isclass(thing) is wanted]
        if chosen:
            lines += [title, "-" * len(title), "", table(chosen)]
    return "\n".join(lines)


def pages(mocked: list[str]) -> dict[str, str]:
    """Return the text of each page by the name of its module."""
    with mock(mocked):
        modules = [import_module(name) for name in public_surface.MODULES if name != "equiprop"]
        return {module.__name__: page(module) for module in modules}


def write_pages(app: Sphinx, config: Config) -> None:
    """Write the pages that changed."""
    for name, text in pages(config.autodoc_mock_imports).items():
        path = Path(app.srcdir) / FOLDER / f"{name}.rst"
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def setup(app: Sphinx) -> dict[str, bool]:
    """Write the pages before autosummary reads them."""
    app.connect("config-inited", write_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
