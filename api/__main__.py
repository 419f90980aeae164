"""The endpoint on a socket: python -m api --model DIR --served-model-name NAME"""

import argparse
import hashlib
import ipaddress
import json
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from api.app import create_app
from api.engine import Served
from api.server import Server
from reference.model import EMBEDDED, load

DESCRIPTION = "Serve a checkpoint directory at /v1/openai/completions and /v1/completions."


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0, or 2 after one line that says why nothing is served."""
    options = parser().parse_args(arguments)
    keys = [key.strip() for key in options.api_key] + split(os.environ.get("API_KEYS", ""))
    try:
        check_bind(options.host, keys, options.allow_open)
        served = BACKENDS[options.backend](options.served_model_name, options.model)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    try:
        serve(options, served, keys)
    finally:
        served.engine.close()
    return 0


def serve(options: argparse.Namespace, served: Served, keys: list[str]) -> None:
    """Until a signal ends it."""
    app = create_app(
        [served],
        keys,
        max_concurrency=options.max_concurrency,
        max_logprobs=options.max_logprobs,
        max_body_bytes=options.max_body_bytes,
        strict=options.strict,
    )

    def ready(port: int) -> None:
        print(announcement(options.host, port, served.name, options, bool(keys)), flush=True)

    Server(app, options.host, options.port, ready).run()


def reference(name: str, directory: Path) -> Served:
    """The executable specification. Raises ValueError or OSError for what cannot be loaded."""
    from reference.engine import ReferenceEngine

    model = load(directory)
    return Served(
        name=name,
        engine=ReferenceEngine(model),
        tokenizer=model.tokenizer,
        vocab_size=model.vocab_size,
        context=model.context,
        build=f"reference {contents(directory)}",
    )


BACKENDS: dict[str, Callable[[str, Path], Served]] = {"reference": reference}


def contents(directory: Path) -> str:
    """A digest of the names, the sizes and the beginnings of a directory's files."""
    digest = hashlib.sha256()
    for path in sorted(p for p in directory.iterdir() if p.is_file()):
        with path.open("rb") as file:
            digest.update(repr((path.name, path.stat().st_size, file.read(2**16))).encode())
    return digest.hexdigest()


def check_bind(host: str, keys: Sequence[str], allow_open: bool) -> None:
    """Raise ValueError if whoever reaches this machine could use the endpoint."""
    if "" in keys:
        raise ValueError("--api-key is empty")
    if not (is_loopback(host) or keys or allow_open):
        raise ValueError(
            f"--host {host} is open to other machines: set --api-key (or API_KEYS), "
            "or say --allow-open if everybody may use it"
        )


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def announcement(host: str, port: int, name: str, options: argparse.Namespace, closed: bool) -> str:
    """What is served where, and a command to paste."""
    reach = "127.0.0.1" if host in ("0.0.0.0", "::", "") else host
    base = f"http://{f'[{reach}]' if ':' in reach else reach}:{port}/v1/openai"
    body = json.dumps({"model": name, "prompt": "Once upon a time", "max_tokens": 40})
    key = ' -H "Authorization: Bearer $API_KEY"' if closed else ""
    return (
        f"serving {name} ({options.backend}, {options.model}) at {base}/completions\n"
        f"  curl {base}/completions{key} -d {shlex.quote(body)}"
    )


def split(keys: str) -> list[str]:
    return [key.strip() for key in keys.split(",") if key.strip()]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(prog="python -m api", description=DESCRIPTION)
    option = result.add_argument
    env = os.environ.get
    option("--backend", choices=BACKENDS, default="reference")
    option("--model", type=Path, default=EMBEDDED / "text", help="a checkpoint directory")
    option("--served-model-name", default="tiny-text", help="what requests call it")
    option("--host", default=env("HOST") or "127.0.0.1", help="also from HOST")
    option("--port", type=int, default=env("PORT") or "8000", help="also from PORT; 0: any")
    option("--api-key", action="append", default=[], help="repeatable; also API_KEYS, with commas")
    option("--allow-open", action="store_true", help="no key, although other machines can ask")
    option("--max-concurrency", type=positive, default=200, help="requests in flight")
    option("--max-logprobs", type=natural, default=20, help="the most that `logprobs` may ask for")
    option("--max-body-bytes", type=positive, default=16 * 2**20, help="of a request")
    option("--strict", action="store_true", help="refuse unknown fields instead of naming them")
    return result


def natural(text: str) -> int:
    if (number := int(text)) < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return number


def positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
