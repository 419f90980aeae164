"""Latency of `/health` while a server answers one large request with `echo` and `logprobs`.

    python -m benchmarks.large_response http://127.0.0.1:8000 --model tiny-text

The request has `--prompts` prompts of `--tokens` token ids. The server must admit it:
`--max-concurrency` of at least prompts × n, and a sufficient `--max-response-values`.
"""

import argparse
import http.client
import json
import threading
import time
from urllib.parse import urlsplit

PART = 2**16  # bytes
INTERVAL = 0.005  # seconds between two requests for /health


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("url")
    parser.add_argument("--model", default="tiny-text")
    parser.add_argument("--prompts", type=int, default=128)
    parser.add_argument("--tokens", type=int, default=500)
    parser.add_argument("--n", type=int, default=4)
    parser.add_argument("--logprobs", type=int, default=20)
    parser.add_argument("--max-tokens", type=int, default=1)
    parser.add_argument("--stream", action="store_true")
    options = parser.parse_args()
    address = urlsplit(options.url).netloc
    latencies: list[float] = []
    done = threading.Event()
    thread = threading.Thread(target=probe_health, args=(address, latencies, done))
    thread.start()
    start = time.monotonic()
    status, size, first = complete(address, request_body(options))
    seconds = time.monotonic() - start
    done.set()
    thread.join()
    latencies.sort()
    print(f"status {status}, {size / 1e6:.1f} MB in {seconds:.2f} s, first byte {first:.2f} s")
    middle, high = latencies[len(latencies) // 2], latencies[int(len(latencies) * 0.99)]
    print(
        f"/health, {len(latencies)} requests: median {middle * 1e3:.1f} ms, "
        f"p99 {high * 1e3:.1f} ms, maximum {latencies[-1] * 1e3:.1f} ms"
    )


def request_body(options: argparse.Namespace) -> bytes:
    prompts = [
        [5 + (7 * p + 3 * i) % 90 for i in range(options.tokens)] for p in range(options.prompts)
    ]
    return json.dumps(
        {
            "model": options.model,
            "prompt": prompts,
            "n": options.n,
            "echo": True,
            "logprobs": options.logprobs,
            "max_tokens": options.max_tokens,
            "stream": options.stream,
        }
    ).encode()


def complete(address: str, body: bytes) -> tuple[int, int, float]:
    """Send the request. Return the status, the size of the response, and seconds to its start."""
    connection = http.client.HTTPConnection(address)
    start = time.monotonic()
    connection.request("POST", "/v1/completions", body)
    response = connection.getresponse()
    first, size = time.monotonic() - start, 0
    while part := response.read(PART):
        size += len(part)
    connection.close()
    return response.status, size, first


def probe_health(address: str, latencies: list[float], done: threading.Event) -> None:
    """Append the latency of each request for /health, in seconds, until done."""
    connection = http.client.HTTPConnection(address)
    while not done.wait(INTERVAL):
        start = time.monotonic()
        connection.request("GET", "/health")
        connection.getresponse().read()
        latencies.append(time.monotonic() - start)
    connection.close()


if __name__ == "__main__":
    main()
