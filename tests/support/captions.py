"""Accuracy of the embedded vision model on images outside its training set.

    python -m tests.support.captions http://127.0.0.1:8000/v1 --count 500

A caption counts as correct if every word is, at temperature 0, over HTTP.
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

from jax_backend.training.vision.drawing import image
from jax_backend.training.vision.scenes import (
    COUNT_QUESTION,
    QUESTION,
    caption,
    count_answer,
    question,
)

SEED = 2  # of images outside the training set
CONCURRENCY = 8


@dataclass(frozen=True)
class Answer:
    """The server's answer to one question about one image."""

    index: int
    expected: str
    text: str

    @property
    def is_correct(self) -> bool:
        return self.text == f" {self.expected}"


def image_uri(rendered: Image.Image, format: str = "png") -> str:
    """Encode an image as a `data:` URI."""
    file = io.BytesIO()
    rendered.save(file, format)
    return f"data:image/{format};base64,{base64.b64encode(file.getvalue()).decode()}"


def answers(url: str, model: str, index: int, http: httpx.Client) -> Iterator[Answer]:
    """Yield the server's answers about one image."""
    rendered, scene = image(SEED, index)
    for asking, expected in (QUESTION, caption(scene)), (COUNT_QUESTION, count_answer(scene)):
        body = {
            "model": model,
            "prompt": question(asking),
            "data": {"image": [image_uri(rendered)]},
            "temperature": 0,
            "max_tokens": 64,
        }
        response = http.post(f"{url}/completions", json=body)
        response.raise_for_status()
        yield Answer(index, expected, response.json()["choices"][0]["text"])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.support.captions", description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--model", default="tiny-vision")
    parser.add_argument("--count", type=int, default=500)
    options = parser.parse_args()
    url, model, count = options.url, options.model, options.count
    with httpx.Client(timeout=120) as http, ThreadPoolExecutor(CONCURRENCY) as pool:
        by_image = list(pool.map(lambda i: list(answers(url, model, i, http)), range(count)))
    num_correct = []
    for kind, results in zip(("captions", "counts"), zip(*by_image, strict=True), strict=True):
        for answer in results:
            if not answer.is_correct:
                print(f"{answer.index}: {answer.expected}\n   said:{answer.text}")
        num_correct.append(sum(answer.is_correct for answer in results))
        print(f"{kind}: {num_correct[-1]} of {len(results)} are right")
    return 0 if num_correct[0] >= 0.95 * count else 1


if __name__ == "__main__":
    sys.exit(main())
