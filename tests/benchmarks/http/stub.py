"""A completions server: python -m tests.benchmarks.http.stub PORT [TOKENS]

It streams "a" as often as requested, at most TOKENS times, and answers `GET /v1/models`.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MAX_TOKENS = int(sys.argv[2]) if len(sys.argv) > 2 else 1000


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.begin("application/json")
        self.wfile.write(json.dumps({"data": [{"id": "stub"}]}).encode())

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.begin("text/event-stream")
        count = min(body["max_tokens"], MAX_TOKENS)
        logprobs = {"tokens": ["token_id:300"]} if body.get("logprobs") else None
        for _ in range(count):
            self.event({"choices": [{"index": 0, "text": "a", "logprobs": logprobs}]})
        self.event({"choices": [], "usage": {"completion_tokens": count}})
        self.wfile.write(b"data: [DONE]\n\n")

    def begin(self, kind: str) -> None:
        self.send_response(200)
        self.send_header("content-type", kind)
        self.end_headers()

    def event(self, data: dict[str, Any]) -> None:
        self.wfile.write(f"data: {json.dumps(data)}\n\n".encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
