"""The stand-in for Google Cloud Storage over HTTP: its JSON API, as our clients use it, with faults on demand.

It runs in a process of its own (`stack`). Every request is noted, so that tests can count them, and any request can be
answered by a 503, a 429, a connection that breaks off before or after the work is done, or slowly.
"""

import email.parser
import http.server
import json
import re
import socket
import struct
import threading
import time
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.gcs.faults import Faults
from tests.gcs.objects import Buckets, RefusedError, Stored

OBJECT = re.compile(r"/(?:download/)?storage/v1/b/([^/]+)/o/(.+)")
OBJECTS = re.compile(r"/(upload/)?storage/v1/b/([^/]+)/o")
BUCKET = re.compile(r"/storage/v1/b/([^/]+)(/storageLayout)?")
COPY = re.compile(r"(.+)/(rewriteTo|copyTo)/b/([^/]+)/o/(.+)")


class Server(http.server.ThreadingHTTPServer):
    """The stand-in.

    Attributes:
      buckets: all that is stored.
      faults: to come.
      requests: noted since they were last asked for, each with `at_once`, the requests that were then being answered.
      at_once: requests that are being answered.
      denied: {bucket: (401 or 403, how the names of the permissions begin that it is answered for)}.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, *buckets: str):
        super().__init__(("127.0.0.1", port), Handler)
        self.buckets = Buckets(*buckets)
        self.faults = Faults()
        self.requests: list[dict[str, Any]] = []
        self.at_once = 0
        self.lock = threading.Lock()
        self.denied: dict[str, tuple[int, str]] = {}

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away in the middle are part of the tests."""

    def control(self, what: str, values: Any) -> Any:
        """What tests ask for beside the API."""
        if what == "requests":
            with self.lock:
                found, self.requests = self.requests, []
            return found
        if what == "faults":
            return self.faults.begin(**values)
        if what == "met":
            return self.faults.met
        if what == "deny":
            self.denied = values
        elif what == "create":
            self.buckets.create(values)
        elif what == "names":
            return self.buckets.names(values)
        return None


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *args: Any) -> None:
        """Quiet."""

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _handle(self) -> None:
        parts = urlsplit(self.path)
        self.at, self.query = parts.path, dict(parse_qsl(parts.query, keep_blank_values=True))
        self.body = self._read_body()
        if self.at.startswith("/control/"):
            found = self.server.control(self.at.rpartition("/")[2], json.loads(self.body or b"null"))
            return self._send(200, json.dumps(found).encode())
        note = {"method": self.command, "path": unquote(self.at), "range": self.headers.get("Range", "")}
        with self.server.lock:
            self.server.at_once += 1
            about = {"query": self.query, "bytes": len(self.body), "at_once": self.server.at_once}
            self.server.requests.append(note | about)
        try:
            if self.at == "/token":  # where a service account's key file sends for access
                return self._send(400, b'{"error": "invalid_grant", "error_description": "Invalid JWT Signature."}')
            return self._serve(self.server.faults.next(self.command, self.at))
        finally:
            with self.server.lock:
                self.server.at_once -= 1

    def _serve(self, fault: str) -> None:
        self.cut = fault == "cut"
        if fault == "slow":
            time.sleep(self.server.faults.seconds)
        if fault == "reset":
            return self._reset()
        try:
            if fault in ("429", "503"):
                raise RefusedError(int(fault), "Please try again.")
            answer = self._answer()
        except RefusedError as error:
            return self._refuse(error.status, str(error))
        if fault == "lost":  # the work is done, but the client does not hear of it
            return self._reset()
        return self._send(*answer)

    do_GET = do_POST = do_PUT = do_DELETE = _handle  # noqa: N815

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":  # TensorFlow gives a length as well
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _send(self, status: int, data: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json"} | (headers or {})).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if getattr(self, "cut", False) and len(data) > 1:
            self.wfile.write(data[: len(data) // 2])
            return self._reset()
        self.wfile.write(data)
        return None

    def _refuse(self, status: int, message: str) -> None:
        self.cut = False
        error = {"code": status, "message": message, "errors": [{"message": message, "reason": "fake"}]}
        self._send(status, json.dumps({"error": error}).encode())

    def _reset(self) -> None:
        """Breaks the connection off, as a network does."""
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def _answer(self) -> tuple[Any, ...]:
        if matched := OBJECTS.fullmatch(self.at):
            bucket = unquote(matched[2])
            self._authorize(bucket, "storage.objects." + ("list" if self.command == "GET" else "create"))
            return (
                self._upload(bucket)
                if self.command != "GET"
                else _json(self.server.buckets.list_page(bucket, self.query))
            )
        if matched := OBJECT.fullmatch(self.at):
            return self._object(unquote(matched[1]), matched[2])
        if matched := BUCKET.fullmatch(self.at):
            self._authorize(matched[1], "storage.buckets.get")
            return _json(self.server.buckets.check_bucket(unquote(matched[1])))
        bucket, _, name = unquote(self.at).lstrip("/").partition("/")  # where TensorFlow reads
        self._authorize(bucket, "storage.objects.get")
        return self._media(self.server.buckets.get(bucket, name, self.query))

    def _authorize(self, bucket: str, permission: str) -> None:
        status, denied = self.server.denied.get(bucket, (0, ""))
        if status == 401 and permission.startswith(denied):
            raise RefusedError(401, "Invalid Credentials")
        if status == 403 and permission.startswith(denied):
            raise RefusedError(
                403,
                f"robot@project.iam.gserviceaccount.com does not have {permission} access to the Google Cloud Storage "
                f"bucket. Permission '{permission}' denied on resource (or it may not exist).",
            )

    def _object(self, bucket: str, name: str) -> tuple[Any, ...]:
        buckets = self.server.buckets
        if matched := COPY.fullmatch(name):
            self._authorize(unquote(matched[3]), "storage.objects.create")
            source = buckets.get(bucket, unquote(matched[1]), {})
            copied = buckets.put(unquote(matched[3]), unquote(matched[4]), source.data, self.query).to_json()
            size = {"totalBytesRewritten": copied["size"], "objectSize": copied["size"], "done": True}
            return _json({"resource": copied} | size if matched[2] == "rewriteTo" else copied)
        if name.endswith("/compose") and self.command == "POST":
            sources = [source["name"] for source in json.loads(self.body)["sourceObjects"]]
            return _json(buckets.compose(bucket, unquote(name.removesuffix("/compose")), sources, self.query).to_json())
        name = unquote(name)
        self._authorize(bucket, "storage.objects." + {"GET": "get", "DELETE": "delete"}[self.command])
        if self.command == "DELETE":
            buckets.delete(bucket, name, self.query)
            return (204,)
        found = buckets.get(bucket, name, self.query)
        return self._media(found) if self.query.get("alt") == "media" else _json(found.to_json())

    def _media(self, found: Stored) -> tuple[Any, ...]:
        headers = {
            "Content-Type": found.content_type,
            "x-goog-generation": str(found.generation),
            "x-goog-hash": f"crc32c={found.crc32c}",
            "x-goog-stored-content-length": str(len(found.data)),
        }
        matched = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not matched:
            return 200, found.data, headers
        start, end = int(matched[1]), int(matched[2] or len(found.data))
        if start >= len(found.data):
            raise RefusedError(416, "The requested range cannot be satisfied.")
        data = found.data[start : end + 1]
        headers["Content-Range"] = f"bytes {start}-{start + len(data) - 1}/{len(found.data)}"
        return 206, data, headers

    def _upload(self, bucket: str) -> tuple[Any, ...]:
        buckets, query = self.server.buckets, self.query
        if "upload_id" in query:
            return self._continue_upload(query["upload_id"])
        if query["uploadType"] == "resumable":
            meta = json.loads(self.body) if self.body else {}
            upload_id = buckets.begin_upload(bucket, query.get("name") or meta["name"], query, meta.get("crc32c"))
            host = self.headers.get("Host", "")
            where = f"http://{host}/upload/storage/v1/b/{bucket}/o?uploadType=resumable&upload_id={upload_id}"
            return 200, b"", {"Location": where}
        if query["uploadType"] == "media":
            return _json(buckets.put(bucket, query["name"], self.body, query).to_json())
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        meta_part, media = email.parser.BytesParser().parsebytes(head + self.body).get_payload()
        meta = json.loads(meta_part.get_payload(decode=True))
        boundary = re.search(r'boundary="?([^";]+)', self.headers["Content-Type"])[1].encode()
        # The parser would take a payload's line ends for its own: the bytes are cut out instead.
        data = self.body.split(b"--" + boundary)[2].partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
        assert len(data) >= len(media.get_payload(decode=True).rstrip()) - 2
        return _json(buckets.put(bucket, query.get("name") or meta["name"], data, query, meta.get("crc32c")).to_json())

    def _continue_upload(self, upload_id: str) -> tuple[Any, ...]:
        matched = re.fullmatch(
            r"bytes (?:(\d+)-(\d+|\*)|\*)/(\d+|\*)", self.headers.get("Content-Range", "bytes 0-*/*")
        )
        start = int(matched[1]) if matched[1] else None
        total = int(matched[3]) if matched[3] != "*" else None
        if "Content-Range" not in self.headers:
            start, total = 0, len(self.body)
        upload = self.server.buckets.continue_upload(upload_id, self.body, start, total)
        if upload.done:
            return _json(upload.done.to_json())
        return 308, b"", {"Range": f"bytes=0-{len(upload.data) - 1}"} if upload.data else {}


def _json(values: dict[str, Any]) -> tuple[int, bytes]:
    return 200, json.dumps(values).encode()
