"""The command-line arguments of the endpoint."""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

from api.observability.logs import FORMATS, LEVELS
from api.options.argument_types import (
    host_count,
    image_pixels,
    model_argument,
    natural_int,
    origin,
    port,
    positive_int,
    seconds,
    tensor_parallel_size,
)
from api.security.hosts import is_loopback
from reference.images.limits import ImageLimits

PROG = "python -m api"
MAX_CONCURRENCY = 256  # sequences: one for each prompt of the longest list
MAX_RESPONSE_VALUES = 8_000_000  # about 200 MB of JSON

EPILOG = (
    "Each option is also an environment variable (COMPLETIONS_MAX_LOGPROBS for --max-logprobs) and "
    "a key of the file of --config. The command line takes precedence, then the environment."
)
DESCRIPTION = "Serve a checkpoint directory at /v1/openai/completions and /v1/completions."


def build_parser(backends: Iterable[str], prog: str = PROG) -> argparse.ArgumentParser:
    """Build the parser. `api.options.config` adds the environment and a file."""
    result = argparse.ArgumentParser(
        prog=prog,
        description=DESCRIPTION,
        epilog=EPILOG,
        allow_abbrev=False,
        exit_on_error=False,
    )
    option = result.add_argument
    option("--config", type=Path, metavar="FILE", help="TOML file with options as keys")
    option("--backend", choices=list(backends), default="jax")
    option(
        "--model",
        type=model_argument,
        action="append",
        default=[],
        metavar="[NAME=]DIR",
        help="checkpoint directory, and the model's name in requests (default: that of the "
        "directory); repeatable (default: the embedded model tiny-text)",
    )
    option(
        "--served-model-name",
        action="append",
        default=[],
        metavar="NAME",
        help="name of the only model; repeatable: the others are aliases",
    )
    option(
        "--context",
        type=positive_int,
        help="maximum sequence length: tokens of prompt and output (default: the model's)",
    )
    option(
        "--kv-dtype",
        choices=["auto", "fp8_e4m3"],
        default="auto",
        help="of the KV cache: auto is fp8_e4m3 if the checkpoint has a kv_cache_scheme, else "
        "the dtype of the model",
    )
    option("--host", default="127.0.0.1")
    option("--port", type=port, default=8000, help="0: any free port")
    option(
        "--api-key",
        action="append",
        default=[],
        help="required API key; repeatable",
    )
    option(
        "--allow-open",
        action=argparse.BooleanOptionalAction,
        default=False,
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
    option(
        "--strict",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="refuse unknown fields with a 422",
    )
    option(
        "--explain",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="serve a page at / and POST /v1/explain, which show each sampling step; the steps are "
        "computed by the reference, which also loads the model",
    )
    option("--ssl-certfile", type=Path, metavar="FILE", help="TLS certificate chain, PEM")
    option("--ssl-keyfile", type=Path, metavar="FILE", help="TLS private key, PEM")
    add_limits(result)
    add_operations(result)
    add_jax_options(result)
    add_hosts(result)
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


def add_operations(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument_group("operation").add_argument
    option(
        "--request-timeout",
        type=seconds,
        metavar="SECONDS",
        help="maximum time of a request (default: none); a client may ask for less with the header "
        "x-request-timeout",
    )
    option(
        "--drain-timeout",
        type=seconds,
        default=30.0,
        metavar="SECONDS",
        help="time for requests in flight after SIGTERM",
    )
    option(
        "--watchdog-timeout",
        type=seconds,
        default=300.0,
        metavar="SECONDS",
        help="maximum time of a step of the engine, after which the server exits",
    )
    option(
        "--sse-keep-alive",
        type=seconds,
        default=15.0,
        metavar="SECONDS",
        help="time between comments in a stream that waits for its first token",
    )
    option("--log-level", choices=LEVELS, default="info")
    option("--log-format", choices=FORMATS, default="text")
    option(
        "--otlp-traces-endpoint",
        metavar="URL",
        help="export OpenTelemetry spans to this collector (needs the extra 'otel')",
    )


def add_jax_options(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument_group("--backend jax").add_argument
    option(
        "--platform",
        choices=["cpu", "gpu", "tpu"],
        help="kind of device (default: JAX_PLATFORMS, else the accelerator of this machine)",
    )
    option(
        "--attention",
        choices=["auto", "triton", "mosaic", "xla"],
        default="auto",
        help="attention on a GPU: kernels of triton and mosaic (Hopper, bfloat16), or xla, which "
        "runs on every GPU; auto: the fastest one that the GPU supports, as far as measured",
    )
    option(
        "--dtype",
        choices=["float32", "bfloat16"],
        default="float32",
        help="of the weights, except quantized ones, and of the KV cache",
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
    option(
        "--speculate",
        choices=["off", "lookup"],
        default="lookup",
        help="speculative decoding: lookup verifies several tokens at once where a text repeats "
        "itself; in batch-invariant mode no output depends on it",
    )


def add_hosts(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument_group("one model on several hosts (--backend jax)").add_argument
    option(
        "--hosts",
        type=host_count,
        metavar="N",
        help="number of processes, one per host; auto: detect the cluster and the rank. The mesh "
        "has all devices of all hosts",
    )
    option(
        "--rank",
        type=natural_int,
        metavar="R",
        help="of this process, from 0. Rank 0, the leader, serves requests, the others only probes",
    )
    option(
        "--coordinator",
        metavar="HOST:PORT",
        help="address of the leader for JAX's distributed runtime; it is not authenticated, so it "
        "must be in a network of the hosts only",
    )
    option(
        "--hosts-port",
        type=port,
        metavar="PORT",
        help="port of the leader for the changes of requests (default: the coordinator's + 1)",
    )
    option("--hosts-secret", metavar="SECRET", help="authenticates the changes of requests")


def is_local(options: argparse.Namespace, keys: Sequence[str]) -> bool:
    """Return whether only clients on this machine may use the server: neither a key nor an option
    says otherwise.
    """
    return is_loopback(options.host) and not keys and not options.allow_open


def api_keys(options: argparse.Namespace) -> list[str]:
    return [key.strip() for key in options.api_key]


def check_bind(host: str, keys: Sequence[str], allow_open: bool) -> None:
    """Raise ValueError if other machines could use the endpoint without a key."""
    if "" in keys:
        raise ValueError("--api-key is empty")
    if not (is_loopback(host) or keys or allow_open):
        raise ValueError(
            f"--host {host} is reachable from other machines: set --api-key, "
            "or --allow-open to allow unauthenticated access"
        )
