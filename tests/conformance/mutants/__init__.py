"""Servers that are broken on purpose, one way each: every check must catch one of them.

A file for each parameter. A mutant is a function from the tiny model, as the reference serves it,
to an ASGI app; its docstring's first line says what is wrong. It names the checks that must notice.
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
    """id: file/function. fault: what is wrong. killed_by: ids of checks that must say FAIL, or
    NON-STRICT.
    """

    id: str
    fault: str
    killed_by: tuple[str, ...]
    make: Maker
    keys: tuple[str, ...]


def mutant(*killed_by: str, keys: tuple[str, ...] = ()) -> Callable[[Maker], Maker]:
    """Register a broken server, which these checks must notice. keys: it is asked with the first of
    them.
    """

    def register(make: Maker) -> Maker:
        name = f"{make.__module__.rpartition('.')[2]}/{make.__name__.replace('_', '-')}"
        if name in _MUTANTS:
            raise ValueError(f"{name}: there are two mutants of this id")
        fault = " ".join((make.__doc__ or "").split("\n\n")[0].split())
        _MUTANTS[name] = Mutant(name, fault, killed_by, make, keys)
        return make

    return register


def all_mutants() -> list[Mutant]:
    """By parameter, and of each in the order in which they are written."""
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        importlib.import_module(module.name)
    return sorted(_MUTANTS.values(), key=lambda mutant: mutant.id.partition("/")[0])
