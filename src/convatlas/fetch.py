"""Published files in the user's cache: downloaded once, checked, there completely or not at all.

It knows nothing of what is in them. Environment: ``CONVATLAS_CACHE`` names another cache folder,
``CONVATLAS_MIRROR`` a folder or URL that holds the files by name and is asked before their
publishers, ``CONVATLAS_OFFLINE=1`` or ``HF_HUB_OFFLINE=1`` closes the network.
"""

from __future__ import annotations

import hashlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from convatlas.errors import FetchError
from convatlas.files import replace_file, stage_file, write_text

__all__ = ["Remote", "cache_folder", "digest_of", "fetch", "is_offline", "locate"]


@dataclass(frozen=True, slots=True)
class Remote:
    """A file that somebody publishes.

    Attributes:
        url: Where it is published.
        name: What it is called in the cache and in a mirror.
        sha256: Its digest; the first digits of it; or "" when nobody published any.
    """

    url: str
    name: str
    sha256: str = ""

    def __str__(self) -> str:
        """Return where it is and how to know it."""
        if not self.sha256:
            return f"{self.url} (no SHA-256 is known)"
        known = "SHA-256" if len(self.sha256) == 64 else "SHA-256 begins with"
        return f"{self.url} ({known} {self.sha256})"


def cache_folder() -> Path:
    """Return the folder for what can be had again: ``CONVATLAS_CACHE``, or the user's cache."""
    if asked := os.environ.get("CONVATLAS_CACHE"):
        return Path(asked).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "convatlas"


def is_offline() -> bool:
    """Say whether the user closed the network."""
    closed = (os.environ.get(name, "") for name in ("CONVATLAS_OFFLINE", "HF_HUB_OFFLINE"))
    return any(value.lower() in ("1", "true", "yes", "on") for value in closed)


def locate(remote: Remote, folder: Path) -> Path | None:
    """Return the file in ``folder`` or in a mirror folder, unchecked, or None: no network."""
    mirror = Path(_mirror()).expanduser() if _mirror() and not _is_url(_mirror()) else folder
    return next((p for f in (folder, mirror) if (p := f / remote.name).is_file()), None)


def fetch(remote: Remote, folder: Path) -> Path:
    """Return ``remote`` on this disk, checked, after downloading it to ``folder`` if need be.

    Raises:
        FetchError: It cannot be had, or is not what was published; nothing is left behind.
        OutputError: ``folder`` cannot be written.
    """
    if found := locate(remote, folder):
        _check(found, digest_of(found), (remote.sha256, _recorded(found)), "delete it")
        return found
    path = folder / remote.name
    if is_offline():
        raise _unavailable(remote, path, "CONVATLAS_OFFLINE or HF_HUB_OFFLINE closes the network")
    from convatlas.download import UnreachableError

    mirror = f"{_mirror().rstrip('/')}/{quote(remote.name)}" if _is_url(_mirror()) else ""
    reasons = []
    for url in filter(None, (mirror, remote.url)):
        try:
            _download(url, remote, path)
        except UnreachableError as error:
            reasons.append(f"{url} gives {error}")
        else:
            return path
    raise _unavailable(remote, path, "; ".join(reasons))


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _mirror() -> str:
    return os.environ.get("CONVATLAS_MIRROR", "")


def _is_url(text: str) -> bool:
    return text.startswith(("http://", "https://"))


def _recorded(path: Path) -> str:
    """Return the digest that the download of ``path`` left beside it, or ``""``."""
    beside = _beside(path)
    return beside.read_text(encoding="utf-8")[:64] if beside.is_file() else ""


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _check(path: Path | str, digest: str, expected: tuple[str, ...], advice: str) -> None:
    for known in expected:
        if not digest.startswith(known):
            raise FetchError(
                f"expected SHA-256 {known[:12]}… of {path}, got {digest[:12]}…: "
                f"the file was changed or damaged; {advice}"
            )


def _unavailable(remote: Remote, path: Path, reason: str) -> FetchError:
    return FetchError(
        f"expected {remote.name} at hand or within reach, but {reason}: download {remote} and put "
        f"it at {path}, or under that name in the folder that CONVATLAS_MIRROR names"
    )


def _download(url: str, remote: Remote, path: Path) -> None:
    """Write what ``url`` holds to ``path``, and its digest beside it."""
    from convatlas.download import Received, download

    received: list[Received] = []
    staged = stage_file(path, lambda file: received.append(download(url, file)))
    try:
        digest, announced = received[0].sha256, received[0].announced
        _check(url, digest, (remote.sha256, announced), "nothing was kept, try another mirror")
        write_text(_beside(path), f"{digest}  {path.name}\n")
        replace_file(staged, path)
    except BaseException:  # Ctrl-C too
        staged.unlink(missing_ok=True)
        raise
