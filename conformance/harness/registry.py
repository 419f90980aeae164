"""Registers the checks and selects them by id."""

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from functools import cache, partial

from conformance.harness.capabilities import Capability
from conformance.http.client import Server
from conformance.verdicts import Depth, Evidence, Level
from reference.params import CompletionParams

Function = Callable[[Server], None]

_CHECKS: dict[str, "Check"] = {}
SPEC = {f.name: f.metadata["spec"] for f in fields(CompletionParams)}
# Parameters and topics of each profile; None for all.
PROFILES: Mapping[str, tuple[str, ...] | None] = {
    "full": None,
    "sampling": (
        *("temperature", "top_p", "min_p", "top_k", "n", "logprobs", "seed", "sampler"),
        *("presence_penalty", "frequency_penalty", "repetition_penalty", "response_format"),
    ),
    "openai": (
        *("response", "model", "models", "prompt", "max_tokens", "temperature", "top_p", "n"),
        *("stream", "logprobs", "echo", "stop", "presence_penalty", "frequency_penalty", "user"),
        *("seed", "stream_options", "text", "usage", "determinism", "auth"),
    ),
}


@dataclass(frozen=True)
class Check:
    """One check. id: parameter/name. clause: the requirement. spec: the function or class of the
    reference that defines it ("logits.top_p"), or a public document. exclusive: no other request
    may be in flight while it runs.
    """

    id: str
    clause: str
    level: Level
    evidence: Evidence
    depth: Depth
    needs: tuple[Capability, ...]
    spec: str
    exclusive: bool
    function: Function

    @property
    def parameter(self) -> str:
        return self.id.partition("/")[0]


class CheckGroup:
    """The checks of one parameter or topic, which share a default spec.

    spec: by default the specification of the parameter of this name. `protocol`, `consistency` and
    `truth` are decorators that register a check of that depth: see `register`.
    """

    def __init__(self, parameter: str, spec: str | None = None) -> None:
        self.parameter = parameter
        self.spec: str = spec or SPEC[parameter]
        self.protocol = partial(self.register, Depth.PROTOCOL)
        self.consistency = partial(self.register, Depth.CONSISTENCY)
        self.truth = partial(self.register, Depth.TRUTH)

    def register(
        self,
        depth: Depth,
        level: Level,
        evidence: Evidence,
        *needs: Capability,
        spec: str | None = None,
        exclusive: bool = False,
        name: str | None = None,
        clause: str | None = None,
    ) -> Callable[[Function], Function]:
        """Return a decorator that registers a function of a server as a check.

        The name comes from the function's name and the clause from the first paragraph of its
        docstring, unless they are given. Raises ValueError for an id that is taken.
        """

        def add(function: Function) -> Function:
            key = f"{self.parameter}/{name or function.__name__.replace('_', '-')}"
            if key in _CHECKS:
                raise ValueError(f"{key}: there are two checks of this id")
            text = clause or (function.__doc__ or "").split("\n\n")[0]
            _CHECKS[key] = Check(
                id=key,
                clause=" ".join(text.split()),
                level=level,
                evidence=evidence,
                depth=depth,
                needs=needs,
                spec=spec or self.spec,
                exclusive=exclusive,
                function=function,
            )
            return function

        return add


@cache
def all_checks() -> tuple[Check, ...]:
    """Return every check, in the order of the contract's parameters."""
    checks = importlib.import_module("conformance.checks")
    for module in pkgutil.walk_packages(checks.__path__, f"{checks.__name__}."):
        importlib.import_module(module.name)
    order = ["response", "model", "prompt", *SPEC]
    positions = {name: i for i, name in enumerate(order)}

    def rank(check: Check) -> tuple[int, str]:
        return positions.get(check.parameter, len(positions)), check.parameter

    return tuple(sorted(_CHECKS.values(), key=rank))


def selected(only: Sequence[str] = (), skip: Sequence[str] = ()) -> list[Check]:
    """Return the checks whose ids match a glob of `only` (any, if it is empty) and none of `skip`.

    A glob without a slash is a parameter. Raises ValueError for a glob that matches no check.
    """
    known = all_checks()
    for glob in (*only, *skip):
        if not any(matches(check.id, [glob]) for check in known):
            raise ValueError(f"{glob!r} matches no check")
    return [c for c in known if (not only or matches(c.id, only)) and not matches(c.id, skip)]


def matches(identity: str, globs: Iterable[str]) -> bool:
    """Return whether an id matches one of the globs."""
    return any(fnmatchcase(identity, glob if "/" in glob else f"{glob}/*") for glob in globs)
