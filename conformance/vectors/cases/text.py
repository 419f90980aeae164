"""Stop strings, finish reasons, token budgets, detokenization and tokenization."""

from collections.abc import Iterator, Sequence
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
    nullable,
)
from conformance.vectors.lines import Case


def stop_case(name: str, stop: Sequence[str], parts: Sequence[str], *flags: str) -> Case:
    return answer_case("stop", name, {"stop": list(stop), "parts": list(parts)}, flags)


def stop_cases() -> Iterator[Case]:
    yield stop_case("no-strings", [], ["a", "b"], "boundary")
    yield stop_case("no-match", ["x"], ["a", "b"])
    yield stop_case("within-a-part", ["b"], ["abc", "d"])
    yield stop_case("at-the-beginning", ["ab"], ["abc"], "boundary")
    yield stop_case("at-the-end", ["bc"], ["abc"], "boundary")
    yield stop_case("across-parts", ["bcd"], ["ab", "c", "de"])
    yield stop_case("withheld-then-emitted", ["abc"], ["ab", "d", "ab"])
    yield stop_case("withheld-at-the-end", ["abc"], ["xab"])
    yield stop_case("the-first-to-complete-wins", ["bcd", "c"], ["abcd"], "tie")
    yield stop_case("together-the-first-of-the-list-wins", ["c", "bc"], ["abc"], "tie")
    yield stop_case("together-the-longer-is-first", ["bc", "c"], ["abc"], "tie")
    yield stop_case("a-prefix-of-another", ["a", "ab"], ["xab"], "tie")
    yield stop_case("overlapping-prefix", ["aab"], ["aa", "ab"])
    yield stop_case("repeated-prefix", ["abab", "b!"], ["ab", "ab"])
    yield stop_case("periodic", ["aaa"], ["a", "a", "b", "a", "a", "a"])
    yield stop_case("twice-in-one-part", ["b"], ["abab"])
    yield stop_case("line-end", ["\n"], ["one", " two", "\nthree"])
    yield stop_case("two-line-ends", ["\n\n"], ["one\n", "two\n", "\n"])
    yield stop_case("empty-parts", ["ab"], ["", "a", "", "b", ""], "boundary")
    yield stop_case("characters", ["é漢"], ["aé", "漢字"], "unicode")
    yield stop_case("combining-mark", ["e\u0301"], ["caf", "e", "\u0301"], "unicode")
    yield stop_case("precomposed-is-another", ["e\u0301"], ["caf\u00e9"], "unicode")
    yield stop_case("emoji", ["👍🏽"], ["ok 👍", "🏽!"], "unicode")
    yield stop_case("case-matters", ["END"], ["the end", " END"])
    yield stop_case("spaces-matter", [" stop"], ["nonstop", " stop"])
    yield stop_case("the-longest-withheld-counts", ["abcx", "bcy"], ["abc", "z"])
    yield stop_case("sixteen-strings", [f"s{i:02}" for i in range(16)], ["a s0", "7 b"], "boundary")
    yield stop_case("a-long-string", ["x" * 40], ["x" * 39, "y", "x" * 20, "x" * 20])
    for seed in range(24):
        stop, parts = random_stop(seed)
        yield stop_case(f"random-{seed}", stop, parts, "random")


def random_stop(seed: int) -> tuple[list[str], list[str]]:
    """Return strings of two or three letters, so that partial matches are frequent."""
    numbers = iter(uniform(seed + 3000, 200).tolist())
    letters = "ab" if seed % 2 else "abc"

    def text(longest: int, shortest: int = 0) -> str:
        size = shortest + int(next(numbers) * (longest + 1 - shortest))
        return "".join(letters[int(next(numbers) * len(letters))] for _ in range(size))

    stop = [text(5, 3 if seed % 3 else 2) for _ in range(1 + seed % 3)]
    return list(dict.fromkeys(stop)), [text(3) for _ in range(10)]


def finish_case(name: str, token: int, generated: int, *flags: str, **fields: Any) -> Case:
    case = {"eos_token_ids": [2], "stop_token_ids": [7, 9], "budget": 5} | fields
    case |= {"token": token, "generated": generated}
    return answer_case("finish", name, case, flags)


def finish_cases() -> Iterator[Case]:
    yield finish_case("goes-on", 8, 4)
    yield finish_case("end-of-sequence", 2, 1)
    yield finish_case("stop-id", 9, 3)
    yield finish_case("budget", 8, 5, "boundary")
    yield finish_case("end-of-sequence-on-the-last-token", 2, 5, "boundary")
    yield finish_case("stop-id-on-the-last-token", 7, 5, "boundary")
    yield finish_case("both-is-end-of-sequence", 2, 1, "tie", stop_token_ids=[2, 7])
    yield finish_case("second-end-of-sequence", 3, 1, eos_token_ids=[2, 3])
    yield finish_case("no-stop-ids", 7, 1, "boundary", stop_token_ids=[])
    yield finish_case("id-zero", 0, 1, "boundary", stop_token_ids=[0])
    yield finish_case("one-token", 8, 1, "boundary", budget=1)


def budget_case(name: str, max_tokens: int | None, context: int, length: int, *flags: str) -> Case:
    case = {"max_tokens": max_tokens, "context": context, "prompt_length": length}
    return answer_case("budget", name, case, flags)


def budget_cases() -> Iterator[Case]:
    yield budget_case("max-tokens", 5, 100, 90)
    yield budget_case("context", 50, 100, 90)
    yield budget_case("equal", 10, 100, 90, "boundary")
    yield budget_case("null-is-the-rest-of-the-context", None, 100, 90)
    yield budget_case("null-is-at-most-16384", None, 131072, 10)
    yield budget_case("null-of-16384", None, 16394, 10, "boundary")
    yield budget_case("room-for-one", 5, 100, 99, "boundary")
    yield budget_case("no-room", 5, 100, 100, "boundary")
    yield budget_case("prompt-is-too-long", None, 100, 200)


def detokenization_case(
    name: str, pieces: Sequence[bytes], *flags: str, strip: bool = False
) -> Case:
    case = {"pieces": [piece.hex() for piece in pieces], "strip_space": strip}
    return answer_case("detokenization", name, case, flags)


def detokenization_cases() -> Iterator[Case]:
    def case(name: str, *pieces: bytes, strip: bool = False) -> Case:
        text = b"".join(pieces)
        return detokenization_case(
            name, pieces, *([] if text.isascii() else ["unicode"]), strip=strip
        )

    euro, hand = "€".encode(), "👍".encode()
    yield case("words", b"The", b" cat", b" sat")
    yield case("empty-piece", b"a", b"", b"b")
    yield case("first-space-is-stripped", b" The", b" cat", strip=True)
    yield case("first-space-is-kept", b" The", b" cat")
    yield case("one-space-is-stripped", b"  The", strip=True)
    yield case("only-of-the-first-token", b"", b" a", strip=True)
    yield case("only-a-space", b" ", b" a", strip=True)
    yield case("character-in-one-piece", b"a", euro, b"b")
    yield case("character-in-bytes", euro[:1], euro[1:2], euro[2:], b"!")
    yield case("four-bytes", *(hand[i : i + 1] for i in range(4)))
    yield case("character-with-text", b"a" + euro[:2], euro[2:] + b"b")
    yield case("two-characters-overlap", euro[:2], euro[2:] + hand[:3], hand[3:])
    yield case("incomplete-at-the-end", b"a", euro[:2])
    yield case("incomplete-then-text", b"a", euro[:2], b"b")
    yield case("incomplete-then-another", euro[:2], hand)
    yield case("lone-continuation", b"a", b"\x80", b"b")
    yield case("several-continuations", b"\x80\x81", b"\x82")
    yield case("invalid-byte", b"\xff", b"a")
    yield case("overlong", b"\xc0", b"\xaf", b"a")
    yield case("surrogate", b"\xed\xa0\x80", b"a")
    yield case("above-the-last-character", b"\xf4", b"\x90", b"\x80\x80")
    yield case("last-character", b"\xf4", b"\x8f", b"\xbf\xbf")
    yield case("byte-order-mark", b"\xef\xbb", b"\xbfa")
    yield case("null-character", b"a\x00", b"b")
    yield case("combining-mark", b"e", "\u0301".encode())
    yield case("joined-emoji", *("👩‍🚀".encode()[i : i + 2] for i in range(0, 11, 2)))


TEXT_CASES = {
    "empty": "",
    "word": "cat",
    "sentence": "Once upon a time, there was a little dog.",
    "leading-space": " cat",
    "two-leading-spaces": "  cat",
    "trailing-space": "cat ",
    "only-a-space": " ",
    "inner-spaces": "a  b   c",
    "line-ends": "one\ntwo\n\nthree\n",
    "tab": "a\tb",
    "digits": "0123456789 3.14",
    "json": '{"name": "Lily", "age": 20}',
    "umlauts": "Grüße aus Köln",
    "chinese": "漢字",
    "emoji": "👍🏽 ok",
    "combining": "cafe\u0301",
    "null-character": "a\x00b",
    "bos-by-name": "<s>cat",
    "special-inside": "a</s>b",
    "special-with-spaces": "a </s> b",
    "sentencepiece-space": "a▁b",
    "unknown-by-name": "<unk>",
}


def tokenization_cases() -> Iterator[Case]:
    for name, text in TEXT_CASES.items():
        flags = [] if text.isascii() else ["unicode"]
        yield answer_case("tokenization", name, {"text": text}, flags)


STREAM = {"deltas": EXACT, "text": EXACT}
FAMILIES = (
    Family(
        name="stop",
        function="stopping.StopStrings",
        statement="The text ends before the stop string that completes first; what may become one "
        "is withheld. deltas: the text that each part adds, the last one with what was withheld.",
        compare={**STREAM, "stop_reason": EXACT},
        input={"stop": TEXTS, "parts": TEXTS},
        expect={"deltas": TEXTS, "text": TEXT, "stop_reason": nullable(TEXT)},
        cases=stop_cases,
    ),
    Family(
        name="finish",
        function="stopping.finish",
        statement="End-of-sequence and stop ids end a choice with stop, the budget with length.",
        compare={"finish_reason": EXACT, "stop_reason": EXACT},
        input={
            "token": COUNT,
            "generated": COUNT,
            "budget": COUNT,
            "eos_token_ids": IDS,
            "stop_token_ids": IDS,
        },
        expect={"finish_reason": nullable(TEXT), "stop_reason": nullable(COUNT)},
        cases=finish_cases,
    ),
    Family(
        name="budget",
        function="stopping.token_budget",
        statement="The most tokens of a choice: max_tokens, or what the context has left; null if "
        "it has no room for one.",
        compare={"budget": EXACT},
        input={"max_tokens": nullable(COUNT), "context": COUNT, "prompt_length": COUNT},
        expect={"budget": nullable(COUNT)},
        cases=budget_cases,
    ),
    Family(
        name="detokenization",
        function="tokenizer.detokenizer.Detokenizer",
        statement="The text is the bytes of the pieces as UTF-8, each maximal invalid part as "
        "U+FFFD; incomplete characters are withheld. deltas: the text that each piece adds.",
        compare=STREAM,
        input={"pieces": array_of(HEX), "strip_space": BOOLEAN},
        expect={"deltas": TEXTS, "text": TEXT},
        cases=detokenization_cases,
    ),
    Family(
        name="tokenization",
        function="tokenizer.protocol.Tokenizer",
        statement="The ids of a prompt, by the tokenizer in tokenization/.",
        compare={"ids": EXACT},
        input={"text": TEXT},
        expect={"ids": IDS},
        cases=tokenization_cases,
        files=("tokenization/tokenizer.model", "tokenization/tokenizer_config.json"),
    ),
)
