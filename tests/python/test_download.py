"""Download of MNIST from a local server."""

from __future__ import annotations

import gzip
import hashlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from equiprop import download
from equiprop.data import load_mnist
from equiprop.download import fetch_mnist
from idx_files import write_mnist
from limits import largest_file
from mirrors import Mirror, serving


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    source = tmp_path / "source"
    source.mkdir()
    contents = write_mnist(source, suffix=".gz")
    digests = {f"{name}.gz": hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    monkeypatch.setattr(download, "MNIST_SHA256", digests)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving({path.name: path.read_bytes() for path in source.iterdir()}) as server:
        yield server


IMAGES = "train-images-idx3-ubyte.gz"


def test_a_fresh_download_loads_and_is_not_repeated(mirror: Mirror, tmp_path: Path) -> None:
    target = tmp_path / "new" / "mnist"
    train, test = load_mnist(fetch_mnist(target, mirror=mirror.url))
    assert (len(train), len(test)) == (9, 7)
    assert sorted(mirror.requests) == sorted((name, None) for name in mirror.contents)
    fetch_mnist(target, mirror=mirror.url + "/")
    assert len(mirror.requests) == 4
    (target / IMAGES).write_bytes(b"damaged")
    fetch_mnist(target, mirror=mirror.url)
    assert mirror.requests[4:] == [(IMAGES, None)]
    assert {path.name: path.read_bytes() for path in target.iterdir()} == mirror.contents


@pytest.mark.parametrize("honours_range", [True, False])
def test_a_cut_download_goes_on_from_what_was_kept(
    mirror: Mirror, tmp_path: Path, honours_range: bool
) -> None:
    half, part = len(mirror.contents[IMAGES]) // 2, tmp_path / f"{IMAGES}.part"
    mirror.cuts, mirror.honours_range = True, honours_range
    with pytest.raises(ConnectionError, match=rf"^\[fetch_mnist\] .*{half} bytes are kept in '.*part'"):
        fetch_mnist(tmp_path, mirror=mirror.url)
    assert part.read_bytes() == mirror.contents[IMAGES][:half]
    mirror.cuts = False
    fetch_mnist(tmp_path, mirror=mirror.url)
    assert mirror.requests[1] == (IMAGES, f"bytes={half}-")
    assert (tmp_path / IMAGES).read_bytes() == mirror.contents[IMAGES]
    assert not part.exists()


@pytest.mark.parametrize("honours_range", [True, False])
def test_a_part_file_that_cannot_go_on_is_begun_again(
    mirror: Mirror, tmp_path: Path, honours_range: bool
) -> None:
    mirror.honours_range = honours_range
    (tmp_path / f"{IMAGES}.part").write_bytes(b"?" * len(mirror.contents[IMAGES]))
    fetch_mnist(tmp_path, mirror=mirror.url)
    assert (tmp_path / IMAGES).read_bytes() == mirror.contents[IMAGES]


def test_a_part_file_that_is_whole_is_only_renamed(mirror: Mirror, tmp_path: Path) -> None:
    (tmp_path / f"{IMAGES}.part").write_bytes(mirror.contents[IMAGES])
    fetch_mnist(tmp_path, mirror=mirror.url)
    assert IMAGES not in dict(mirror.requests)
    assert (tmp_path / IMAGES).is_file()


@pytest.mark.parametrize("content", [gzip.compress(b"another file"), b"<html>"])
def test_wrong_content_is_removed(mirror: Mirror, tmp_path: Path, content: bytes) -> None:
    mirror.contents[IMAGES] = content
    with pytest.raises(ValueError, match=r"^\[fetch_mnist\] .*SHA-256 .* the file was removed"):
        fetch_mnist(tmp_path, mirror=mirror.url)
    assert not list(tmp_path.glob("*ubyte*"))


def test_a_mirror_without_the_files_is_named(mirror: Mirror, tmp_path: Path) -> None:
    mirror.contents.clear()
    with pytest.raises(ConnectionError, match=rf"^\[fetch_mnist\] .*{mirror.url}/{IMAGES}.*404.* 0 bytes"):
        fetch_mnist(tmp_path, mirror=mirror.url)
    with pytest.raises(ValueError, match="mirror starts with http"):
        fetch_mnist(tmp_path, mirror="ftp://127.0.0.1")


def test_a_refused_connection_keeps_the_part_file(mirror: Mirror, tmp_path: Path) -> None:
    part = tmp_path / f"{IMAGES}.part"
    part.write_bytes(b"begun")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(ConnectionError, match=r"^\[fetch_mnist\] .*refused.* 5 bytes are kept"):
            fetch_mnist(tmp_path, mirror=address)
    assert part.read_bytes() == b"begun"
    assert mirror.requests == []


def test_a_full_disk_is_not_called_a_failure_of_the_network(mirror: Mirror, tmp_path: Path) -> None:
    part, half = tmp_path / f"{IMAGES}.part", len(mirror.contents[IMAGES]) // 2
    with (
        largest_file(half),
        pytest.raises(OSError, match=r"^\[fetch_mnist\] cannot write '.*part': File too") as told,
    ):
        fetch_mnist(tmp_path, mirror=mirror.url)
    assert not isinstance(told.value, ConnectionError)
    assert f" {half} bytes are kept. Free space, and call fetch_mnist again." in str(told.value)
    assert part.read_bytes() == mirror.contents[IMAGES][:half]
    fetch_mnist(tmp_path, mirror=mirror.url)
    assert mirror.requests[1] == (IMAGES, f"bytes={half}-")
    assert (tmp_path / IMAGES).read_bytes() == mirror.contents[IMAGES]
