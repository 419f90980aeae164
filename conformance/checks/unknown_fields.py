"""Fields that the contract does not know."""

from typing import Any
from urllib.parse import quote

from conformance.assertions.basic import details, equal, require, same_answer, status
from conformance.harness.registry import consistency, protocol
from conformance.http.client import Reply, Server
from conformance.verdicts import Evidence, Level, Unsupported

RESTS_ON = "params.CompletionParams"

HEADER = "x-ignored-parameters"
MOST = 4096  # characters of the header: with the others it must not be more than clients read
# What langchain and load tools send; each with the value that asks for nothing.
USUAL: dict[str, Any] = {"best_of": 1, "ignore_eos": False}


def fresh(server: Server) -> str:
    """A name that nobody knows."""
    return f"no_such_field_{server.rng.getrandbits(40):x}"


def told(reply: Reply, name: str) -> list[str]:
    """The names in the header; none if the field was refused by its name. Raises Failed if nothing
    was said of it.
    """
    if reply.status == 422:
        named = [error["loc"][1:] for error in details(reply)]
        require([name] in named, f"an error at body.{name}", named, reply.at)
        return []
    status(reply, 200)
    found = reply.headers.get(HEADER, "")
    names = [part.strip() for part in found.split(",")]
    expected = f"{HEADER} with {quote(name, safe='')}, or a 422"
    require(quote(name, safe="") in names, expected, repr(found), reply.at)
    return names


@protocol(Level.MUST, Evidence.EXACT)
def are_named_or_refused(server: Server) -> None:
    """A field that is not known is named in `x-ignored-parameters`, and no other with it; or it is
    a 422 that names it. It is never dropped in silence.
    """
    name = fresh(server)
    for value in 1, None, {"deep": [1]}:
        reply = server.post(**{name: value})
        others = set(told(reply, name)) & server.body().keys()
        require(not others, "no field that is known", sorted(others), reply.at)


@protocol(Level.MUST, Evidence.EXACT)
def are_not_named_if_there_are_none(server: Server) -> None:
    """A request of known fields only has no such header in its answer."""
    reply = server.post()
    status(reply, 200)
    equal(reply.headers.get(HEADER), None, HEADER, reply.at)


@protocol(Level.MUST, Evidence.EXACT)
def names_are_percent_encoded(server: Server) -> None:
    """The name is the client's: in the header whatever is no letter, digit or `-._~` is
    percent-encoded.
    """
    for odd in "größe", "a, b", "x\r\nset-cookie: a", "50%":
        name = f"{fresh(server)} {odd}"
        reply = server.post(**{name: 1})
        says_anything(reply)
        told(reply, name)


def says_anything(reply: Reply) -> None:
    """Raises Unsupported if a server names no field: that is said once, above."""
    if reply.status == 200 and HEADER not in reply.headers:
        raise Unsupported(f"no {HEADER}", at=reply.at)


@protocol(Level.MUST, Evidence.EXACT)
def the_header_is_bounded(server: Server) -> None:
    """A thousand unknown fields do not make a header of their length."""
    many = {f"{fresh(server)}_{i}": i for i in range(1000)}
    reply = server.post(**many)
    require(reply.status in (200, 422), "200 or 422", reply.status, reply.at)
    says_anything(reply)
    size = len(reply.headers.get(HEADER, ""))
    require(size <= MOST, f"at most {MOST} characters", f"{size} characters", reply.at)


@consistency(Level.MUST, Evidence.METAMORPHIC)
def do_nothing(server: Server) -> None:
    """The answer is the one without the field."""
    plain = server.ask()
    for name in fresh(server), "Temperature", "max_token":
        answer = server.ask(**{name: 2})
        same_answer(plain, answer, f"the same answer with and without {name}")


@protocol(Level.SHOULD, Evidence.EXACT)
def the_usual_ones_break_nothing(server: Server) -> None:
    """Fields that widespread clients send are accepted: `best_of`, `ignore_eos`."""
    for name, value in USUAL.items():
        reply = server.post(**{name: value})
        if reply.status == 422:
            told(reply, name)
            raise Unsupported("unknown fields are refused", at=reply.at)
        status(reply, 200)
