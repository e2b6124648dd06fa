"""What a kubelet tells the API server of its containers' output, over HTTPS: what `kubectl logs` shows."""

from __future__ import annotations

import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO
from urllib.parse import parse_qs, urlsplit

POLL_SECONDS = 0.2


def serve_logs(folder: Path, runs: Callable[[str], bool]) -> int:
    """Serve ``/containerLogs/NAMESPACE/POD/CONTAINER`` on a free port of loopback, in a thread; returns the port.

    The output of a pod is ``pod-NAME.log`` in ``folder``; who follows it gets more for as long as ``runs(NAME)``.
    """

    class Logs(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = urlsplit(self.path)
            words = asked.path.strip("/").split("/")
            path = folder / f"pod-{words[2]}.log" if len(words) == 4 and words[0] == "containerLogs" else None
            if path is None or not path.is_file():
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.end_headers()
            follows = parse_qs(asked.query).get("follow") == ["true"]
            with path.open("rb") as log:
                copy(log, self.wfile, lambda: follows and runs(words[2]))  # type: ignore[arg-type]

        def log_message(self, format: str, *arguments: object) -> None:
            print(format % arguments, flush=True)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Logs)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate(folder))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return int(server.server_address[1])


def copy(log: BinaryIO, to: BinaryIO, goes_on: Callable[[], bool]) -> None:
    """All there is, and what comes as long as it goes on."""
    last = False
    while True:
        to.write(log.read())
        to.flush()
        if last:
            return
        last = not goes_on()  # once more then: what was written meanwhile
        time.sleep(POLL_SECONDS if not last else 0)


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate that signs itself, and its key, as kubelets make them."""
    made, key = folder / "kubelet.crt", folder / "kubelet.key"
    subject = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    subprocess.run([*command, "-keyout", str(key), "-out", str(made)], check=True, capture_output=True)
    return made, key
