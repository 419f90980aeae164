"""Random regular expressions, with and without anchors and lookaheads."""

from random import Random

ATOMS = ["a", "b", "0", "-", " ", ".", "[ab]", "[^a]", "[a-c0]", "[^\\d]", "[^\\s\\w]", "\\n", "€"]
ATOMS += ["\\d", "\\w", "\\s", "\\D", "\\W", "\\S", "😀", "[€-😀]", "(?s:.)", '"', "\\\\", "/"]
NAME_ATOMS = ["a", "b", "n", "[a-z]", "é", "\\w", "."]
TIMES = ["*", "+", "?", "*?", "+?", "??", "{2}", "{1,2}", "{0,3}", "{2,}", "{1,3}?"]


def pattern(rng: Random, depth: int = 2, atoms: list[str] = ATOMS) -> str:
    """A regular expression without an anchor."""
    terms = [term(rng, depth, atoms) for _ in range(rng.randint(1, 3))]
    return "".join(terms)


def looking_ahead(rng: Random, atoms: list[str] = ATOMS) -> str:
    """A pattern with lookaheads before it or in it, and sometimes anchors at its ends."""
    a, b, c = (pattern(rng, 1, atoms) for _ in range(3))
    ahead = rng.choice(["(?!", "(?="]) + rng.choice([a, f"{a}$", f".*{a}", f"{a}|{b}$"]) + ")"
    forms = [f"{ahead}{c}", f"{b}{ahead}{c}", f"({ahead}{c}|{b})", f"{ahead}(?!{b}){c}", ahead]
    return rng.choice(["", "^"]) + rng.choice(forms) + rng.choice(["", "$"])


def term(rng: Random, depth: int, atoms: list[str]) -> str:
    """An atom, a repetition, a group or an alternation."""
    kind = rng.choice(["atom", "atom", "times", "group", "group", "either"])
    if depth == 0 or kind == "atom":
        return rng.choice(atoms)
    if kind == "times":
        return rng.choice(atoms) + rng.choice(TIMES)
    content = pattern(rng, depth - 1, atoms)
    if kind == "either":
        content += "|" + rng.choice(["", pattern(rng, depth - 1, atoms)])
    opening = rng.choice(["(", "(?:"])
    return f"{opening}{content}){rng.choice(['', '', *TIMES])}"


def anchored(rng: Random, atoms: list[str] = ATOMS) -> str:
    """A pattern with or without anchors, at its ends or at those of alternatives."""
    a, b, c = (pattern(rng, 1, atoms) for _ in range(3))
    forms = [a, f"^{a}", f"{a}$", f"^{a}$", f"^{a}|{b}$", f"^(?:{a}|{b})$"]
    forms += [f"(^{a}|{b}){c}", f"{a}({b}$|{c})", f"(?:^|{a}){b}", "^", "$", ""]
    return rng.choice(forms)
