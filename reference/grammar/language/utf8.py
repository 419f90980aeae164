"""Derivatives of one character, byte by byte, and the bytes at which derivatives change.

Source: RFC 3629 (UTF-8).
"""

from reference.grammar.language.expressions import EMPTY_SET, EPSILON, chars
from reference.grammar.language.nodes import (
    Alternation,
    Chars,
    Complement,
    Concat,
    Expression,
    Intersection,
    Repeat,
    Token,
)

# Lead bytes of multi-byte characters: (first, last, continuation bytes, mask of the payload bits).
LEADS = ((0xC0, 0xDF, 1, 0x1F), (0xE0, 0xEF, 2, 0x0F), (0xF0, 0xF7, 3, 0x07))


def utf8_derivative(state: Chars, byte: int) -> Expression:
    """Return what may follow one byte of a character: its remaining bytes, EPSILON, or
    EMPTY_SET.
    """
    if state.pending:
        # A continuation byte carries the next six bits of the code point.
        if not 0x80 <= byte <= 0xBF:
            return EMPTY_SET
        return narrow(state, state.pending - 1, byte & 0x3F)
    if byte < 0x80:
        return EPSILON if any(low <= byte <= high for low, high in state.ranges) else EMPTY_SET
    for first, last, pending, bits in LEADS:
        if first <= byte <= last:
            # Overlong encodings are invalid: drop code points that fit in fewer bytes.
            shortest = (0x80, 0x800, 0x10000)[pending - 1]
            ranges = tuple((max(low, shortest), high) for low, high in state.ranges)
            return narrow(Chars(ranges), pending, byte & bits)
    return EMPTY_SET


def narrow(state: Chars, pending: int, bits: int) -> Expression:
    """Keep the code points whose leading bits are `bits`, and return their `pending` last bytes."""
    size = 64**pending
    base = bits * size
    ranges = [
        (max(low - base, 0), min(high - base, size - 1))
        for low, high in state.ranges
        if low <= high and low < base + size and high >= base
    ]
    if not pending:
        return EPSILON if ranges else EMPTY_SET
    return chars(ranges, pending)


def byte_class_boundaries(state: Expression) -> set[int]:
    """Return representatives of the byte classes: every byte that may come next has the same
    derivative as one of them.
    """
    match state:
        case Chars(ranges=ranges, pending=pending) if pending:
            size = 64 ** (pending - 1)
            bounds = {0x80 + n // size for r in ranges for n in r}
            return {b + i for b in bounds for i in (0, 1) if b + i <= 0xBF} | {0x80}
        case Chars(ranges=ranges):
            boundaries = {0, 0xC2, 0xE0, 0xE1, 0xED, 0xEE, 0xF0, 0xF1, 0xF4}
            for low, high in ranges:
                for code in low, high:
                    first = chr(code).encode("utf-8", "surrogatepass")[0]
                    boundaries |= {first, first + 1}
            return {b for b in boundaries if b <= 0xF4}
        case Concat():
            boundaries = set()
            while isinstance(state, Concat):
                boundaries |= byte_class_boundaries(state.first)
                if not state.first.nullable:
                    return boundaries
                state = state.rest
            return boundaries | byte_class_boundaries(state)
        case Alternation(options=options):
            return set().union(*map(byte_class_boundaries, options))
        case Intersection(left=left, right=right):
            return byte_class_boundaries(left) | byte_class_boundaries(right)
        case Repeat(body=body) | Complement(body=body) | Token(body=body):
            return byte_class_boundaries(body)
        case _:
            return set()
