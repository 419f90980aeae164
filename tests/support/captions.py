"""How often the embedded model that sees is right about pictures that it has never seen.

    python -m tests.support.captions http://127.0.0.1:8000/v1 --count 500

A caption counts if every word of it is right, at temperature 0, over HTTP.
"""

import argparse
import base64
import io
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx
from PIL import Image

from jax_backend.training.vision.drawing import picture
from jax_backend.training.vision.scenes import (
    HOW_MANY,
    QUESTION,
    caption,
    how_many,
    question,
)

SEED = 2  # of pictures that training has not seen
TOGETHER = 8


@dataclass(frozen=True)
class Answer:
    index: int
    expected: str
    text: str

    @property
    def right(self) -> bool:
        return self.text == f" {self.expected}"


def uri(drawn: Image.Image, format: str = "png") -> str:
    """A picture as a request brings it."""
    file = io.BytesIO()
    drawn.save(file, format)
    return f"data:image/{format};base64,{base64.b64encode(file.getvalue()).decode()}"


def asked(url: str, model: str, index: int, http: httpx.Client) -> Iterator[Answer]:
    """What the server says about one picture."""
    drawn, what = picture(SEED, index)
    for asking, expected in (QUESTION, caption(what)), (HOW_MANY, how_many(what)):
        body = {
            "model": model,
            "prompt": question(asking),
            "data": {"image": [uri(drawn)]},
            "temperature": 0,
            "max_tokens": 64,
        }
        reply = http.post(f"{url}/completions", json=body)
        reply.raise_for_status()
        yield Answer(index, expected, reply.json()["choices"][0]["text"])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.support.captions", description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--model", default="tiny-vision")
    parser.add_argument("--count", type=int, default=500)
    given = parser.parse_args()
    with httpx.Client(timeout=120) as http, ThreadPoolExecutor(TOGETHER) as pool:
        found = list(
            pool.map(lambda i: list(asked(given.url, given.model, i, http)), range(given.count))
        )
    right = []
    for what, answers in zip(("captions", "counts"), zip(*found, strict=True), strict=True):
        for answer in answers:
            if not answer.right:
                print(f"{answer.index}: {answer.expected}\n   said:{answer.text}")
        right.append(sum(answer.right for answer in answers))
        print(f"{what}: {right[-1]} of {len(answers)} are right")
    return 0 if right[0] >= 0.95 * given.count else 1


if __name__ == "__main__":
    sys.exit(main())
