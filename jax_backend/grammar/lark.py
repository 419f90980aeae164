"""A language in llguidance's notation, a variant of Lark's: its rules are rules, its tokens are
terminals, and what a token is made of stands inside of `/…/` in the syntax of Rust's `regex`.

Source: https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md
"""

from collections.abc import Iterable, Iterator
from itertools import groupby

from reference.grammar.language.char_ranges import LAST, subtract
from reference.grammar.language.expressions import (
    ANY,
    EMPTY,
    Both,
    Chars,
    Expression,
    Language,
    Or,
    Other,
    Ref,
    Repeat,
    Then,
    Token,
    both,
    chars,
    either,
    literal,
    optional,
    parts,
    repeat,
    sequence,
    spine,
    then,
    token,
)
from reference.grammar.language.json_grammar import LEADING, SPACE


def lark(language: Language) -> str:
    """The grammar of a language. Without `no_forcing`, of what must come only one way to tokenize
    it would be allowed.
    """
    writer = Writer(language)
    lines = ['%llguidance {"no_forcing": true}', f"start: {writer.rule(language.start)}"]
    for name, rule in language.reachable.items():
        lines.append(f"{writer.name(name)}: {writer.rule(rule)}")
    lines += [f"{name}: {terminal(body)}" for body, name in writer.terminals.items()]
    return "\n".join(lines) + "\n"


class Writer:
    """Names rules and terminals by number."""

    def __init__(self, language: Language) -> None:
        self.names = {name: f"r{i}" for i, name in enumerate(language.reachable)}
        self.terminals: dict[Expression, str] = {}

    def name(self, rule: str) -> str:
        return self.names[rule]

    def rule(self, expression: Expression) -> str:
        match expression:
            case Token(body=body):
                return self.terminals.setdefault(body, f"T{len(self.terminals)}")
            case Ref(name=name):
                return self.name(name)
            case Then():
                return " ".join(self.rule(part) for part in spine(expression))
            case Or(options=options):
                written = " | ".join(self.rule(o) for o in options if o is not EMPTY)
                return f"({written})?" if EMPTY in options else f"({written})"
            case Repeat(body=body, least=least, most=most):
                return f"({self.rule(body)}){times(least, most)}"
            case _:
                return '""'


def times(least: int, most: int | None) -> str:
    return f"{{{least},{'' if most is None else most}}}"


def terminal(expression: Expression) -> str:
    """A terminal's definition. What is an intersection, or has one in it, cannot stand in a
    `/…/`.
    """
    if plain(expression):
        return f"/{regex(expression)}/" if expression is not EMPTY else '""'
    match expression:
        case Then():
            return " ".join(stretches(spine(expression)))
        case Or(options=options):
            return f"({' | '.join(map(terminal, options))})"
        case Repeat(body=body, least=least, most=most):
            return f"({terminal(body)}){times(least, most)}"
        case Both(one=one, two=two):
            return f"(({terminal(one)}) & ({terminal(two)}))"
        case Other(body=body):
            return f"(~({terminal(body)}))"
        case _:
            raise TypeError(f"{expression} is no part of a token")


def stretches(sequence_of: Iterable[Expression]) -> Iterator[str]:
    """What stands together and is plain is one regular expression."""
    for is_plain, stretch in groupby(sequence_of, plain):
        if is_plain:
            yield terminal(sequence(stretch))
        else:
            yield from (f"({terminal(part)})" for part in stretch)


def plain(expression: Expression) -> bool:
    return not any(isinstance(part, Both | Other) for part in parts(expression))


def regex(expression: Expression) -> str:
    match expression:
        case Chars(ranges=((low, high),)) if low == high:
            return character(low)
        case Chars(ranges=ranges):
            return f"[{''.join(f'{character(a)}-{character(b)}' for a, b in ranges)}]"
        case Then():
            return "".join(map(regex, spine(expression)))
        case Or(options=options):
            return f"(?:{'|'.join(map(regex, options))})"
        case Repeat(body=body, least=least, most=most):
            return f"(?:{regex(body)}){times(least, most)}"
        case _:
            return ""


def character(code: int) -> str:
    plain = code < 128 and chr(code).isalnum()
    return chr(code) if plain else f"\\u{{{code:x}}}"


def with_a_space_more(language: Language) -> Language:
    """The texts of which the first space is to be dropped, to be left with a text of the language:
    such a text after a space, or one that begins with none.
    """
    first, *rest = spine(language.start)
    if first is SPACE:
        return Language(sequence([optional(token(LEADING)), *rest]), language.rules)
    whole = language.start.body if isinstance(language.start, Token) else EMPTY
    space = (ord(" "), ord(" "))
    no_space = optional(then(chars(subtract([(0, LAST)], [space])), repeat(ANY)))
    return Language(token(either([then(literal(" "), whole), both(whole, no_space)])))
