"""Regular expressions against `re`, formats against the standard library."""

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

from conformance.parity.format_strategies import anchored, chance, pattern, patterns
from reference.grammar.language.derivatives import Derivatives
from reference.grammar.language.errors import RegexError, UnsupportedFormat
from reference.grammar.language.expressions import NOTHING, Language
from reference.grammar.language.formats import of_format
from reference.grammar.language.json_grammar import string_of
from reference.grammar.language.regex import LONGEST, compile_regex
from reference.grammar.response_format import compile_format
from tests.support.hypothesis_budget import share
from tests.support.jsonschema_oracle import is_date_time, is_time

DIALECTS = (re.ASCII, re.UNICODE)
ALIKE = 'ab0 \n-€😀"\\'  # characters that every dialect puts into the same categories
AB = ["a", "b", "[ab]"]


def derivatives(pattern: str, *, anywhere: bool = False) -> Derivatives:
    return Derivatives(Language(compile_regex(pattern, anywhere=anywhere)))


def everywhere(found: Callable[[re.RegexFlag], object]) -> bool:
    """Whether something holds in both dialects; they must agree on it."""
    ascii_only, unicode = (bool(found(flag)) for flag in DIALECTS)
    assert ascii_only == unicode
    return unicode


@given(patterns(), st.lists(st.text(ALIKE, max_size=5), min_size=5, max_size=5))
def test_a_pattern_of_the_whole(pattern: str, texts: list[str]) -> None:
    found = derivatives(pattern)
    for text in texts:
        matched = everywhere(lambda flag, text=text: re.fullmatch(pattern, text, flag))
        assert found.accepts(text.encode()) == matched


@given(chance(), st.lists(st.text(ALIKE, max_size=5), min_size=5, max_size=5))
def test_a_pattern_anywhere(rng: Random, texts: list[str]) -> None:
    """`$` is the end here, and never before a last line break."""
    pattern = anchored(rng)
    found, literal = derivatives(pattern, anywhere=True), pattern.replace("$", r"\Z")
    for text in texts:
        matched = everywhere(lambda flag, text=text: re.search(literal, text, flag))
        assert found.accepts(text.encode()) == matched


@given(chance(), st.booleans())
def test_patterns_of_few_letters_match_what_they_match(rng: Random, anywhere: bool) -> None:
    """Every text of up to 4 letters, and every beginning of one."""
    pattern = anchored(rng, AB)
    found = derivatives(pattern, anywhere=anywhere)
    match = re.search if anywhere else re.fullmatch
    for length in range(5):
        for text in map("".join, itertools.product("ab", repeat=length)):
            matched = match(pattern, text) is not None
            assert found.accepts(text.encode()) == matched
            if matched:
                states = [found.after(found.language.start, text[:i].encode()) for i in range(5)]
                assert NOTHING not in states


ODD = ["é", "٣", "\u00a0", "\ufeff", "\x1c", "\u2028", "ª", "𝟘", "_", "\x85", "ß", "a", "0", " "]


@share(60)
@given(patterns(), st.lists(st.text(st.sampled_from(ODD), max_size=4), min_size=6, max_size=6))
@example(r"[\w\D]\S", ["٣é", "a\ufeff"])
def test_what_is_accepted_matches_in_every_dialect(pattern: str, texts: list[str]) -> None:
    found = derivatives(pattern)
    for text in filter(lambda text: found.accepts(text.encode()), texts):
        for flag in DIALECTS:
            assert re.fullmatch(pattern, text, flag)


CATEGORIES = [r"\d", r"\w", r"\s", r"\D", r"\W", r"\S", ".", "[^a]", r"[^\d]", r"[^\w]", r"[^\s]"]
CATEGORIES += [r"[^\D]", r"[^\W]", r"[^\S]", r"[^\w\s]", r"[\d\s]", "[a-zé-😀]", "[^a-zé-😀]"]
CATEGORIES += [r"[^\n-\r]", "[😀]", "[\x80-߿]", "[ࠀ-￿]", "[\U00010000-\U0010ffff]"]
EDGES = [*map(chr, range(0x180)), *ODD, "߿", "ࠀ", "\ud7ff", "\ue000", "￿", "😀", "😁"]
EDGES += ["\U00010000", "\U0010ffff"]


@pytest.mark.parametrize("category", CATEGORIES)
def test_categories(category: str) -> None:
    """Of single characters: what every dialect has in it. In that of ECMAScript the byte order mark
    is white space.
    """
    found = derivatives(category)
    white = category in (r"\S", r"[^\s]", r"[^\w\s]")

    def holds(character: str) -> None:
        matched = all(re.fullmatch(category, character, flag) for flag in DIALECTS)
        expected = matched and not (white and character == "\ufeff")
        assert found.accepts(character.encode()) == expected

    for character in EDGES:
        holds(character)
    share(60)(given(st.characters(codec="utf-8"))(holds))()


@share(200)
@given(st.binary(min_size=1, max_size=5))
@example(b"\xc0\x80")
@example(b"\xe0\x9f\xbf")
@example(b"\xed\xa0\x80")
@example(b"\xf0\x8f\xbf\xbf")
@example(b"\xf4\x90\x80\x80")
@example(b"\xf4\x8f\xbf\xbf")
@example(b"\xf5\x80\x80\x80")
def test_any_text_is_utf_8(text: bytes) -> None:
    found = derivatives("(?s).*")
    try:
        text.decode()
        correct = True
    except UnicodeDecodeError as error:
        correct = False
        begun = error.reason == "unexpected end of data"
        assert (found.after(found.language.start, text) is not NOTHING) == begun
    assert found.accepts(text) == correct


@share(40)
@given(chance(), st.integers(0, 4), st.integers(0, 4))
def test_a_pattern_and_a_length(rng: Random, least: int, more: int) -> None:
    """Which beginnings there are is told by looking at every text."""
    pattern = f"^(?:{pattern_of(rng)})$"
    texts = [
        text
        for length in range(least, least + more + 1)
        for text in map("".join, itertools.product("ab", repeat=length))
        if re.search(pattern, text)
    ]
    schema = {
        "type": "string",
        "pattern": pattern,
        "minLength": least,
        "maxLength": least + more,
    }
    asked = {"type": "json_schema", "json_schema": {"schema": schema}}
    if not texts:
        with pytest.raises(UnsupportedFormat, match="no text is an instance"):
            compile_format(asked)
        return
    language = compile_format(asked)
    assert language is not None
    found = Derivatives(language)
    for length in range(least + more + 2):
        for text in map("".join, itertools.product("ab", repeat=length)):
            state = found.after(language.start, f'"{text}'.encode())
            assert (state is not NOTHING) == any(t.startswith(text) for t in texts)
            assert found.after(state, b'"').nullable == (text in texts)


def pattern_of(rng: Random) -> str:
    return pattern(rng, 2, AB)


def test_patterns_that_are_too_much() -> None:
    with pytest.raises(RegexError, match=f"{LONGEST + 1} characters are more than {LONGEST}"):
        compile_regex("a" * (LONGEST + 1))
    with pytest.raises(RegexError, match="nested too deeply"):
        compile_regex("(" * 3000 + "a" + ")" * 3000)
    assert derivatives("a" * LONGEST).accepts(b"a" * LONGEST)


def test_a_pattern_of_many_states_takes_no_longer() -> None:
    """What a matcher that goes back would take for ever for."""
    assert not derivatives("(a+)+$").accepts(b"a" * 2000 + b"b")
    assert derivatives("(a|a)*b").accepts(b"a" * 2000 + b"b")


def agrees(name: str, text: str, correct: bool) -> None:
    found = Derivatives(Language(of_format(name)))
    assert found.accepts(text.encode()) == correct, text
    quoted = Derivatives(Language(string_of(of_format(name))))
    assert quoted.accepts(f'"{text}"'.encode()) == correct


def holds(check: Callable[[str], object], text: str) -> bool:
    try:
        return check(text) is not False
    except ValueError:
        return False


YEARS = st.one_of(st.integers(0, 9999), st.sampled_from([0, 4, 100, 1900, 2000, 2023, 2024, 9999]))
DATES = st.tuples(YEARS, st.integers(0, 13), st.sampled_from([0, 1, 9, 10, 28, 29, 30, 31, 32]))


@share(60)
@given(DATES)
def test_dates(day: tuple[int, int, int]) -> None:
    text = "{:04}-{:02}-{:02}".format(*day)
    correct = holds(date.fromisoformat, text)
    agrees("date", text, correct)
    agrees("date-time", f"{text}T00:00:00Z", correct)
    agrees("date", text.replace("-", ""), False)


ZONES = st.one_of(
    st.just("Z"), st.just(""), st.from_regex(r"[+-][0-2][0-9]:[0-6][0-9]", fullmatch=True)
)
CLOCKS = st.from_regex(r"[0-2][0-9]:[0-6][0-9]:[0-5][0-9](\.[0-9]{0,9})?", fullmatch=True)


@share(60)
@given(CLOCKS.map(lambda text: text.replace("\n", "")), ZONES)
@example("23:59:60", "Z")
@example("23:59:59.0000000001", "Z")
def test_times(clock: str, zone: str) -> None:
    """Of leap seconds and of more than 9 digits not every reader knows."""
    text = clock + zone
    correct = holds(is_time, text) and ":60" not in clock and len(clock) < 19
    agrees("time", text, correct)
    agrees("date-time", f"2024-02-29T{text}", correct)
    assert not correct or is_date_time(f"2024-02-29T{text}")


@given(
    st.lists(st.integers(0, 300), min_size=3, max_size=5), st.sampled_from(["{}", "{}", "{:02}"])
)
def test_ipv4(numbers: list[int], form: str) -> None:
    text = ".".join(form.format(n) for n in numbers)
    agrees("ipv4", text, holds(ipaddress.IPv4Address, text))


GROUPS = st.lists(st.sampled_from(["", "0", "1", "ab", "FFFF", "0000", "12345"]), max_size=9)


@share(70)
@given(st.one_of(GROUPS.map(":".join), st.ip_addresses(v=6).map(str)), st.integers(0, 20))
@example("::", 0)
@example("1:2:3:4:5:6:7::", 0)
@example("::2:3:4:5:6:7:8", 0)
@example("1:2:3:4::5:6:7:8", 0)
def test_ipv6(text: str, colon: int) -> None:
    for spelled in text, text[:colon] + ":" + text[colon:]:
        agrees("ipv6", spelled, holds(ipaddress.IPv6Address, spelled))


@given(st.uuids(), st.integers(0, 35), st.sampled_from(["", "-", "g", "0", "A"]))
def test_uuids(value: uuid.UUID, place: int, instead: str) -> None:
    text = str(value)
    agrees("uuid", text, True)
    changed = text[:place] + instead + text[place + 1 :]
    correct = [len(part) for part in changed.split("-")] == [8, 4, 4, 4, 12] and "g" not in changed
    agrees("uuid", changed, correct)


ADDRESSES = st.text(st.sampled_from("aZ0.-@+_' é"), max_size=12)


@share(60)
@given(st.one_of(ADDRESSES, st.tuples(ADDRESSES, ADDRESSES).map("@".join)))
@example("a.b+c@d-e.f0")
@example("a@" + "b" * 63)
@example("a@" + "b" * 64)
def test_email(text: str) -> None:
    """An address of RFC 5321 with atoms and names, and neither quotes nor numbers."""
    local, _, domain = text.rpartition("@")
    atoms, labels = local.split("."), domain.split(".")
    correct = all(atoms) and not set(local) & set("@ é")
    for label in labels:
        plain = label.replace("-", "")
        correct = correct and plain.isalnum() and plain.isascii() and len(label) <= 63
        correct = correct and label.strip("-") == label
    agrees("email", text, correct)
