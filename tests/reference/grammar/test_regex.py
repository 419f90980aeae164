"""Regular expressions compared with `re`, and formats with the standard library."""

import ipaddress
import itertools
import re
import uuid
from collections.abc import Callable
from datetime import date
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from conformance.parity.format_strategies import patterns, randoms
from conformance.parity.pattern_strategies import anchored, looking_ahead, pattern
from reference.grammar.language.derivatives import Derivatives
from reference.grammar.language.errors import RegexError, UnsupportedFormat
from reference.grammar.language.expressions import EMPTY_SET, Language
from reference.grammar.language.formats import format_expression
from reference.grammar.language.json_grammar import canonical_string
from reference.grammar.language.regex import MAX_PATTERN_LENGTH, compile_regex
from reference.grammar.response_format import compile_format
from tests.support.hypothesis_budget import example_budget
from tests.support.jsonschema_oracle import is_date_time, is_time

DIALECTS = (re.ASCII, re.UNICODE)
UNDISPUTED = 'ab0 \n-€😀"\\'  # characters whose categories are the same in every dialect
AB = ["a", "b", "[ab]"]


def derivatives(pattern: str, *, anywhere: bool = False) -> Derivatives:
    return Derivatives(Language(compile_regex(pattern, anywhere=anywhere)))


def in_every_dialect(match: Callable[[re.RegexFlag], object]) -> bool:
    """Return whether a text matches; both dialects must agree."""
    ascii_only, unicode = (bool(match(flag)) for flag in DIALECTS)
    assert ascii_only == unicode
    return unicode


@given(patterns(), st.lists(st.text(UNDISPUTED, max_size=5), min_size=5, max_size=5))
def test_pattern_of_whole_text(pattern: str, texts: list[str]) -> None:
    matcher = derivatives(pattern)
    for text in texts:
        matched = in_every_dialect(lambda flag, text=text: re.fullmatch(pattern, text, flag))
        assert matcher.accepts(text.encode()) == matched


@given(randoms(), st.lists(st.text(UNDISPUTED, max_size=5), min_size=5, max_size=5))
def test_pattern_anywhere(rng: Random, texts: list[str]) -> None:
    """In a schema, `$` is the very end, not also before a final line break."""
    pattern = anchored(rng)
    matcher, end_only = derivatives(pattern, anywhere=True), pattern.replace("$", r"\Z")
    for text in texts:
        matched = in_every_dialect(lambda flag, text=text: re.search(end_only, text, flag))
        assert matcher.accepts(text.encode()) == matched


@given(randoms(), st.booleans())
def test_short_texts_and_their_prefixes(rng: Random, anywhere: bool) -> None:
    """Exhaustive over the texts of up to 4 letters."""
    pattern = rng.choice([anchored, looking_ahead])(rng, AB)
    matcher = derivatives(pattern, anywhere=anywhere)
    match = re.search if anywhere else re.fullmatch
    for length in range(5):
        for text in map("".join, itertools.product("ab", repeat=length)):
            matched = match(pattern, text) is not None
            assert matcher.accepts(text.encode()) == matched
            if matched:
                states = [
                    matcher.advance(matcher.language.start, text[:i].encode()) for i in range(5)
                ]
                assert EMPTY_SET not in states


@given(randoms(), st.lists(st.text(UNDISPUTED, max_size=5), min_size=5, max_size=5))
def test_lookaheads_hold_for_every_meaning_of_dollar(rng: Random, texts: list[str]) -> None:
    """A text is accepted only if `$` at the very end, and before a final line break, matches it."""
    pattern = looking_ahead(rng)
    matcher, end_only = derivatives(pattern, anywhere=True), pattern.replace("$", r"\Z")
    for text in texts:
        matched = [re.search(p, text, flag) for p in (pattern, end_only) for flag in DIALECTS]
        if matcher.accepts(text.encode()):
            assert all(matched)
        elif "\n" not in text:
            assert not any(matched)


REFUSED_LOOKAROUND = ["(?:a(?!b))+", "(?:(?=a)[ab]|c){2}d", "((?!a)b|a)c", "(?<=a)b", "a(?<!a)"]


@pytest.mark.parametrize("pattern", REFUSED_LOOKAROUND)
def test_lookaround_whose_context_is_unknown_is_refused(pattern: str) -> None:
    for anywhere in (False, True):
        with pytest.raises(RegexError, match="lookahead is supported only|lookbehind is not"):
            compile_regex(pattern, anywhere=anywhere)


ODD = ["é", "٣", "\u00a0", "\ufeff", "\x1c", "\u2028", "ª", "𝟘", "_", "\x85", "ß", "a", "0", " "]


@example_budget(60)
@given(patterns(), st.lists(st.text(st.sampled_from(ODD), max_size=4), min_size=6, max_size=6))
@example(r"[\w\D]\S", ["٣é", "a\ufeff"])
def test_accepted_texts_match_in_every_dialect(pattern: str, texts: list[str]) -> None:
    matcher = derivatives(pattern)
    for text in filter(lambda text: matcher.accepts(text.encode()), texts):
        for flag in DIALECTS:
            assert re.fullmatch(pattern, text, flag)


CATEGORIES = [r"\d", r"\w", r"\s", r"\D", r"\W", r"\S", ".", "[^a]", r"[^\d]", r"[^\w]", r"[^\s]"]
CATEGORIES += [r"[^\D]", r"[^\W]", r"[^\S]", r"[^\w\s]", r"[\d\s]", "[a-zé-😀]", "[^a-zé-😀]"]
CATEGORIES += [r"[^\n-\r]", "[😀]", "[\x80-߿]", "[ࠀ-￿]", "[\U00010000-\U0010ffff]"]
EDGES = [*map(chr, range(0x180)), *ODD, "߿", "ࠀ", "\ud7ff", "\ue000", "￿", "😀", "😁"]
EDGES += ["\U00010000", "\U0010ffff"]


@pytest.mark.parametrize("category", CATEGORIES)
def test_categories(category: str) -> None:
    """A category contains the characters that it has in every dialect. In ECMAScript the byte order
    mark is white space.
    """
    matcher = derivatives(category)
    excludes_space = category in (r"\S", r"[^\s]", r"[^\w\s]")

    def check(character: str) -> None:
        matched = all(re.fullmatch(category, character, flag) for flag in DIALECTS)
        expected = matched and not (excludes_space and character == "\ufeff")
        assert matcher.accepts(character.encode()) == expected

    for character in EDGES:
        check(character)
    example_budget(60)(given(st.characters(codec="utf-8"))(check))()


@example_budget(200)
@given(st.binary(min_size=1, max_size=5))
@example(b"\xc0\x80")
@example(b"\xe0\x9f\xbf")
@example(b"\xed\xa0\x80")
@example(b"\xf0\x8f\xbf\xbf")
@example(b"\xf4\x90\x80\x80")
@example(b"\xf4\x8f\xbf\xbf")
@example(b"\xf5\x80\x80\x80")
def test_only_valid_utf_8_is_accepted(text: bytes) -> None:
    matcher = derivatives("(?s).*")
    try:
        text.decode()
        correct = True
    except UnicodeDecodeError as error:
        correct = False
        is_prefix = error.reason == "unexpected end of data"
        assert (matcher.advance(matcher.language.start, text) is not EMPTY_SET) == is_prefix
    assert matcher.accepts(text) == correct


@example_budget(40)
@given(randoms(), st.integers(0, 4), st.integers(0, 4))
def test_pattern_with_length(rng: Random, min_length: int, span: int) -> None:
    """Exhaustive over the texts of these lengths and their prefixes."""
    pattern = f"^(?:{pattern_of(rng)})$"
    texts = [
        text
        for length in range(min_length, min_length + span + 1)
        for text in map("".join, itertools.product("ab", repeat=length))
        if re.search(pattern, text)
    ]
    schema = {
        "type": "string",
        "pattern": pattern,
        "minLength": min_length,
        "maxLength": min_length + span,
    }
    format = {"type": "json_schema", "json_schema": {"schema": schema}}
    if not texts:
        with pytest.raises(UnsupportedFormat, match="no text is an instance"):
            compile_format(format)
        return
    language = compile_format(format)
    assert language is not None
    matcher = Derivatives(language)
    for length in range(min_length + span + 2):
        for text in map("".join, itertools.product("ab", repeat=length)):
            state = matcher.advance(language.start, f'"{text}'.encode())
            assert (state is not EMPTY_SET) == any(t.startswith(text) for t in texts)
            assert matcher.advance(state, b'"').nullable == (text in texts)


def pattern_of(rng: Random) -> str:
    return pattern(rng, 2, AB)


def test_oversized_patterns_are_refused() -> None:
    with pytest.raises(RegexError, match=f"{MAX_PATTERN_LENGTH + 1} characters, at most"):
        compile_regex("a" * (MAX_PATTERN_LENGTH + 1))
    with pytest.raises(RegexError, match="nested too deeply"):
        compile_regex("(" * 3000 + "a" + ")" * 3000)
    assert derivatives("a" * MAX_PATTERN_LENGTH).accepts(b"a" * MAX_PATTERN_LENGTH)


def test_matching_time_is_linear() -> None:
    """A backtracking matcher would take exponential time."""
    assert not derivatives("(a+)+$").accepts(b"a" * 2000 + b"b")
    assert derivatives("(a|a)*b").accepts(b"a" * 2000 + b"b")


def agrees(name: str, text: str, correct: bool) -> None:
    matcher = Derivatives(Language(format_expression(name)))
    assert matcher.accepts(text.encode()) == correct, text
    quoted = Derivatives(Language(canonical_string(format_expression(name))))
    assert quoted.accepts(f'"{text}"'.encode()) == correct


def is_valid(check: Callable[[str], object], text: str) -> bool:
    try:
        return check(text) is not False
    except ValueError:
        return False


YEARS = st.one_of(st.integers(0, 9999), st.sampled_from([0, 4, 100, 1900, 2000, 2023, 2024, 9999]))
DATES = st.tuples(YEARS, st.integers(0, 13), st.sampled_from([0, 1, 9, 10, 28, 29, 30, 31, 32]))


@example_budget(60)
@given(DATES)
def test_dates(day: tuple[int, int, int]) -> None:
    text = "{:04}-{:02}-{:02}".format(*day)
    correct = is_valid(date.fromisoformat, text)
    agrees("date", text, correct)
    agrees("date-time", f"{text}T00:00:00Z", correct)
    agrees("date", text.replace("-", ""), False)


ZONES = st.one_of(
    st.just("Z"), st.just(""), st.from_regex(r"[+-][0-2][0-9]:[0-6][0-9]", fullmatch=True)
)
CLOCKS = st.from_regex(r"[0-2][0-9]:[0-6][0-9]:[0-5][0-9](\.[0-9]{0,9})?", fullmatch=True)


@example_budget(60)
@given(CLOCKS.map(lambda text: text.replace("\n", "")), ZONES)
@example("23:59:60", "Z")
@example("23:59:59.0000000001", "Z")
def test_times(clock: str, zone: str) -> None:
    """Leap seconds and more than 9 digits are rejected, as by some validators."""
    text = clock + zone
    correct = is_valid(is_time, text) and ":60" not in clock and len(clock) < 19
    agrees("time", text, correct)
    agrees("date-time", f"2024-02-29T{text}", correct)
    assert not correct or is_date_time(f"2024-02-29T{text}")


@given(
    st.lists(st.integers(0, 300), min_size=3, max_size=5), st.sampled_from(["{}", "{}", "{:02}"])
)
def test_ipv4(numbers: list[int], form: str) -> None:
    text = ".".join(form.format(n) for n in numbers)
    agrees("ipv4", text, is_valid(ipaddress.IPv4Address, text))


GROUPS = st.lists(st.sampled_from(["", "0", "1", "ab", "FFFF", "0000", "12345"]), max_size=9)


@example_budget(70)
@given(st.one_of(GROUPS.map(":".join), st.ip_addresses(v=6).map(str)), st.integers(0, 20))
@example("::", 0)
@example("1:2:3:4:5:6:7::", 0)
@example("::2:3:4:5:6:7:8", 0)
@example("1:2:3:4::5:6:7:8", 0)
def test_ipv6(text: str, colon: int) -> None:
    for address in text, text[:colon] + ":" + text[colon:]:
        agrees("ipv6", address, is_valid(ipaddress.IPv6Address, address))


@given(st.uuids(), st.integers(0, 35), st.sampled_from(["", "-", "g", "0", "A"]))
def test_uuids(value: uuid.UUID, position: int, inserted: str) -> None:
    text = str(value)
    agrees("uuid", text, True)
    changed = text[:position] + inserted + text[position + 1 :]
    correct = [len(part) for part in changed.split("-")] == [8, 4, 4, 4, 12] and "g" not in changed
    agrees("uuid", changed, correct)


ADDRESSES = st.text(st.sampled_from("aZ0.-@+_' é"), max_size=12)


@example_budget(60)
@given(st.one_of(ADDRESSES, st.tuples(ADDRESSES, ADDRESSES).map("@".join)))
@example("a.b+c@d-e.f0")
@example("a@" + "b" * 63)
@example("a@" + "b" * 64)
def test_email(text: str) -> None:
    """Addresses of RFC 5321 with atoms and domain names, without quotes or address literals."""
    local, _, domain = text.rpartition("@")
    atoms, labels = local.split("."), domain.split(".")
    correct = all(atoms) and not set(local) & set("@ é")
    for label in labels:
        plain = label.replace("-", "")
        correct = correct and plain.isalnum() and plain.isascii() and len(label) <= 63
        correct = correct and label.strip("-") == label
    agrees("email", text, correct)
