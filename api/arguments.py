"""The command line of the endpoint."""

import argparse
import ipaddress
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from reference.bundle import EMBEDDED
from reference.images.decoding import ImageLimits

DESCRIPTION = "Serve a checkpoint directory at /v1/openai/completions and /v1/completions."


def parser(backends: Iterable[str]) -> argparse.ArgumentParser:
    """HOST and PORT are read from the environment, and API_KEYS by `keys_of`."""
    result = argparse.ArgumentParser(prog="python -m api", description=DESCRIPTION)
    option = result.add_argument
    env = os.environ.get
    option("--backend", choices=list(backends), default="jax")
    option("--model", type=Path, default=EMBEDDED / "text", help="a checkpoint directory")
    option("--served-model-name", default="tiny-text", help="what requests call it")
    option("--context", type=positive, help="most tokens of prompt and output; else the model's")
    option("--host", default=env("HOST") or "127.0.0.1", help="also from HOST")
    option("--port", type=port, default=env("PORT") or "8000", help="also from PORT; 0: any")
    option("--api-key", action="append", default=[], help="repeatable; also API_KEYS, with commas")
    option("--allow-open", action="store_true", help="no key, although other machines can ask")
    option("--max-concurrency", type=positive, default=200, help="requests in flight")
    option("--max-logprobs", type=natural, default=20, help="the most that `logprobs` may ask for")
    option("--max-body-bytes", type=positive, default=16 * 2**20, help="of a request")
    option("--max-images", type=positive, default=ImageLimits.images, help="of a request")
    option(
        "--max-image-pixels", type=pixels, default=ImageLimits.pixels, help="of an image, as sent"
    )
    option("--strict", action="store_true", help="refuse unknown fields instead of naming them")

    jax = result.add_argument_group("--backend jax")
    option = jax.add_argument
    option("--dtype", choices=["float32", "bfloat16"], default="float32", help="of weights, cache")
    option("--slots", type=positive, default=8, help="choices that are decoded together")
    option("--cache-tokens", type=positive, help="room for keys and values, in tokens")
    option("--mesh", type=mesh, default=1, metavar="tp=N", help="share the model among N devices")
    option(
        "--batch-invariant",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="use only batch sizes that round alike: an answer is the same to the bit, alone or in "
        "a crowd; without it, one request alone may be faster",
    )
    return result


def natural(text: str) -> int:
    if (number := int(text)) < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return number


def port(text: str) -> int:
    if (number := int(text)) not in range(2**16):
        raise argparse.ArgumentTypeError(f"{text} is not in 0 … {2**16 - 1}")
    return number


def mesh(text: str) -> int:
    """tp=8 is 8."""
    name, _, count = text.partition("=")
    if name != "tp":
        raise argparse.ArgumentTypeError(f"{text!r} is not tp=N")
    return positive(count)


def pixels(text: str) -> int:
    try:
        return ImageLimits(pixels=positive(text)).pixels
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return number


def keys_of(options: argparse.Namespace) -> list[str]:
    """Those of the command line and those of API_KEYS."""
    listed = os.environ.get("API_KEYS", "").split(",")
    return [key.strip() for key in options.api_key] + [k.strip() for k in listed if k.strip()]


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
