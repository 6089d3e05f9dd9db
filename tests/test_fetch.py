"""Downloads from a real server: whole and checked, or not at all; and never when offline."""

from __future__ import annotations

import hashlib
import logging
import socket

import pytest

from convatlas import download
from convatlas.errors import FetchError, OutputError
from convatlas.fetch import Remote, cache_folder, digest_of, fetch, is_offline, locate
from local_server import Answer, serve

BODY = bytes(range(256)) * 8192  # 2 MiB: two chunks
DIGEST = hashlib.sha256(BODY).hexdigest()


@pytest.fixture(autouse=True)
def _online(monkeypatch):
    monkeypatch.delenv("CONVATLAS_OFFLINE")


@pytest.fixture
def no_socket(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def _files(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_a_digest_is_that_of_the_standard(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    assert digest_of(tmp_path / "abc") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


@pytest.mark.parametrize("known", [DIGEST, DIGEST[:8], ""])
def test_a_file_is_downloaded_once_and_its_digest_kept(tmp_path, known):
    with serve({"/net.pth": Answer(BODY)}) as (base, asked):
        remote = Remote(f"{base}/net.pth", "net.pth", known)
        path = fetch(remote, tmp_path)
        assert fetch(remote, tmp_path) == path == tmp_path / "net.pth"
    assert asked == ["/net.pth"]
    assert path.read_bytes() == BODY
    assert (tmp_path / "net.pth.sha256").read_text() == f"{DIGEST}  net.pth\n"
    assert _files(tmp_path) == ["net.pth", "net.pth.sha256"]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(status=404), "gives 404 Not Found"),
        (Answer(status=503), "gives 503 Service Unavailable"),
        (Answer(BODY[:-1], length=len(BODY)), "gives (2,097,151 of 2,097,152 bytes|a connection)"),
        (Answer(status=302, headers={"Location": "file:///etc/passwd"}), "gives "),
        (Answer(status=302, headers={"Location": "/net.pth"}), "gives 302 "),
    ],
    ids=["missing", "unavailable", "truncated", "redirected to a file", "redirected for ever"],
)
def test_a_failed_download_leaves_nothing_and_says_what_to_do(tmp_path, answer, said):
    with serve({"/net.pth": answer}) as (base, _):
        url = f"{base}/net.pth"
        with pytest.raises(FetchError, match=said) as caught:
            fetch(Remote(url, "net.pth", DIGEST[:8]), tmp_path)
    text = str(caught.value)
    assert f"download {url} (SHA-256 begins with {DIGEST[:8]})" in text
    assert f"put it at {tmp_path / 'net.pth'}" in text
    assert "\n" not in text
    assert _files(tmp_path) == []


def test_a_server_that_is_not_there(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(FetchError, match=r"gives Connection refused: download .* \(no SHA-256"):
        fetch(Remote(f"http://127.0.0.1:{port}/net.pth", "net.pth"), tmp_path)
    assert _files(tmp_path) == []


def test_a_server_that_falls_silent(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "_TIMEOUT_SECONDS", 0.2)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/net.pth"
        with pytest.raises(FetchError, match="gives timed out"):  # accepts and says nothing
            fetch(Remote(url, "net.pth"), tmp_path)
    assert _files(tmp_path) == []


def test_an_address_without_a_server_is_one_line(tmp_path):
    with pytest.raises(FetchError, match=r"expected net\.pth at hand"):
        fetch(Remote("ftp://127.0.0.1/net.pth", "net.pth"), tmp_path)


@pytest.mark.parametrize("known", ["0" * 64, "0" * 8])
def test_another_digest_is_refused_and_not_kept(tmp_path, known):
    with serve({"/net.pth": Answer(BODY)}) as (base, _):
        message = f"expected SHA-256 0000.* of {base}/net.pth, got {DIGEST[:12]}…"
        with pytest.raises(FetchError, match=message):
            fetch(Remote(f"{base}/net.pth", "net.pth", known), tmp_path)
    assert _files(tmp_path) == []


def test_a_redirect_is_followed_and_the_announced_digest_holds(tmp_path):
    for announced, fits in ((DIGEST, True), ("0" * 64, False), ("0" * 40, True)):
        there = {"Location": "/storage", "X-Linked-ETag": f'"{announced}"'}
        answers = {"/net.pth": Answer(status=302, headers=there), "/storage": Answer(BODY)}
        with serve(answers) as (base, asked):
            remote = Remote(f"{base}/net.pth", f"{announced}.pth")
            if fits:
                assert fetch(remote, tmp_path).read_bytes() == BODY
            else:
                with pytest.raises(FetchError, match="the file was changed or damaged"):
                    fetch(remote, tmp_path)
        assert asked == ["/net.pth", "/storage"]


def test_https_is_not_left_for_http():
    request = download.request.Request("https://example.org/net.pth")
    with pytest.raises(download.UnreachableError, match="from https to http"):
        download._Redirects().redirect_request(request, None, 302, "", {}, "http://example.org/")


def test_a_body_of_unknown_length_is_taken_whole(tmp_path):
    with serve({"/net.pth": Answer(BODY, length=None)}) as (base, _):
        assert fetch(Remote(f"{base}/net.pth", "net.pth"), tmp_path).read_bytes() == BODY


def test_ctrl_c_in_the_middle_leaves_nothing(tmp_path, monkeypatch):
    chunks = download._chunks

    def interrupted(response):
        yield next(chunks(response))
        assert [name for name in _files(tmp_path) if name.endswith(".tmp")]
        raise KeyboardInterrupt

    monkeypatch.setattr(download, "_chunks", interrupted)
    with serve({"/net.pth": Answer(BODY)}) as (base, _):
        with pytest.raises(KeyboardInterrupt):
            fetch(Remote(f"{base}/net.pth", "net.pth"), tmp_path)
        assert _files(tmp_path) == []
        monkeypatch.undo()
        monkeypatch.delenv("CONVATLAS_OFFLINE")
        assert fetch(Remote(f"{base}/net.pth", "net.pth"), tmp_path).read_bytes() == BODY


@pytest.mark.parametrize("known", ["", DIGEST[:8], DIGEST])
def test_a_cached_file_that_was_damaged_is_named(tmp_path, known):
    with serve({"/net.pth": Answer(BODY)}) as (base, _):
        remote = Remote(f"{base}/net.pth", "net.pth", known)
        path = fetch(remote, tmp_path)
        path.write_bytes(BODY[:-1] + b"x")
        with pytest.raises(FetchError, match=rf"of {path}, got .* damaged; delete it"):
            fetch(remote, tmp_path)


@pytest.mark.parametrize("variable", ["CONVATLAS_OFFLINE", "HF_HUB_OFFLINE"])
@pytest.mark.usefixtures("no_socket")
def test_offline_opens_no_socket(tmp_path, monkeypatch, variable):
    monkeypatch.setenv(variable, "1")
    monkeypatch.setenv("CONVATLAS_MIRROR", "http://127.0.0.1:9/")
    remote = Remote("https://example.org/net.pth", "net.pth", DIGEST)
    with pytest.raises(FetchError, match=rf"closes the network: download .*SHA-256 {DIGEST}"):
        fetch(remote, tmp_path)
    (tmp_path / "net.pth").write_bytes(BODY)
    assert fetch(remote, tmp_path) == tmp_path / "net.pth"


@pytest.mark.usefixtures("no_socket")
def test_the_guard_notices_a_socket(tmp_path):
    with pytest.raises(AssertionError, match="a socket was opened"):
        fetch(Remote("http://127.0.0.1:9/net.pth", "net.pth"), tmp_path)


def test_zero_leaves_the_network_open(monkeypatch):
    monkeypatch.setenv("CONVATLAS_OFFLINE", "0")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    assert not is_offline()


@pytest.mark.usefixtures("no_socket")
def test_a_mirror_folder_serves_without_a_network(tmp_path, monkeypatch):
    mirror, cache = tmp_path / "mirror", tmp_path / "cache"
    mirror.mkdir()
    (mirror / "net.pth").write_bytes(BODY)
    monkeypatch.setenv("CONVATLAS_MIRROR", str(mirror))
    remote = Remote("https://example.org/net.pth", "net.pth", DIGEST)
    assert fetch(remote, cache) == locate(remote, cache) == mirror / "net.pth"
    (mirror / "net.pth").write_bytes(BODY[1:])
    with pytest.raises(FetchError, match=f"of {mirror / 'net.pth'}, got"):
        fetch(remote, cache)


def test_a_mirror_address_is_asked_first_and_may_lack_the_file(tmp_path, monkeypatch):
    answers = {"/mirror/first%40v1.pth": Answer(BODY), "/second.pth": Answer(BODY)}
    with serve(answers) as (base, asked):
        monkeypatch.setenv("CONVATLAS_MIRROR", f"{base}/mirror/")
        fetch(Remote(f"{base}/first.pth", "first@v1.pth"), tmp_path)
        fetch(Remote(f"{base}/second.pth", "second.pth"), tmp_path)
        with pytest.raises(
            FetchError, match=r"/mirror/no.pth gives 404.*; http.*/no.pth gives 404"
        ):
            fetch(Remote(f"{base}/no.pth", "no.pth"), tmp_path)
    assert asked[:3] == ["/mirror/first%40v1.pth", "/mirror/second.pth", "/second.pth"]


def test_a_cache_that_cannot_be_written_is_no_network_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with serve({"/net.pth": Answer(BODY)}) as (base, _), pytest.raises(OutputError):
        fetch(Remote(f"{base}/net.pth", "net.pth"), tmp_path / "file")


def test_what_takes_long_is_reported(tmp_path, monkeypatch, caplog):
    seconds = iter([0.0, 1.9, 2.0, 2.0, 3.9])  # start; one reading per chunk, one per report
    monkeypatch.setattr(download.time, "monotonic", lambda: next(seconds))
    with (
        caplog.at_level(logging.INFO),
        serve({"/net.pth": Answer(BODY + BODY[: 1 << 20])}) as (
            base,
            _,
        ),
    ):
        fetch(Remote(f"{base}/net.pth", "net.pth"), tmp_path)
    assert caplog.messages == [f"{base}/net.pth: 2.1 of 3.1 MB"]


def test_the_cache_is_where_the_platform_keeps_such_files(monkeypatch, tmp_path):
    monkeypatch.setenv("CONVATLAS_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("CONVATLAS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    monkeypatch.setenv("HOME", str(tmp_path))
    for platform, expected in (
        ("linux", "xdg/convatlas"),
        ("darwin", "Library/Caches/convatlas"),
        ("win32", "local/convatlas"),
    ):
        monkeypatch.setattr("sys.platform", platform)
        assert cache_folder() == tmp_path / expected
