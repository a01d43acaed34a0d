"""A provider on the machine's loopback, run there by Debian's own Python: chat completions, plain and slowly streamed.

python3 provider.py PORT LOG - writes the Authorization header of every call into LOG, a line each.
"""

from __future__ import annotations

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PORT, LOG = int(sys.argv[1]), Path(sys.argv[2])
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


class Provider(BaseHTTPRequestHandler):
    """Answers every POST."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with LOG.open("a") as log:
            log.write(f"{self.headers['Authorization']}\n")
        if asked.get("stream"):
            self._stream()
            return
        body = {"id": "chat-1", "model": asked["model"], "choices": [{"message": {"content": "ok"}}], "usage": USAGE}
        self._head("application/json", json.dumps(body).encode())

    def _stream(self) -> None:
        """Five seconds of events."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for number in range(10):
            event = {"id": "chat-2", "model": "m", "choices": [{"delta": {"content": str(number)}}]}
            self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
            self.wfile.flush()
            time.sleep(0.5)
        self.wfile.write(b"data: [DONE]\n\n")

    def _head(self, kind: str, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


ThreadingHTTPServer(("127.0.0.1", PORT), Provider).serve_forever()
