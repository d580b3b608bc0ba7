"""Downloads of the public sets of images by pooch, from a server on this machine."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from equiprop import download
from equiprop.data import load_image_set
from equiprop.download import SOURCES, Source
from idx_files import write_mnist
from image_files import LAYOUTS, write_cifar, write_svhn
from mirrors import Mirror, serving

NAMES = pytest.mark.parametrize("name", SOURCES)


def fetch(name: str) -> Callable[..., Path]:
    function: Callable[..., Path] = getattr(download, f"fetch_{name}")
    return function


@pytest.fixture
def mirror(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """Serve small files of a data set, the checksums of which replace those of the published files."""
    pytest.importorskip("pooch", reason="the extra 'data' is not installed")
    source = tmp_path / "source"
    source.mkdir()
    if name in LAYOUTS:
        write_cifar(source, LAYOUTS[name])
    elif name == "svhn":
        write_svhn(source)
    else:
        write_mnist(source, suffix=".gz")
    contents = {path.name: path.read_bytes() for path in source.iterdir()}
    assert contents.keys() == SOURCES[name].md5.keys()
    digests = {file: hashlib.md5(content).hexdigest() for file, content in contents.items()}
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving(contents) as server:
        monkeypatch.setattr(download, "SOURCES", {name: Source(server.url, digests)})
        yield server


@NAMES
def test_a_fresh_download_loads_and_is_not_repeated(name: str, mirror: Mirror, tmp_path: Path) -> None:
    target = fetch(name)(tmp_path / "new" / "data")
    assert target == tmp_path / "new" / "data"
    assert {path.name: path.read_bytes() for path in target.iterdir()} == mirror.contents
    assert len(load_image_set(name, target)[0]) > 0
    count = len(mirror.contents)
    assert sorted(mirror.requests) == sorted((file, None) for file in mirror.contents)
    fetch(name)(target, mirror=f"{mirror.url}/")
    assert len(mirror.requests) == count
    file = next(iter(mirror.contents))
    (target / file).write_bytes(b"damaged")
    fetch(name)(target)
    assert mirror.requests[count:] == [(file, None)]
    assert {path.name: path.read_bytes() for path in target.iterdir()} == mirror.contents


@pytest.mark.parametrize("honours_range", [True, False])
@NAMES
def test_an_interrupted_download_goes_on_from_what_was_kept(
    name: str, mirror: Mirror, tmp_path: Path, honours_range: bool
) -> None:
    file, content = next(iter(download.SOURCES[name].md5)), b""
    content, target = mirror.contents[file], tmp_path / "data"
    half, part = len(content) // 2, target / f"{file}.part"
    mirror.cuts, mirror.honours_range = True, honours_range
    with pytest.raises(ConnectionError, match=rf"^\[fetch_{name}\] .*{half} bytes are kept in '.*part'"):
        fetch(name)(target)
    assert [path.name for path in target.iterdir()] == [part.name]
    assert part.read_bytes() == content[:half]
    mirror.cuts = False
    fetch(name)(target)
    assert mirror.requests[1] == (file, f"bytes={half}-")
    assert {path.name: path.read_bytes() for path in target.iterdir()} == mirror.contents


@pytest.mark.parametrize("name", ["cifar10"])
def test_a_part_file_that_is_whole_is_only_renamed(name: str, mirror: Mirror, tmp_path: Path) -> None:
    file = LAYOUTS[name].archive
    (tmp_path / f"{file}.part").write_bytes(mirror.contents[file])
    fetch(name)(tmp_path)
    assert mirror.requests == []
    assert (tmp_path / file).read_bytes() == mirror.contents[file]
    assert not (tmp_path / f"{file}.part").exists()


@pytest.mark.parametrize("honours_range", [True, False])
@pytest.mark.parametrize("name", ["cifar10"])
def test_a_wrong_part_file_is_begun_again(
    name: str, mirror: Mirror, tmp_path: Path, honours_range: bool
) -> None:
    mirror.honours_range = honours_range
    file = LAYOUTS[name].archive
    (tmp_path / f"{file}.part").write_bytes(b"?" * len(mirror.contents[file]))
    fetch(name)(tmp_path)
    assert (tmp_path / file).read_bytes() == mirror.contents[file]


@NAMES
def test_content_with_a_wrong_checksum_is_removed(name: str, mirror: Mirror, tmp_path: Path) -> None:
    file = next(iter(mirror.contents))
    digest = download.SOURCES[name].md5[file]
    mirror.contents[file] += b"more"
    target = tmp_path / "data"
    text = rf"^\[fetch_{name}\] .*'{mirror.url}/{file}' is wrong: its MD5 is not {digest}; .* was removed"
    with pytest.raises(ValueError, match=text):
        fetch(name)(target)
    assert not list(target.glob(f"*{file}*"))


@NAMES
def test_a_mirror_without_the_files_is_named(name: str, mirror: Mirror, tmp_path: Path) -> None:
    mirror.contents.clear()
    with pytest.raises(ConnectionError, match=rf"^\[fetch_{name}\] .*'{mirror.url}/.*404.* 0 bytes"):
        fetch(name)(tmp_path / "data")
    with pytest.raises(ValueError, match=rf"^\[fetch_{name}\] mirror starts with http"):
        fetch(name)(tmp_path / "data", mirror="ftp://127.0.0.1")


@pytest.mark.parametrize("name", ["svhn"])
def test_the_default_folder_is_in_the_cache_of_the_user(
    name: str, mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = fetch(name)()
    assert folder.name == name
    assert tmp_path in folder.parents
    assert len(load_image_set(name, folder)[0]) > 0


@NAMES
def test_without_pooch_the_extra_is_named(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(ImportError, match=rf"^\[fetch_{name}\] .*pip install 'equiprop\[data\]'\.$"):
        fetch(name)(tmp_path)


@NAMES
def test_checksums_and_addresses_have_their_form(name: str) -> None:
    source = SOURCES[name]
    assert source.mirror.startswith("http")
    assert source.mirror.endswith("/")
    for digest in source.md5.values():
        assert len(bytes.fromhex(digest)) == 16
