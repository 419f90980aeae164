"""The command-line arguments of the endpoint."""

import argparse
import ipaddress
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from reference.bundle import EMBEDDED
from reference.images.decoding import ImageLimits

MAX_CONCURRENCY = 256  # sequences: one for each prompt of the longest list
MAX_RESPONSE_VALUES = 8_000_000  # about 200 MB of JSON

# RFC 6454, section 6.2.
ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://(\[[^\[\]]+\]|[^\[\]:/?#@\s]+)(:\d+)?")
DEFAULT_PORTS = {("http", ":80"), ("https", ":443")}  # which browsers leave out

DESCRIPTION = "Serve a checkpoint directory at /v1/openai/completions and /v1/completions."


def build_parser(backends: Iterable[str]) -> argparse.ArgumentParser:
    """Build the parser. HOST and PORT set the defaults of their options."""
    result = argparse.ArgumentParser(prog="python -m api", description=DESCRIPTION)
    option = result.add_argument
    env = os.environ.get
    option("--backend", choices=list(backends), default="jax")
    option("--model", type=Path, default=EMBEDDED / "text", help="checkpoint directory")
    option("--served-model-name", default="tiny-text", help="model name in requests")
    option(
        "--context",
        type=positive_int,
        help="maximum sequence length: tokens of prompt and output (default: the model's)",
    )
    option("--host", default=env("HOST") or "127.0.0.1", help="also from $HOST")
    option("--port", type=port, default=env("PORT") or "8000", help="also from $PORT; 0: any")
    option(
        "--api-key",
        action="append",
        default=[],
        help="required API key; repeatable; also from $API_KEYS, comma-separated",
    )
    option(
        "--allow-open",
        action="store_true",
        help="allow unauthenticated access on a public address, or with any Host and Origin",
    )
    option(
        "--allowed-origin",
        type=origin,
        action="append",
        default=[],
        metavar="ORIGIN",
        help="allow web pages of this origin (scheme://host[:port], or *) by CORS; repeatable",
    )
    option("--strict", action="store_true", help="refuse unknown fields with a 422")
    add_limits(result)
    add_jax_options(result)
    return result


def add_limits(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    option(
        "--max-concurrency",
        type=positive_int,
        default=MAX_CONCURRENCY,
        help="maximum number of sequences (prompts × n) in flight",
    )
    option(
        "--max-response-values",
        type=positive_int,
        default=MAX_RESPONSE_VALUES,
        help="maximum size of a response: sequences × tokens × (1 + `logprobs`)",
    )
    option("--max-logprobs", type=natural_int, default=20, help="maximum value of `logprobs`")
    option(
        "--max-body-bytes", type=positive_int, default=16 * 2**20, help="maximum size of a request"
    )
    option(
        "--max-images",
        type=positive_int,
        default=ImageLimits.images,
        help="maximum images per request",
    )
    option(
        "--max-image-pixels",
        type=image_pixels,
        default=ImageLimits.pixels,
        help="maximum pixels of an image, before it is resized",
    )


def add_jax_options(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument_group("--backend jax").add_argument
    option(
        "--dtype",
        choices=["float32", "bfloat16"],
        default="float32",
        help="of the weights and the KV cache",
    )
    option("--slots", type=positive_int, default=8, help="maximum concurrent sequences")
    option("--cache-tokens", type=positive_int, help="KV-cache size in tokens")
    option(
        "--mesh",
        type=tensor_parallel_size,
        default=1,
        metavar="tp=N",
        help="tensor-parallel size: number of devices to shard the model over",
    )
    option(
        "--batch-invariant",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="batch-invariant mode: use only batch sizes whose results are bitwise identical, so "
        "that concurrent load does not change an output; without it a single request may be faster",
    )


def natural_int(text: str) -> int:
    if (number := int(text)) < 0:
        raise argparse.ArgumentTypeError(f"must be at least 0, got {text}")
    return number


def positive_int(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return number


def port(text: str) -> int:
    if (number := int(text)) not in range(2**16):
        raise argparse.ArgumentTypeError(f"must be in 0 … {2**16 - 1}, got {text}")
    return number


def tensor_parallel_size(text: str) -> int:
    """Parse "tp=8" as 8."""
    name, _, count = text.partition("=")
    if name != "tp":
        raise argparse.ArgumentTypeError(f"must be tp=N, got {text!r}")
    return positive_int(count)


def image_pixels(text: str) -> int:
    try:
        return ImageLimits(pixels=positive_int(text)).pixels
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def origin(text: str) -> str:
    """Return an origin as browsers write it; "*" and "null" are also valid.

    Refuses a path, which an origin does not have, and a default port.
    """
    result = text.lower()
    match = ORIGIN.fullmatch(result)
    is_valid = match is not None and (match[1], match[3]) not in DEFAULT_PORTS
    if result not in ("*", "null") and not is_valid:
        message = f"must be scheme://host[:port] without a default port, got {text!r}"
        raise argparse.ArgumentTypeError(message)
    return result


def is_local(options: argparse.Namespace, keys: Sequence[str]) -> bool:
    """Return whether only clients on this machine may use the server: neither a key nor an option
    says otherwise.
    """
    return is_loopback(options.host) and not keys and not options.allow_open


def api_keys(options: argparse.Namespace) -> list[str]:
    """Return the keys of the command line, then those of $API_KEYS."""
    from_environment = os.environ.get("API_KEYS", "").split(",")
    keys = [key.strip() for key in options.api_key]
    return keys + [key.strip() for key in from_environment if key.strip()]


def check_bind(host: str, keys: Sequence[str], allow_open: bool) -> None:
    """Raise ValueError if other machines could use the endpoint without a key."""
    if "" in keys:
        raise ValueError("--api-key is empty")
    if not (is_loopback(host) or keys or allow_open):
        raise ValueError(
            f"--host {host} is reachable from other machines: set --api-key (or API_KEYS), "
            "or --allow-open to allow unauthenticated access"
        )


def is_loopback(name: str) -> bool:
    """Return whether a host name or an address is the loopback interface."""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"
