"""Checks the links of a built site to itself, and lists those that leave it.

`python docs/_site/links.py build/docs/html` ends with status 1 if a link leads to no file, or to no place in
a page, or if a page loads a script, a style or a picture from outside the site.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

#: Attributes that hold an address.
ADDRESSES = ("href", "src")

#: A place that Doxygen 1.9 names in the summary of a page whose nested classes are all private.
ABSENT_IN_DOXYGEN = "#nested-classes"


@dataclass
class Page(HTMLParser):
    """The links of a page, those that a browser loads at once, and the places that a link can name."""

    links: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)
    places: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the links and the places of one tag."""
        for name, value in attrs:
            if name in ADDRESSES and value:
                self.links.append(value)
                if name == "src" or tag == "link":
                    self.loaded.append(value)
            if (name == "id" or (tag == "a" and name == "name")) and value:
                self.places.add(value)


def read(path: Path) -> Page:
    """Return the links and places of a file."""
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def is_outside(link: str) -> bool:
    """Return whether a link leaves the site."""
    return urlsplit(link).scheme in ("http", "https", "mailto") or link.startswith("//")


def is_inside(link: str) -> bool:
    """Return whether a link leads to a place of the site that should exist."""
    return not urlsplit(link).scheme and not link.startswith("//") and link != ABSENT_IN_DOXYGEN


@dataclass
class Site:
    """The pages of a folder."""

    folder: Path
    pages: dict[Path, Page]

    @classmethod
    def of(cls, folder: Path) -> Site:
        """Read all pages of a folder."""
        folder = folder.resolve()
        return cls(folder, {path: read(path) for path in sorted(folder.rglob("*.html"))})

    def external(self) -> list[str]:
        """Return the addresses outside the site."""
        return sorted({link for page in self.pages.values() for link in page.links if is_outside(link)})

    def internal(self) -> Iterator[tuple[Path, str]]:
        """Yield each link of each page to the site itself."""
        for path, page in self.pages.items():
            yield from ((path, link) for link in page.links if is_inside(link))

    def leads_somewhere(self, path: Path, link: str) -> bool:
        """Return whether a link of a page names a file, and a place in it if it names one."""
        parts = urlsplit(link)
        target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
        if target.is_dir():
            target /= "index.html"
        place = unquote(parts.fragment)
        if not place:
            return target.exists()
        return target in self.pages and place in self.pages[target].places

    def broken(self) -> list[str]:
        """Return what is wrong, one line for each link."""
        wrong = [(path, link) for path, link in self.internal() if not self.leads_somewhere(path, link)]
        wrong += [(path, link) for path in self.pages for link in self.pages[path].loaded if is_outside(link)]
        return sorted({f"{path.relative_to(self.folder)}: {link}" for path, link in wrong})


def main(folder: Path) -> int:
    """Print the numbers of pages and links, and all broken links; write external.txt beside the folder."""
    site = Site.of(folder)
    broken, external = site.broken(), site.external()
    (folder.parent / "external.txt").write_text("\n".join([*external, ""]))
    print(*broken, sep="\n", end="\n" if broken else "")
    print(
        f"{len(site.pages)} pages, {sum(1 for _ in site.internal())} links to the site itself, "
        f"{len(broken)} of them broken; {len(external)} addresses outside, in {folder.parent}/external.txt"
    )
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
