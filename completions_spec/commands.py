"""The subcommands. Each runs the command line of one package, which is imported only then."""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module, metadata

from completions_spec.imports import PACKAGES, ForeignPackage, put_packages_first

DISTRIBUTION = "completions-spec"
DESCRIPTION = "A specification of text-completions parameters, and an engine that implements it."
EPILOG = f"{DISTRIBUTION} COMMAND --help lists the options of a command."


@dataclass(frozen=True)
class Command:
    """A subcommand. module: has `main(arguments, prog)`, which returns the exit status. options:
    put before those of the user. extra: the extra of the distribution that it needs.
    """

    module: str
    help: str
    extra: str
    options: tuple[str, ...] = ()


COMMANDS = {
    "serve": Command("api.__main__", "serve a checkpoint directory over HTTP", "cpu"),
    "conformance": Command(
        "conformance.__main__",
        "test any completions server or sampler: run, compare, vectors",
        "conformance",
    ),
    "explain": Command(
        "reference.__main__",
        "complete a prompt, and print the distribution after each sampling step",
        "",
        ("--explain",),
    ),
    "bench": Command("benchmarks.http.__main__", "measure servers under load", "conformance"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand. Return its exit status, or 2 after a line on stderr if a package is missing
    or belongs to another distribution.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    name: str = build_parser().parse_args(words[:1]).command
    command = COMMANDS[name]
    try:
        put_packages_first()
        run = load(command)
    except (ForeignPackage, MissingPackage) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return run([*command.options, *words[1:]], f"{DISTRIBUTION} {name}")


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the first argument. The others are parsed by the subcommand."""
    parser = argparse.ArgumentParser(prog=DISTRIBUTION, description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("--version", action="version", version=metadata.version(DISTRIBUTION))
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        commands.add_parser(name, help=command.help, add_help=False)
    return parser


class MissingPackage(ImportError):
    """A dependency of a subcommand is not installed."""


def load(command: Command) -> Callable[[Sequence[str], str], int]:
    """Import the main function of a subcommand. Raises MissingPackage."""
    try:
        run: Callable[[Sequence[str], str], int] = import_module(command.module).main
        return run
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] in PACKAGES:
            raise
        extra = f"[{command.extra}]" if command.extra else ""
        raise MissingPackage(
            f"{error.name} is not installed: pip install '{DISTRIBUTION}{extra}'"
        ) from None
