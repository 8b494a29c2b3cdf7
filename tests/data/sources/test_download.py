import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from imbal_jax.data.sources.download import fetch
from imbal_jax.errors import InputError

CONTENT = bytes(range(256)) * 9000  # more than two blocks
MD5 = hashlib.md5(CONTENT).hexdigest()
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server():
    """Address of a server that sends CONTENT, half of it under /cut, 404 under /missing; and what was asked."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            if self.path == "/missing":
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT[: len(CONTENT) // 2] if self.path == "/cut" else CONTENT)

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}", asked
        http.shutdown()
        thread.join()


def test_file_arrives_whole_and_progress_is_told(server, tmp_path):
    told = []
    path = fetch(f"{server[0]}/file", tmp_path / "new" / "a.bin", md5=MD5, progress=lambda *p: told.append(p))
    assert path.read_bytes() == CONTENT
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert [p.name for p in path.parent.iterdir()] == ["a.bin"]


def test_file_that_is_there_is_not_downloaded_again(server, tmp_path):
    for _ in range(2):
        fetch(f"{server[0]}/file", tmp_path / "a.bin", sha256=SHA256)
    assert server[1] == ["/file"]


def test_file_url_works(tmp_path):
    (tmp_path / "source").write_bytes(CONTENT)
    assert fetch((tmp_path / "source").as_uri(), tmp_path / "copy", md5=MD5.upper()).read_bytes() == CONTENT


def test_wrong_checksum_names_both_sums_and_leaves_nothing(server, tmp_path):
    with pytest.raises(InputError, match=rf"md5 {MD5}, expected {'0' * 32}"):
        fetch(f"{server[0]}/file", tmp_path / "a.bin", md5="0" * 32)
    assert list(tmp_path.iterdir()) == []


def test_file_placed_by_hand_with_a_wrong_checksum_is_refused_and_kept(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"other")
    with pytest.raises(InputError, match=rf"remove it to download it again.*expected {SHA256}"):
        fetch("http://127.0.0.1:9/file", tmp_path / "a.bin", sha256=SHA256)
    assert (tmp_path / "a.bin").read_bytes() == b"other"


@pytest.mark.parametrize(("path", "reason"), [("/cut", "ended after"), ("/missing", "404")])
def test_failed_transfer_tells_where_to_place_the_file_and_leaves_nothing(server, tmp_path, path, reason):
    with pytest.raises(InputError, match=rf"cannot download .*{path} .*{reason}.*by hand at .*a.bin"):
        fetch(f"{server[0]}{path}", tmp_path / "a.bin")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/file", "no address", "file:///no/such/file"])
def test_unreachable_address_is_named(tmp_path, url):
    with pytest.raises(InputError, match=f"cannot download {url}"):
        fetch(url, tmp_path / "a.bin")


def test_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot make the folder of .*file/a\.bin"):
        fetch("http://127.0.0.1:9/file", tmp_path / "file" / "a.bin")
