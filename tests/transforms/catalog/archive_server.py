"""A local web server with one archive, and the ways in which such servers misbehave."""

import contextlib
import hashlib
import http.server
import os
import random
import threading

from transforms.catalog.download import Archive, download
from transforms.catalog.fetch import Retry

BODY = random.Random(1).randbytes(300_000)
OTHER = random.Random(2).randbytes(250_000)
QUICK = Retry(tries=3, pause=0.0, timeout=10.0)


class Server(http.server.ThreadingHTTPServer):
    """Serves `body` under every path; the attributes make it misbehave."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.body, self.version, self.content_type = BODY, '"v1"', "application/zip"
        self.cuts = []  # bytes after which each of the next answers breaks off
        self.statuses = []  # of the next answers
        self.ranges = True  # whether Range is understood
        self.checks_version = True  # whether If-Range is understood
        self.length = None  # a Content-Length that is not the body's
        self.asked = []  # where each request began

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/fma"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        server, begin = self.server, 0
        wanted = self.headers.get("Range")
        server.asked.append(int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0)
        status = server.statuses.pop(0) if server.statuses else 200
        if status != 200:
            return self.send_error(status)
        fresh = self.headers.get("If-Range", server.version) == server.version or not server.checks_version
        if wanted and server.ranges and fresh:
            begin, status = server.asked[-1], 206
            if begin >= len(server.body):
                return self.send_error(416)
        self.send_response(status)
        self.send_header("ETag", server.version)
        self.send_header("Content-Type", server.content_type)
        self.send_header("Content-Length", str(server.length or len(server.body) - begin))
        if status == 206:
            self.send_header("Content-Range", f"bytes {begin}-{len(server.body) - 1}/{len(server.body)}")
        self.end_headers()
        cut = server.cuts.pop(0) if server.cuts else None
        return self.wfile.write(server.body[begin:][:cut])

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def serving():
    """A running server."""
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield running
        finally:
            running.shutdown()
            thread.join()


def archive(body=BODY):
    return Archive("fma_small.zip", hashlib.sha1(body).hexdigest(), len(body))


def get(server, out, what=None, **options):
    return download(what or archive(), str(out), base_url=server.url, retry=QUICK, **options)


def content(path):
    with open(path, "rb") as file:
        return file.read()


def leave_part(out, body, version='"v1"'):
    (out / "fma_small.zip.part").write_bytes(body)
    (out / "fma_small.zip.part.etag").write_text(version)


def names(out):
    return sorted(os.listdir(out))
