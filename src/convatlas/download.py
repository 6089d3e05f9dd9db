"""One http(s) address into one file, with its digest and news of what takes long.

It knows neither caches nor mirrors.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO, Any
from urllib import request
from urllib.error import HTTPError, URLError

__all__ = ["Received", "UnreachableError", "download"]

_log = logging.getLogger(__name__)
_CHUNK = 1 << 20
_QUIET_SECONDS = 2.0
_TIMEOUT_SECONDS = 30.0
_AGENT = "convatlas"  # some servers refuse urllib's own name


class UnreachableError(Exception):
    """The server does not answer, refuses, or breaks off; the message says which in a few words.

    No OSError, so that it is told from a disk that cannot be written.
    """


@dataclass(frozen=True, slots=True)
class Received:
    """What arrived.

    Attributes:
        sha256: Digest of the bytes.
        announced: The SHA-256 that the Hugging Face Hub named before it sent them, or "".
    """

    sha256: str
    announced: str


def download(url: str, path: Path) -> Received:
    """Write what ``url`` holds to ``path``; after 2 seconds log every 2 seconds how far it is.

    Raises:
        UnreachableError: No answer, an answer other than 200, or an incomplete one.
        OSError: ``path`` cannot be written.
    """
    redirects = _Redirects()
    digest, done = hashlib.sha256(), 0
    with _open(url, redirects) as response, path.open("wb") as file:
        total = int(response.headers.get("Content-Length") or 0)
        news = time.monotonic() + _QUIET_SECONDS
        for chunk in _chunks(response):
            file.write(chunk)
            digest.update(chunk)
            done += len(chunk)
            if time.monotonic() >= news:
                news = time.monotonic() + _QUIET_SECONDS
                _log.info(
                    "%s: %.1f of %s MB", url, done / 1e6, f"{total / 1e6:.1f}" if total else "?"
                )
    if total and done != total:
        raise UnreachableError(f"{done:,} of {total:,} bytes")
    return Received(digest.hexdigest(), redirects.announced)


class _Redirects(request.HTTPRedirectHandler):
    """Follows redirects, but not from https to http, and keeps the Hub's word on the digest."""

    announced = ""

    def redirect_request(
        self,
        req: request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> request.Request | None:
        """Return the next request.

        The Hub answers a request for a large file with a redirect to its storage, and its own
        ``X-Linked-ETag`` is the SHA-256 of the file; that of a small file is a git hash.
        """
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise UnreachableError("a redirect from https to http, which is not followed")
        tag = headers.get("X-Linked-ETag", "").strip('"')
        if len(tag) == 64:
            self.announced = tag.lower()
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open(url: str, redirects: _Redirects) -> Any:
    """Return the response; only http and https have a handler, so no other scheme is opened."""
    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler(),
        request.HTTPHandler(),
        request.HTTPSHandler(),
        request.HTTPDefaultErrorHandler(),
        request.HTTPErrorProcessor(),
        request.UnknownHandler(),
        redirects,
    ):
        opener.add_handler(handler)
    opener.addheaders = [("User-Agent", _AGENT)]
    try:
        return opener.open(url, timeout=_TIMEOUT_SECONDS)
    except (OSError, HTTPException, ValueError) as error:
        raise UnreachableError(_why(error)) from error


def _chunks(response: Any) -> Iterator[bytes]:
    try:
        while chunk := response.read(_CHUNK):
            yield chunk
    except (OSError, HTTPException) as error:
        raise UnreachableError(f"a connection that broke off ({_why(error)})") from error


def _why(error: Exception) -> str:
    if isinstance(error, HTTPError):
        error.close()
        return f"{error.code} {error.reason.splitlines()[0]}"
    reason = error.reason if isinstance(error, URLError) else error
    text = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    return str(text).splitlines()[0]
