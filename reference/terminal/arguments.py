"""The arguments of the command line: one option for each parameter that is not server-only."""

import argparse
import base64
import json
from collections.abc import Mapping
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from reference.bundle import EMBEDDED
from reference.params import CompletionParams

DESCRIPTION = 'python -m reference "Once upon a time" --temperature 0.8'
PROG = "python -m reference"
SERVER_ONLY = {"stream", "stream_options", "user", "prompt_cache_key", "data"}


def parser(prog: str = PROG) -> argparse.ArgumentParser:
    """Return the argument parser: one option for each parameter that is not server-only."""
    result = argparse.ArgumentParser(prog=prog, description=DESCRIPTION)
    result.add_argument("prompt")
    result.add_argument("--model", default=EMBEDDED / "text", help="a checkpoint directory")
    result.add_argument(
        "--explain", action="store_true", help="print the distribution after each sampling step"
    )
    result.add_argument("--svg", metavar="FILE", help="save the output as an image")
    result.add_argument(
        "--image", nargs="+", type=Path, default=[], help="image files, one for each `<image>`"
    )
    hints = get_type_hints(CompletionParams)
    for f in fields(CompletionParams):
        if f.name not in SERVER_ONLY:
            result.add_argument("--" + f.name.replace("_", "-"), **option(f, hints[f.name]))
    return result


def option(f: Field[Any], hint: Any) -> dict[str, Any]:
    """Return the arguments of `add_argument` for one parameter."""
    described = {"help": f.metadata["meaning"]}
    kinds = get_args(hint) or (hint,)
    if get_origin(kinds[0]) is Mapping:
        return described | {"type": json_object, "metavar": "JSON"}
    if bool in kinds:
        return described | {"action": "store_true"}
    if isinstance(f.default, tuple):
        return described | {"type": kinds[0], "nargs": "+", "default": ()}
    return described | {"type": kinds[0], "default": f.default}


def json_object(text: str) -> dict[str, Any]:
    """Parse a JSON object. Raises ValueError for any other text."""
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError(f"must be a JSON object, got {value!r}")
    return value


def data_uri(path: Path) -> str:
    """Return an image file as a data URI. Decoders ignore the declared format."""
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


def as_tuple(value: Any) -> Any:
    """Convert the lists of argparse to the tuples of the parameters."""
    return tuple(value) if isinstance(value, list) else value
