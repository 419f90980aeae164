"""The offsets of tokens in the text of a choice, and the event of a stream that has each entry."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from conformance.vectors.cases.build import answer_case, uniform
from conformance.vectors.families import (
    BOOLEAN,
    COUNT,
    EXACT,
    HEX,
    IDS,
    TEXT,
    TEXTS,
    Family,
    array_of,
)
from conformance.vectors.lines import Case

# Other units than characters. An offset is the length of the text before the token.
UNITS: Mapping[str, Callable[[str], int]] = {
    "offsets in UTF-8 bytes": lambda text: len(text.encode()),
    "offsets in UTF-16 code units": lambda text: len(text.encode("utf-16-le")) // 2,
}


def offset_case(
    name: str,
    pieces: Sequence[bytes],
    *flags: str,
    stop: Sequence[str] = (),
    start: int = 0,
    strip: bool = False,
) -> Case:
    """Return a case with the results of other units, if they differ."""
    case: dict[str, Any] = {
        "pieces": [piece.hex() for piece in pieces],
        "strip_space": strip,
        "stop": list(stop),
        "start": start,
    }
    right = answer_case("text_offset", name, case, flags)
    text, offsets = right.expect["text"], right.expect["offsets"]
    dialects = {
        unit: {"offsets": [start + length(text[: offset - start]) for offset in offsets]}
        for unit, length in UNITS.items()
    }
    different = {unit: r for unit, r in dialects.items() if r["offsets"] != offsets}
    return answer_case("text_offset", name, case, flags, dialects=different)


def offset_cases() -> Iterator[Case]:
    def case(name: str, *pieces: bytes, **fields: Any) -> Case:
        flags = [] if b"".join(pieces).isascii() else ["unicode"]
        return offset_case(name, pieces, *flags, **fields)

    euro, hand = "€".encode(), "👍".encode()
    yield case("words", b"The", b" cat", b" sat")
    yield case("one-token", b"The")
    yield case("after-an-echo", b" cat", b" sat", start=11)
    yield case("empty-piece", b"a", b"", b"", b"b")
    yield case("empty-piece-at-the-end", b"a", b"")
    yield case("first-space-is-stripped", b" The", b" cat", strip=True)
    yield case("first-token-is-only-a-space", b" ", b" a", strip=True)
    yield case("characters-of-two-bytes", "né".encode(), "é".encode(), b"!")
    yield case("characters-of-four-bytes", hand, hand, b"!")
    yield case("combining-mark", b"e", "\u0301".encode(), b"!")
    yield case("character-in-bytes", b"a", euro[:1], euro[1:2], euro[2:], b"b")
    yield case("four-bytes", *(hand[i : i + 1] for i in range(4)), b"!")
    yield case("character-with-text", b"a" + euro[:2], euro[2:] + b"b", b"c")
    yield case("incomplete-at-the-end", b"a", euro[:1], euro[1:2])
    yield case("incomplete-then-text", b"a", euro[:2], b"b", b"c")
    yield case("invalid-bytes", b"\xff", b"\xff", b"a")
    yield case("stop-string-in-one-token", b"ab", b"cd", b"ef", stop=["d"])
    yield case("stop-string-across-tokens", b"ab", b"cd", b"ef", b"gh", stop=["def"])
    yield case("stop-string-from-the-start", b"ab", b"cd", stop=["abc"])
    yield case("stop-string-withheld-then-emitted", b"ab", b"cd", b"xx", stop=["bcde"])
    yield case("stop-string-withheld-at-the-end", b"ab", b"cd", stop=["cde"])
    yield case("stop-string-after-an-echo", b"ab", b"cd", stop=["d"], start=7)
    yield case("stop-string-of-characters", "é".encode(), "漢".encode(), b"a", stop=["漢a"])
    yield case("stop-string-in-bytes", b"a", euro[:2], euro[2:], b"b", stop=["€"])
    for seed in range(12):
        pieces, stop = random_pieces(seed)
        flags = ["random"] if b"".join(pieces).isascii() else ["random", "unicode"]
        yield offset_case(f"random-{seed}", pieces, *flags, stop=stop, start=seed % 3 * 5)


def random_pieces(seed: int) -> tuple[list[bytes], list[str]]:
    """Return a text cut into pieces anywhere, also within characters, and a stop string."""
    numbers = uniform(seed + 5000, 40)
    letters = ["a", "b", " ", "é", "漢", "👍"] if seed % 3 else ["a", "b", " "]
    text = "".join(letters[int(u * len(letters))] for u in numbers[:20])
    data, cuts = text.encode(), sorted(int(u * 40) for u in numbers[20:28])
    ends = [*[cut for cut in cuts if cut < len(data)], len(data)]
    pieces = [data[i:j] for i, j in zip([0, *ends], ends, strict=False)]
    return pieces, [text[12:15]] if seed % 2 else []


FAMILIES = (
    Family(
        name="text_offset",
        function="output_text.StreamedChoice",
        statement="The offset of each token in the text, in characters. entries: how many tokens "
        "the event of each piece lists.",
        compare={"text": EXACT, "offsets": EXACT, "entries": EXACT},
        input={"pieces": array_of(HEX), "strip_space": BOOLEAN, "stop": TEXTS, "start": COUNT},
        expect={"text": TEXT, "offsets": IDS, "entries": IDS},
        cases=offset_cases,
    ),
)
