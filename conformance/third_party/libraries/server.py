"""A completions server for a library: one request at a time, without streams.

It passes each field of a request to the library. A field that the library lacks is a 400 that names
it, unless it is null or has its off value. So is a value that the library refuses.
"""

import argparse
import heapq
import json
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, Protocol

Json = dict[str, Any]
Fields = Mapping[str, Any]
Prompt = str | list[int]

DEFAULT_MAX_TOKENS = 16
BACKLOG = 128  # connections that wait
BASIC = frozenset({"model", "prompt", "max_tokens", "temperature", "user"})
# A library that lacks a parameter honors its off value.
OFF: Fields = {
    "top_p": 1,
    "min_p": 0,
    "top_k": 0,
    "n": 1,
    "stream": False,
    "echo": False,
    "stop": [],
    "stop_token_ids": [],
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "repetition_penalty": 1,
    "return_tokens_as_token_ids": False,
}


class Refused(ValueError):
    """A request that the library cannot honor. The message begins with the field."""


class Library(Protocol):
    """A library with a model. fields: the request fields that `complete` honors, in addition to
    those of `BASIC`.
    """

    fields: frozenset[str]

    def complete(self, prompt: Prompt, fields: Fields) -> Json:
        """Return `choices` and `usage` of a response. fields: null values are left out.

        Raises ValueError, TypeError or OverflowError for values that the library refuses.
        """


@dataclass(frozen=True)
class Tokens:
    """The result of a library that returns token ids. rows: the log-probabilities of all tokens at
    each step, empty unless they were requested. ended: by the last token, not by the length.
    """

    prompt: Sequence[int]
    output: Sequence[int]
    rows: Sequence[Sequence[float]]
    ended: bool

    def as_response(self, decode: Callable[[Sequence[int]], str], fields: Fields) -> Json:
        """Return `choices` and `usage`. The token that ended the output is not part of the text.

        decode: the text of token ids, by the library.
        """
        shown = self.output[:-1] if self.ended else self.output
        start = len(decode(self.prompt))
        texts = [decode([*self.prompt, *shown[:i]])[start:] for i in range(len(shown) + 1)]
        reason = "stop" if self.ended else "length"
        choice: Json = {"index": 0, "text": texts[-1], "logprobs": None, "finish_reason": reason}
        if (count := fields.get("logprobs")) is not None:
            as_ids = fields.get("return_tokens_as_token_ids")

            def name(token: int) -> str:
                return f"token_id:{token}" if as_ids else decode([token])

            entries = list(zip(self.output, self.rows, strict=True))
            choice["logprobs"] = {
                "tokens": [name(token) for token in self.output],
                "token_logprobs": [row[token] for token, row in entries],
                "top_logprobs": [
                    {name(top): row[top] for top in top_tokens(row, count, token)}
                    for token, row in entries
                ],
                "text_offset": [len(text) for text in texts[: len(self.output)]],
            }
        return {"choices": [choice], "usage": usage(len(self.prompt), len(self.output))}


def top_tokens(row: Sequence[float], count: int, chosen: int) -> list[int]:
    """Return the ids of the most likely tokens, and the chosen one."""
    top = heapq.nlargest(count, range(len(row)), key=row.__getitem__)
    return top if chosen in top else [*top, chosen]


def usage(prompt_tokens: int, completion_tokens: int) -> Json:
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def integral(value: Any) -> Any:
    """Return 5 for 5.0, which JSON does not tell apart."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def respond(library: Library, name: str, body: Any) -> Json:
    """Return the response to a request body. Raises what `complete` raises for a 400."""
    if not isinstance(body, dict):
        raise Refused("body: must be an object")
    fields = {key: integral(value) for key, value in body.items() if value is not None}
    for key, value in fields.items():
        if key not in BASIC | library.fields and (key not in OFF or value != OFF[key]):
            raise Refused(f"{key}: this library does not support it")
    prompt: Any = fields.get("prompt")
    is_ids = isinstance(prompt, list) and all(type(token) is int for token in prompt)
    if not isinstance(prompt, str) and not is_ids:
        raise Refused("prompt: must be a text or a list of token ids")
    answer = library.complete(prompt, {"max_tokens": DEFAULT_MAX_TOKENS} | fields)
    created = {"id": f"cmpl-{time.time_ns():x}", "created": int(time.time())}
    return {**created, "object": "text_completion", "model": name, **answer}


class Handler(BaseHTTPRequestHandler):
    """HTTP/1.0: a connection has one request, so that a client with several gets all answers."""

    server: "LibraryServer"

    def do_GET(self) -> None:
        models = [{"id": self.server.name, "object": "model"}]
        self.send(200, {"object": "list", "data": models})

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send(*self.answer(content))

    def answer(self, content: bytes) -> tuple[int, Json]:
        """Return the status and the body of a response."""
        if not self.path.endswith("/completions"):
            return 404, problem(f"{self.path}: no such path")
        try:
            return 200, respond(self.server.library, self.server.name, json.loads(content))
        except (ValueError, TypeError, OverflowError) as error:
            return 400, problem(str(error))
        except Exception as error:
            traceback.print_exc()
            return 500, problem(f"{type(error).__name__}: {error}")

    def send(self, status: int, body: Json) -> None:
        content = json.dumps(body, default=float).encode()  # libraries have numbers of NumPy
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Write no line for each request."""


def problem(message: str) -> Json:
    param = message.partition(":")[0]
    return {"error": {"message": message, "type": "invalid_request_error", "param": param}}


class LibraryServer(HTTPServer):
    """The server. It calls the library on one thread, the one that created it."""

    request_queue_size = BACKLOG

    def __init__(self, port: int, library: Library, name: str) -> None:
        self.library, self.name = library, name
        super().__init__(("127.0.0.1", port), Handler)


def serve(load: Callable[[Path], Library]) -> None:
    """Load the checkpoint of the command line, CHECKPOINT PORT, and serve it under its name."""
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint", type=Path, help="a directory, or the file of the engine")
    parser.add_argument("port", type=int)
    parser.add_argument("--name", help="the served model name; default: that of the checkpoint")
    options = parser.parse_args()
    library = load(options.checkpoint)
    with LibraryServer(options.port, library, options.name or options.checkpoint.name) as server:
        print(f"http://127.0.0.1:{options.port}/v1/completions", file=sys.stderr)
        server.serve_forever()
