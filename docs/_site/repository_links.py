"""What is plain Markdown on a code host, and needs a change on the site.

Links to folders of the repository become plain text: the site has pages and files, and no address of a
repository.
"""

from __future__ import annotations

import re
from pathlib import Path

from sphinx.application import Sphinx

LINK = re.compile(r"\[([^\]]+)\]\((?!\w+:)([^)#]+)\)")


def changed(text: str, folder: Path) -> str:
    """Return the text of a page of `folder` for the site."""
    return LINK.sub(lambda link: link[1] if (folder / link[2]).is_dir() else link[0], text)


def read(app: Sphinx, docname: str, source: list[str]) -> None:
    """Change the text of a page before it is parsed."""
    path = Path(app.env.doc2path(docname))
    if path.suffix == ".md":
        source[0] = changed(source[0], path.parent)


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect `read`."""
    app.connect("source-read", read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
