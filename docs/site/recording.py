"""Records explained completions of the embedded model for the site's page, which has no server.

The requests go through the endpoint, in this process. Of each prompt the recording has a tree of
token sequences with the model's logits after each, so that the page can compute every step, draw
with other settings, and follow the drawn tokens as far as the tree has them.
"""

import base64
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from starlette.testclient import TestClient

from api.app import create_app
from api.engine import ServedModel
from explain.extension import PATH, ExplainExtension
from explain.page import STATIC
from reference.bundle import EMBEDDED, Bundle, load_bundle
from reference.engine import ReferenceEngine
from reference.tokenizer.vocabulary import strips_space

Json = dict[str, Any]

MODEL = "tiny-text"
LESSONS = STATIC / "lessons.json"
# The settings of the page when it is opened, as in `explain/static/state.js`.
START: Json = {
    "prompt": "Once upon a time",
    "values": {"temperature": 0.8, "top_p": 0.9, "seed": 7, "max_tokens": 40},
}
# Settings of a parameter that no lesson shows.
PRESENCE: Json = {
    "prompt": "Once upon a time there was a",
    "values": {"temperature": 1, "presence_penalty": 1.5, "seed": 7, "max_tokens": 24},
}
COLORS = {"type": "regex", "regex": " (red|green|blue)"}
# Other texts of the same prompts, for settings that a reader may try.
OTHERS: tuple[Json, ...] = (
    PRESENCE,
    {"prompt": START["prompt"], "values": {"temperature": 0, "max_tokens": 40}},
    *(
        {"prompt": START["prompt"], "values": START["values"] | {"seed": seed}}
        for seed in (1, 2, 3)
    ),
    {"prompt": "The lamp is", "values": {"temperature": 1, "seed": 7, "max_tokens": 16}},
    {
        "prompt": "The lamp is",
        "values": {"response_format": COLORS, "n": 4, "seed": 1, "max_tokens": 8},
    },
)


@dataclass(frozen=True)
class Recording:
    """The documents of the page, by their paths. logits: [nodes, vocabulary] of each prompt."""

    index: Json
    logits: dict[str, np.ndarray]

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        text = json.dumps(self.index, ensure_ascii=False, separators=(",", ":"))
        (folder / "index.json").write_text(text, "utf-8")
        for name, values in self.logits.items():
            (folder / name).write_bytes(values.astype("<f4").tobytes())


@dataclass
class Tree:
    """The token sequences of one prompt. nodes: (parent, token) of each; the first is the prompt.

    masks: for each format, as JSON, the masks of its nodes. runs: the requests and their events.
    """

    ids: list[int]
    nodes: dict[tuple[int, int], int] = field(default_factory=lambda: {(-1, -1): 0})
    logits: dict[int, str] = field(default_factory=dict)
    masks: dict[str, dict[int, str]] = field(default_factory=dict)
    runs: list[Json] = field(default_factory=list)

    def add(self, values: Json, events: Iterable[Json]) -> None:
        """Add a run: its tokens, and the events of the completion between them.

        Raises ValueError if the same tokens had other logits or another mask in an earlier run.
        """
        stream: list[Any] = []
        at: dict[int, int] = {}  # the node of each choice
        masks = self.masks.setdefault(json.dumps(values.get("response_format")), {})
        for event in events:
            if event["object"] != "explain.token":
                stream.append(event)
                continue
            choice, token = event["choice"], event["id"]
            node = at.get(choice, 0)
            note(self.logits, node, event["logits"])
            note(masks, node, event["allowed"])
            stream.append([choice, token])
            at[choice] = self.nodes.setdefault((node, token), len(self.nodes))
        self.runs.append({"values": values, "stream": stream})

    def known(self) -> tuple[dict[int, int], list[tuple[int, int]]]:
        """Return the nodes that have logits, renumbered, and their (parent, token)."""
        kept = {old: new for new, old in enumerate(sorted(self.logits))}
        pairs = {node: pair for pair, node in self.nodes.items()}
        return kept, [(kept.get(pairs[old][0], -1), pairs[old][1]) for old in kept]


def note(values: dict[int, str], node: int, value: str) -> None:
    if values.setdefault(node, value) != value:
        raise ValueError(f"node {node}: the same tokens had other values in another run")


def requests() -> list[Json]:
    """Return the requests to record: that of the start page, those of the lessons, and others."""
    cards = [card["set"] for lesson in read_lessons() for card in lesson["cards"]]
    pinned = [card["pinned"] for card in cards if "pinned" in card]
    unique: list[Json] = []
    for settings in (START, *cards, *pinned, *OTHERS):
        request = {"prompt": settings["prompt"], "values": settings["values"]}
        if request not in unique:
            unique.append(request)
    return unique


def read_lessons() -> list[Json]:
    lessons: list[Json] = json.loads(LESSONS.read_text("utf-8"))
    return lessons


@contextmanager
def endpoint() -> Iterator[tuple[TestClient, Bundle]]:
    """Serve the embedded model in this process, by the reference."""
    directory = EMBEDDED / "text"
    bundle = load_bundle(directory)
    served = ServedModel(
        name=MODEL,
        engine=ReferenceEngine(bundle),
        tokenizer=bundle.tokenizer,
        vocabulary=bundle.vocabulary,
        vocab_size=bundle.vocab_size,
        context=bundle.context,
        build="reference",
    )
    extension = ExplainExtension.of([served], [directory])
    with TestClient(create_app([served], extensions=[extension])) as client:
        yield client, bundle
    served.engine.close()


def record(client: TestClient, bundle: Bundle, requests: Sequence[Json]) -> Recording:
    """Send the requests, and return the recording. Raises ValueError if one fails."""
    trees: dict[str, Tree] = {}
    vocabulary: list[str] = []
    for request in requests:
        prompt, values = request["prompt"], request["values"]
        start, *events = explain(client, prompt, values)
        vocabulary = start["vocabulary"]
        ids = [token["id"] for token in start["prompt"]]
        trees.setdefault(prompt, Tree(ids)).add(values, events)
    index = {
        "model": MODEL,
        "context": bundle.context,
        "eos_token_ids": list(bundle.checkpoint.eos_token_ids),
        "vocabulary": vocabulary,
        "allowed": unconstrained(trees.values()),
        "prompts": [
            prompt_json(text, tree, f"{number}.f32", strips_space(bundle.tokenizer, tree.ids))
            for number, (text, tree) in enumerate(trees.items())
        ],
    }
    return Recording(index, {f"{i}.f32": logits(tree) for i, tree in enumerate(trees.values())})


def explain(client: TestClient, prompt: str, values: Json) -> list[Json]:
    """Return the events of a request."""
    body = {"model": MODEL, "prompt": prompt, "logits": True} | values
    response = client.post(PATH, json=body)
    if response.status_code != 200:
        raise ValueError(f"{prompt!r}, {values}: {response.text}")
    frames = response.text.split("\n\n")
    data = [frame.removeprefix("data: ") for frame in frames if frame.startswith("data: ")]
    *events, end = data
    if end != "[DONE]":
        raise ValueError(f"{prompt!r}, {values}: the stream ended with {end}")
    return [json.loads(event) for event in events]


def unconstrained(trees: Iterable[Tree]) -> str:
    """Return the mask without a format, which is the same everywhere."""
    masks = {mask for tree in trees for mask in tree.masks.get("null", {}).values()}
    [mask] = masks
    return mask


def logits(tree: Tree) -> np.ndarray:
    rows = [tree.logits[node] for node in sorted(tree.logits)]
    return np.stack([np.frombuffer(base64.b64decode(row), "<f4") for row in rows])


def prompt_json(text: str, tree: Tree, file: str, strips: bool) -> Json:
    kept, nodes = tree.known()
    formats = [
        {"format": json.loads(key), "masks": {kept[node]: mask for node, mask in masks.items()}}
        for key, masks in tree.masks.items()
        if key != "null"
    ]
    return {
        "text": text,
        "ids": tree.ids,
        "strips_space": strips,
        "logits": file,
        "nodes": nodes,
        "formats": formats,
        "runs": tree.runs,
    }
