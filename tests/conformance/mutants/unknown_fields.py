"""Unknown fields, broken."""

from collections.abc import Callable

from starlette.types import ASGIApp, Scope

from reference.bundle import Bundle
from tests.conformance.mutants import mutant
from tests.conformance.mutations import Said, asking, by_body, replying, whole

HEADER = "x-ignored-parameters"


def naming(model: Bundle, change: Callable[[str | None], str | None]) -> ASGIApp:
    """The header, changed; None: there is none."""

    def changed(scope: Scope, said: Said) -> Said:
        status, headers, text = said
        value = change(headers.pop(HEADER, None))
        return status, headers | ({} if value is None else {HEADER: value}), text

    return replying(whole(model), changed)


@mutant("unknown_fields/are-named-or-refused")
def silence(model: Bundle) -> ASGIApp:
    """What is not known is dropped in silence."""
    return naming(model, lambda value: None)


@mutant("unknown_fields/are-not-named-if-there-are-none")
def always(model: Bundle) -> ASGIApp:
    """The header is always there."""
    return naming(model, lambda value: value or "none")


@mutant("unknown_fields/names-are-percent-encoded")
def plus(model: Bundle) -> ASGIApp:
    """A space is a plus, as in a form."""
    return naming(model, lambda value: value and value.replace("%20", "+"))


@mutant("unknown_fields/the-header-is-bounded")
def all_of_them(model: Bundle) -> ASGIApp:
    """The header is as long as the names are."""
    return naming(model, lambda value: value and value * (1 if len(value) < 500 else 10))


@mutant("unknown_fields/do-nothing")
def any_case(model: Bundle) -> ASGIApp:
    """Names are read in any case."""
    return asking(whole(model), lambda body: {name.lower(): v for name, v in body.items()})


@mutant("unknown_fields/the-usual-ones-break-nothing")
def strict(model: Bundle) -> ASGIApp:
    """Unknown fields are refused, by a 400 that names none."""
    ours = whole(model)
    refusing = replying(ours, lambda scope, said: (400, *said[1:]))
    return by_body(lambda body: refusing if b"best_of" in body else ours)
