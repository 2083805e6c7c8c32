"""A tunnel to a server without TLS, for clients whose addresses are built in and take a proxy.

    python benchmarks/tls_tunnel.py --to=HOST:PORT --folder=FOLDER

It prints its own port once it listens. A client with `https_proxy=http://127.0.0.1:PORT` reaches
the server under the names of NAMES, if it trusts FOLDER/certificate.pem, which is made anew. It
ends with its standard input.
"""

import argparse
import contextlib
import datetime
import socket
import socketserver
import ssl
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

NAMES = ("www.googleapis.com", "storage.googleapis.com")
CERTIFICATE = "certificate.pem"

_PIECE_BYTES = 2**18


def make_certificate(folder: Path) -> ssl.SSLContext:
    """Writes a certificate for NAMES that signs itself; returns what a server needs to show it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAMES[0])])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName(name) for name in NAMES])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / CERTIFICATE).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file = folder / "key.pem"
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / CERTIFICATE, key_file)
    context.set_alpn_protocols(["http/1.1"])
    return context


class _Tunnel(socketserver.BaseRequestHandler):
    """One connection: CONNECT, then TLS, then what a client and the server say to each other."""

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                piece = self.request.recv(4096)
                if not piece:
                    return
                head += piece
            self.request.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client = self.server.context.wrap_socket(self.request, server_side=True)
            with client, socket.create_connection(self.server.target) as server:
                server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                requests = threading.Thread(target=_copy, args=(client, server), daemon=True)
                requests.start()
                _copy(server, client)


def _copy(source: socket.socket, target: socket.socket) -> None:
    buffer = bytearray(_PIECE_BYTES)
    with contextlib.suppress(OSError, ValueError):
        while True:
            count = source.recv_into(buffer)
            if not count:
                break
            target.sendall(memoryview(buffer)[:count])
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 512


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--to", required=True, help="HOST:PORT of the server")
    parser.add_argument("--folder", type=Path, required=True, help="for the certificate")
    args = parser.parse_args(argv)
    host, _, port = args.to.rpartition(":")
    with _Server(("127.0.0.1", 0), _Tunnel) as server:
        server.context = make_certificate(args.folder)
        server.target = (host, int(port))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(server.server_address[1], flush=True)
        sys.stdin.read()
    return 0


if __name__ == "__main__":
    sys.exit(main())
