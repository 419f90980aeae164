"""Mutants: deliberately wrong servers, one fault each. Every check must fail at least one.

There is a file for each parameter or topic, as in `conformance/checks`; `generated` has the mutants
of the checks that are made from the table of parameters. A mutant is a function from the tiny
model, as the reference serves it, to an ASGI app. The first line of its docstring is the fault.
"""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass

from starlette.types import ASGIApp

from reference.bundle import Bundle

Maker = Callable[[Bundle], ASGIApp]

_MUTANTS: dict[str, "Mutant"] = {}


@dataclass(frozen=True)
class Mutant:
    """One mutant. id: parameter/name. killed_by: ids of the checks whose verdict must be
    FAIL or NON-STRICT. keys: the API keys of the server; requests carry the first of them.
    """

    id: str
    fault: str
    killed_by: tuple[str, ...]
    make: Maker
    keys: tuple[str, ...]


def mutant(
    *killed_by: str, keys: tuple[str, ...] = (), name: str = "", fault: str = ""
) -> Callable[[Maker], Maker]:
    """Register a function as a mutant that these checks must fail.

    The id comes from the function's module and name and the fault from its docstring, unless they
    are given. Raises ValueError for an id that is taken.
    """

    def register(make: Maker) -> Maker:
        parameter = make.__module__.removeprefix(f"{__name__}.").partition(".")[0]
        identity = name or f"{parameter}/{make.__name__.replace('_', '-')}"
        if identity in _MUTANTS:
            raise ValueError(f"{identity}: there are two mutants of this id")
        text = fault or (make.__doc__ or "").split("\n\n")[0]
        _MUTANTS[identity] = Mutant(identity, " ".join(text.split()), killed_by, make, keys)
        return make

    return register


def all_mutants() -> list[Mutant]:
    """Return every mutant by parameter, and for each parameter in the order of definition."""
    for module in pkgutil.walk_packages(__path__, f"{__name__}."):
        importlib.import_module(module.name)
    return sorted(_MUTANTS.values(), key=lambda mutant: mutant.id.partition("/")[0])
