"""What a server tells of the images that it is given."""

from collections.abc import Mapping, Sequence
from typing import Any

from conformance.assertions.basic import require
from conformance.assertions.logprobs import CLOSE
from conformance.assertions.next_token import Row, row_of
from conformance.fixtures.images import PLACEHOLDER, shown
from conformance.http.client import Server
from conformance.http.response import Answer, Json
from conformance.verdicts import Inconclusive

ASKED = f"{PLACEHOLDER}\nThe picture shows a"
BOTH = f"{PLACEHOLDER} and {PLACEHOLDER}\nThe second picture shows a"
WITHIN = f"Here: {PLACEHOLDER} is the first, {PLACEHOLDER} the second."
ROUNDING = 1e-6  # of a log-probability: less is no difference


def showing(*images: str) -> dict[str, Json]:
    """The field of a request that brings images."""
    return {"data": {"image": list(images)}}


def places(server: Server) -> int:
    """By how much each image makes a prompt longer. Asked for once a run."""
    facts = server.target.facts
    if "places of an image" not in facts:
        one = server.ask(prompt=ASKED, max_tokens=1, **showing(shown(0)))
        two = server.ask(prompt=PLACEHOLDER + ASKED, max_tokens=1, **showing(shown(0), shown(1)))
        facts["places of an image"] = two.prompt_tokens - one.prompt_tokens
    return int(facts["places of an image"])


def echoed(server: Server, prompt: str, *images: str) -> Answer:
    """A prompt with images that comes back with its rows."""
    return server.ask(prompt=prompt, max_tokens=2, echo=True, logprobs=1, **showing(*images))


def seen(server: Server, *images: str, prompt: str = ASKED, **fields: Any) -> Row:
    """The log-probabilities of the token after a prompt with images."""
    return row_of(server, prompt, **showing(*images), **fields)


def apart(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """What the values of two rows differ by, at most. What only one of them lists is at most as
    likely in the other as the last that is listed.
    """
    both = [abs(value - other[name]) for name, value in one.items() if name in other]
    alone = [
        value - min(b.values())
        for a, b in ((one, other), (other, one))
        for name, value in a.items()
        if name not in b
    ]
    return max([0.0, *both, *alone])


def must_be_close(one: Row, other: Row, what: str) -> None:
    """Two ways to see the same."""
    found = apart(one.values, other.values)
    expected = f"log-probabilities within {CLOSE} {what}"
    require(found <= CLOSE, expected, f"{found:.4f} apart", other.at)


def look_alike(server: Server, images: Mapping[str, str], as_is: str) -> None:
    """Pictures that are the same, however they are stored."""
    plain = seen(server, as_is)
    for name, image in images.items():
        must_be_close(plain, seen(server, image), f"for the same picture as {name}")


def must_be_apart(server: Server, one: Sequence[str], other: Sequence[str], prompt: str) -> None:
    """Images that are not the same are not read as if they were. Raises Inconclusive if the model
    hardly makes a difference.
    """
    a, b, again = (seen(server, *images, prompt=prompt) for images in (one, other, one))
    found, noise = apart(a.values, b.values), apart(a.values, again.values)
    if found > CLOSE + noise:
        return
    expected = "other log-probabilities with other images"
    require(found > 4 * noise + ROUNDING, expected, f"{found:.2e} apart", b.at)
    raise Inconclusive(f"two images lead to log-probabilities {found:.2e} apart", at=b.at)


def between(server: Server, *images: str) -> dict[str, float]:
    """The log-probabilities of the text between two images, by its place."""
    answer = echoed(server, WITHIN, *images)
    rows, start = answer.choice.rows, WITHIN.index(PLACEHOLDER)
    inside = range(start + 1, WITHIN.index(PLACEHOLDER, start + 1))
    found = {
        f"{i} {name}": value
        for i, (name, value, offset) in enumerate(
            zip(rows.tokens, rows.values, rows.offsets, strict=True)
        )
        if offset in inside and value is not None
    }
    require(len(found) > 1, "numbers for the text between two images", rows, answer.at)
    return found
