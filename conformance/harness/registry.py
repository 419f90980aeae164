"""The checks, by their ids."""

import importlib
import pkgutil
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from functools import cache, partial

from conformance import checks
from conformance.harness.capabilities import Capability
from conformance.http.client import Server
from conformance.verdicts import Depth, Evidence, Level
from reference.params import CompletionParams

Function = Callable[[Server], None]

_CHECKS: dict[str, "Check"] = {}
SPEC = {f.name: f.metadata["spec"] for f in fields(CompletionParams)}


@dataclass(frozen=True)
class Check:
    """id: file/function. clause: what must hold. rests_on: the function or class of the reference
    that says so ("logits.top_p"), or a public document. alone: whether nothing else may be asked at
    the same time.
    """

    id: str
    clause: str
    level: Level
    evidence: Evidence
    depth: Depth
    needs: tuple[Capability, ...]
    rests_on: str
    alone: bool
    function: Function

    @property
    def parameter(self) -> str:
        return self.id.partition("/")[0]


def check(
    depth: Depth,
    level: Level,
    evidence: Evidence,
    *needs: Capability,
    rests_on: str | None = None,
    alone: bool = False,
) -> Callable[[Function], Function]:
    """Register a function of a server as a check. The first line of its docstring is the clause.

    rests_on: else the specification of the parameter that the file is named after, or the file's
    `RESTS_ON`.
    """

    def register(function: Function) -> Function:
        module = function.__module__
        name = module.rpartition(".")[2]
        key = f"{name}/{function.__name__.replace('_', '-')}"
        if key in _CHECKS:
            raise ValueError(f"{key}: there are two checks of this id")
        source = rests_on or SPEC.get(name) or sys.modules[module].RESTS_ON
        clause = " ".join((function.__doc__ or "").split("\n\n")[0].split())
        _CHECKS[key] = Check(key, clause, level, evidence, depth, needs, source, alone, function)
        return function

    return register


protocol = partial(check, Depth.PROTOCOL)
consistency = partial(check, Depth.CONSISTENCY)
truth = partial(check, Depth.TRUTH)


@cache
def all_checks() -> tuple[Check, ...]:
    """Every check, by depth and in the order of the contract's parameters."""
    for module in pkgutil.iter_modules(checks.__path__, "conformance.checks."):
        importlib.import_module(module.name)
    order = ["response", "model", "prompt", *SPEC]
    place = {name: i for i, name in enumerate(order)}

    def rank(check: Check) -> tuple[int, str]:
        return place.get(check.parameter, len(place)), check.parameter

    return tuple(sorted(_CHECKS.values(), key=rank))


def selected(only: Sequence[str] = (), skip: Sequence[str] = ()) -> list[Check]:
    """The checks whose ids match a glob of `only` (any, if there is none) and none of `skip`. A
    glob without a slash is a parameter. Raises ValueError for a glob that matches nothing.
    """
    found = all_checks()
    for glob in (*only, *skip):
        if not any(matches(check.id, [glob]) for check in found):
            raise ValueError(f"{glob!r} matches no check")
    return [c for c in found if (not only or matches(c.id, only)) and not matches(c.id, skip)]


def matches(identity: str, globs: Iterable[str]) -> bool:
    return any(fnmatchcase(identity, glob if "/" in glob else f"{glob}/*") for glob in globs)
