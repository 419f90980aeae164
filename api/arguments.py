"""The command-line arguments of the endpoint."""

import argparse
import ipaddress
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from reference.bundle import EMBEDDED
from reference.images.limits import ImageLimits

PROG = "python -m api"
DESCRIPTION = "Serve a checkpoint directory at /v1/openai/completions and /v1/completions."


def build_parser(backends: Iterable[str], prog: str = PROG) -> argparse.ArgumentParser:
    """Build the parser. HOST and PORT set the defaults of their options."""
    result = argparse.ArgumentParser(prog=prog, description=DESCRIPTION)
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
        help="allow unauthenticated access on a public address",
    )
    option("--strict", action="store_true", help="refuse unknown fields with a 422")
    add_limits(result)
    add_jax_options(result)
    return result


def add_limits(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    option("--max-concurrency", type=positive_int, default=200, help="maximum requests in flight")
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


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
