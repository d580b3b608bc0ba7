"""A server of a few files on this machine, for tests of downloads."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Mirror(http.server.HTTPServer):
    """A server of a few files that can ignore Range, and close a connection early."""

    def __init__(self, contents: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.contents = contents
        self.honours_range, self.cuts = True, False
        self.requests: list[tuple[str, str | None]] = []
        self.url = f"http://127.0.0.1:{self.server_port}/mnist"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Mirror

    def do_GET(self) -> None:
        name, span = self.path.rpartition("/")[2], self.headers.get("Range")
        self.server.requests.append((name, span))
        content = self.server.contents.get(name, b"")
        start = int(span[6:-1]) if span and self.server.honours_range else 0
        if start >= len(content):
            self.send_error(416 if content else 404)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : len(content) // 2 if self.server.cuts else None])

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(contents: dict[str, bytes]) -> Iterator[Mirror]:
    with Mirror(contents) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
