"""An S3 server on loopback, moto's, whose requests are counted and can be slowed, refused or stopped."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from moto.s3.models import s3_backends
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

KEYS = {
    "AWS_ACCESS_KEY_ID": "loopback",
    "AWS_SECRET_ACCESS_KEY": "loopback",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
EXPIRED = b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"
DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
BUSY = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


@dataclass
class LoopbackS3:
    """The server. `requests` lists them as `GET /bucket/key`; `answer` may take a request's place."""

    requests: list[str] = field(default_factory=list)
    delay: float = 0.0
    """Seconds that every request takes longer."""
    answer: Callable[[str, str], tuple[str, bytes] | None] | None = None
    """Given method and path, status and body of another answer than the store's; None for the store's."""
    port: int = 0

    def __post_init__(self) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._app = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._counted, threaded=True)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        return {**KEYS, "AWS_ENDPOINT_URL": self.url}

    def count(self, method: str = "") -> int:
        return sum(line.startswith(method) for line in self.requests)

    def bucket(self, name: str) -> Any:
        """What is behind the server, to fill a bucket without requests."""
        return s3_backends["123456789012"]["aws"]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _counted(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        query = environ.get("QUERY_STRING", "")
        self.requests.append(f"{method} {path}{'?' + query if 'list-type' in query else ''}")
        if self.delay:
            time.sleep(self.delay)
        other = self.answer(method, path) if self.answer is not None else None
        if other is None:
            return self._app(environ, start)
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        body = b"" if method == "HEAD" else other[1]
        start(other[0], [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
        return [body]
