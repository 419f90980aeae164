"""Configuration of the server: the command line, then the environment, then a TOML file.

Each option `--max-logprobs` is also the variable COMPLETIONS_MAX_LOGPROBS and the key
`max-logprobs` of the file. The first source that has an option decides it. A list is an array in
the file, and separated by commas in the environment.
"""

import argparse
import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

PREFIX = "COMPLETIONS_"
FLAGS = {"true": True, "1": True, "false": False, "0": False}


def parse_options(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> argparse.Namespace:
    """Parse all sources. Exits with status 2 after a message that names the source and the option.

    The parser has `allow_abbrev=False`, and no option is required.
    """
    defaults = default_values(parser)
    environment = environment_values(parser, defaults)
    tokens = source_tokens(parser, "environment", environment, defaults)
    config = parse(parser, [*flatten(tokens), *arguments]).config
    if config is not None:
        values = file_values(parser, config, defaults)
        tokens = source_tokens(parser, str(config), values, defaults) | tokens
    given = {argument.partition("=")[0] for argument in arguments}
    given |= {f"--{name.removeprefix('--no-')}" for name in given if name.startswith("--no-")}
    kept = {name: value for name, value in tokens.items() if f"--{name}" not in given}
    return parse(parser, [*flatten(kept), *arguments])


def parse_values(parser: argparse.ArgumentParser, values: Mapping[str, Any]) -> argparse.Namespace:
    """Parse options by name, as those of a file. Raises ValueError for an unknown name or a wrong
    value.
    """
    defaults = default_values(parser)
    for name in values:
        if name not in defaults:
            raise ValueError(f"unknown option {name!r}{nearest_hint(name, defaults)}")
    try:
        tokens = {name: to_arguments(name, value, defaults[name]) for name, value in values.items()}
        return parser.parse_args(flatten(tokens))
    except argparse.ArgumentError as error:
        raise ValueError(str(error)) from None


def default_values(parser: argparse.ArgumentParser) -> dict[str, Any]:
    """Return the default of each option, by its name on the command line without dashes."""
    return {name.replace("_", "-"): value for name, value in vars(parse(parser, [])).items()}


def parse(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> argparse.Namespace:
    try:
        return parser.parse_args(arguments)
    except argparse.ArgumentError as error:
        parser.error(str(error))


def environment_values(
    parser: argparse.ArgumentParser, defaults: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the values of the variables COMPLETIONS_*, by option."""
    names = {PREFIX + name.replace("-", "_").upper(): name for name in defaults}
    values: dict[str, Any] = {}
    for variable, text in os.environ.items():
        if not variable.startswith(PREFIX):
            continue
        if variable not in names:
            refuse_name(parser, "environment", variable, names)
        name = names[variable]
        if isinstance(defaults[name], list):
            values[name] = [item.strip() for item in text.split(",") if item.strip()]
            if not values[name]:  # an empty list of keys would open the server
                parser.error(f"environment: {variable} (--{name}) is empty")
        elif text:
            values[name] = text
    return values


def file_values(
    parser: argparse.ArgumentParser, path: Path, defaults: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the values of a TOML file, by option."""
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        parser.error(f"--config {path}: {error}")
    known = [name for name in defaults if name != "config"]
    for name in values:
        if name not in known:
            refuse_name(parser, str(path), name, known)
    return values


def refuse_name(
    parser: argparse.ArgumentParser, source: str, name: str, known: Iterable[str]
) -> NoReturn:
    parser.error(f"{source}: unknown option {name!r}{nearest_hint(name, known)}")


def nearest_hint(name: str, known: Iterable[str]) -> str:
    nearest = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""


def source_tokens(
    parser: argparse.ArgumentParser,
    source: str,
    values: Mapping[str, Any],
    defaults: Mapping[str, Any],
) -> dict[str, list[str]]:
    """Return the values as arguments of the command line, by option, each of which is valid."""
    result = {}
    for name, value in values.items():
        try:
            result[name] = to_arguments(name, value, defaults[name])
            parser.parse_args(result[name])
        except (ValueError, argparse.ArgumentError) as error:
            message = error.message if isinstance(error, argparse.ArgumentError) else error
            parser.error(f"{source}: {name}: {message}")
    return result


def to_arguments(name: str, value: Any, default: Any) -> list[str]:
    """Return an option as arguments. Raises ValueError for a value of another type."""
    if isinstance(default, bool):
        flag = value if isinstance(value, bool) else FLAGS.get(str(value).lower())
        if flag is None:
            raise ValueError(f"must be true or false, got {value!r}")
        return [f"--{name}" if flag else f"--no-{name}"]
    items = value if isinstance(default, list) and isinstance(value, list) else [value]
    if any(isinstance(item, (bool, list, dict)) for item in items):
        raise ValueError(f"must be a number or a string, got {value!r}")
    return [f"--{name}={item}" for item in items]


def flatten(tokens: Mapping[str, Sequence[str]]) -> list[str]:
    return [argument for arguments in tokens.values() for argument in arguments]
