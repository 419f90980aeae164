"""Links to the page of explanations with prepared settings: its lessons, and one per parameter."""

import json
from typing import Any
from urllib.parse import urlencode

from docs.site.recording import PRESENCE, START, read_lessons

Json = dict[str, Any]

PAGE = "explain/index.html"
# Lesson and card that show a parameter at work.
CARDS = {
    "temperature": (0, 1),
    "top_k": (1, 0),
    "min_p": (1, 1),
    "top_p": (1, 2),
    "repetition_penalty": (2, 0),
    "frequency_penalty": (2, 1),
    "seed": (3, 0),
    "n": (3, 2),
    "logprobs": (4, 0),
    "stop": (5, 0),
    "response_format": (5, 1),
}
OTHERS = {"prompt": START, "max_tokens": START, "presence_penalty": PRESENCE}
HEAD = """# Each token, step by step

A page shows every parameter at work: select a token to see its distribution after each step, which
tokens were removed and why, and the draw. Move a slider to see what it changes, compare two
settings, or the rules of vLLM, llama.cpp and transformers.

{start}

```{{image}} docs/page/desktop-light.png
:alt: The page: a text whose tokens are colored by probability, and the steps of one of them
:class: only-light
```

```{{image}} docs/page/desktop-dark.png
:alt: The page: a text whose tokens are colored by probability, and the steps of one of them
:class: only-dark
```

In this documentation the page has no server. The model ran when the site was built, and the
page computes the steps from its logits, with the rules of the [specification](parameters/index.md)
([decision 35](docs/decisions/0035-a-recorded-page.md)). With a model it continues any text:
`make run`, or `completions-spec serve --explain`.

## Six lessons
"""


def fragment(settings: Json, **more: str) -> str:
    """Return the fragment of a URL with the settings, as the page itself writes it."""
    query = {"prompt": settings["prompt"]}
    for name, value in settings["values"].items():
        query[name] = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    for name in "token", "against", "pinned":
        if name in settings:
            value = settings[name]
            query[name] = value if isinstance(value, str) else json.dumps(value)
    return f"#{urlencode(query | more)}"


def card_settings(lesson: int, card: int) -> tuple[Json, str]:
    """Return the settings of a card, and their fragment, which opens the lesson there."""
    settings = read_lessons()[lesson]["cards"][card]["set"]
    return settings, fragment(settings, lesson=f"{lesson}.{card}")


def lessons_page() -> str:
    """Return the page of the documentation that leads to the page."""
    lines = []
    for number, lesson in enumerate(read_lessons()):
        _, link = card_settings(number, 0)
        lines.append(f"{number + 1}. {anchor(PAGE + link, lesson['title'])}")
    start = anchor(PAGE, "Open the page")
    return HEAD.format(start=start) + "\n" + "\n".join(lines) + "\n"


def at_work(name: str) -> str:
    """Return a link from a parameter's page to settings that show it; empty if there are none."""
    if name in CARDS:
        _, link = card_settings(*CARDS[name])
    elif name in OTHERS:
        link = fragment(OTHERS[name])
    else:
        return ""
    return anchor(f"../{PAGE}{link}", f"See `{name}` at work, token by token")


def anchor(target: str, text: str) -> str:
    """Return a link to a file that is not a document: Sphinx leaves HTML as it is."""
    code = text.replace("`", "<code>", 1).replace("`", "</code>", 1)
    return f'<a class="reference internal" href="{target.replace("&", "&amp;")}">{code}</a>'
