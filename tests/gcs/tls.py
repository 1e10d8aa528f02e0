"""The way by which TensorFlow's own gs:// reaches the stand-in: it knows Google's addresses only, over TLS.

It heeds https_proxy and CURL_CA_BUNDLE, so this is a proxy that ends the TLS of Google's host names with a certificate
of its own and passes the bytes on.
"""

import datetime
import os
import socket
import socketserver
import ssl
import threading
from typing import Any

HOSTS = ("www.googleapis.com", "storage.googleapis.com", "oauth2.googleapis.com")


def make_certificate(folder: str) -> tuple[str, str]:
    """Paths of a new certificate for `HOSTS` and of its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "stand-in")])
    now, days = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=2)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = (
        builder.serial_number(x509.random_serial_number()).not_valid_before(now - days).not_valid_after(now + days)
    )
    names = x509.SubjectAlternativeName([x509.DNSName(host) for host in HOSTS])
    builder = builder.add_extension(names, False).add_extension(x509.BasicConstraints(True, None), True)
    certificate = builder.sign(key, hashes.SHA256())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    paths = os.path.join(folder, "certificate.pem"), os.path.join(folder, "key.pem")
    for path, data in zip(paths, (certificate.public_bytes(serialization.Encoding.PEM), private), strict=True):
        with open(path, "wb") as file:
            file.write(data)
    return paths


class Proxy(socketserver.ThreadingTCPServer):
    """Passes what is said to Google on to a local port."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, target: int, folder: str):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = target
        self.certificate, key = make_certificate(folder)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(self.certificate, key)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away in the middle are part of the tests."""

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs before TensorFlow's first request."""
        address = f"http://127.0.0.1:{self.server_address[1]}"
        return {
            "https_proxy": address,
            "http_proxy": address,  # the address of an upload's session comes back as http://
            "no_proxy": "127.0.0.1,localhost",
            "CURL_CA_BUNDLE": self.certificate,
            "NO_GCE_CHECK": "true",
            "GCS_RETRY_CONFIG_INIT_DELAY_TIME_US": "50000",
        }


class _Handler(socketserver.BaseRequestHandler):
    server: Proxy

    def handle(self) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            data = self.request.recv(4096)
            if not data:
                return
            head += data
        upstream = socket.create_connection(("127.0.0.1", self.server.target))
        for end in (self.request, upstream):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if head.startswith(b"CONNECT "):
            self.request.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            client = self.server.context.wrap_socket(self.request, server_side=True)
        else:
            method, address, rest = head.split(b" ", 2)
            path = b"/" + address.split(b"/", 3)[3]
            upstream.sendall(b" ".join((method, path, rest)))
            client = self.request
        back = threading.Thread(target=_pump, args=(upstream, client), daemon=True)
        back.start()
        _pump(client, upstream)
        back.join(5)


def _pump(source: Any, target: Any) -> None:
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
    except OSError:
        pass  # one of the two went away, on purpose or not
    for end in (source, target):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            continue
