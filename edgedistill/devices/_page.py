"""The site that a browser measures on: a page with the agent, its job, its model, and a place for its result.

Its headers isolate the page, which is what gives it shared memory, so threads, and a clock with fine steps.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import SimpleQueue
from secrets import token_urlsafe
from typing import Any
from urllib.parse import quote, unquote

from edgedistill import graphs
from edgedistill.devices import _script
from edgedistill.plugins import PACKAGE

AGENT = PACKAGE / "measure"
PAGE = {"": AGENT / "agent_page.html", **{name: AGENT / name for name in ("agent.mjs", "agent_page.mjs")}}
TYPES = {".html": "text/html", ".mjs": "text/javascript", ".wasm": "application/wasm"}
ISOLATED = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp", "Cache-Control": "no-store"}

Said = SimpleQueue[bytes]


@contextmanager
def served(job: Mapping[str, Any] | None, runtime: Path) -> Iterator[tuple[str, Said]]:
    """The page's address, and the queue that gets its result. `runtime` is the folder of onnxruntime-web's files."""
    files = {**PAGE, **{f"ort/{file.name}": file for file in runtime.iterdir()}}
    if job is not None:
        model, *weights = graphs.parts(Path(job["model"])).items()
        files |= {f"model/{name}": file for name, file in (model, *weights)}
        apart = [{"path": name, "data": _address(name)} for name, _ in weights]
        job = {**job, "model": _address(model[0]), **({"weights": apart} if apart else {})}
    root, said = f"/{token_urlsafe()}/", Said()  # a name that no other page can guess
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(root, files, _script.written(job).encode(), said))
    threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}{root}", said
    finally:
        server.shutdown()
        server.server_close()


def _address(name: str) -> str:
    return f"model/{quote(name)}"


def crashed(detail: str) -> bytes:
    """What is said in the page's place when it cannot speak."""
    return _script.written({"status": "crashed", "detail": detail}).encode()


def _handler(root: str, files: Mapping[str, Path], job: bytes, said: Said) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with suppress(ConnectionError):  # the browser is ended as soon as its result is here
                name = unquote(self.path).removeprefix(root)
                if name == "alive":
                    self._hold()
                elif name == "job":
                    self._head(HTTPStatus.OK, "application/json", len(job))
                    self.wfile.write(job)
                elif name in files and files[name].is_file():
                    self._send(files[name])
                else:
                    self._head(HTTPStatus.NOT_FOUND, "text/plain", 0)

        def do_POST(self) -> None:
            with suppress(ConnectionError):
                if self.path == f"{root}result":
                    said.put(self.rfile.read(int(self.headers["Content-Length"])))
                self._head(HTTPStatus.OK, "text/plain", 0)

        def _hold(self) -> None:
            """Nothing is sent after the head: the read ends when the page's process does."""
            self._head(HTTPStatus.OK, "text/plain", None)
            self.wfile.flush()
            with suppress(ConnectionError):
                self.connection.recv(1)
            said.put(crashed("the page's process died"))

        def _send(self, file: Path) -> None:
            with file.open("rb") as stream:
                self._head(HTTPStatus.OK, TYPES.get(file.suffix, "application/octet-stream"), file.stat().st_size)
                shutil.copyfileobj(stream, self.wfile)

        def _head(self, status: HTTPStatus, kind: str, size: int | None) -> None:
            self.send_response(status)
            for name, value in {**ISOLATED, "Content-Type": kind}.items():
                self.send_header(name, value)
            if size is not None:
                self.send_header("Content-Length", str(size))
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Requests are no news."""

    return Handler
