"""Captions by transformers with the embedded vision model.

`captions.json` has, for each of 50 images outside the training set, the ids of the prompt and of
the greedy output. Tests render the images again.
"""

import json
from pathlib import Path

import torch
from transformers import AutoProcessor, LlavaForConditionalGeneration

from jax_backend.training.vision.drawing import image
from jax_backend.training.vision.scenes import QUESTION, question

MODEL = Path(__file__).parents[2] / "reference" / "embedded" / "vision"
SEED, COUNT = 2, 50
MAX_NEW_TOKENS = 64


def make(directory: Path) -> None:
    processor = AutoProcessor.from_pretrained(MODEL, backend="pil")
    model = LlavaForConditionalGeneration.from_pretrained(MODEL, dtype=torch.float32).eval()
    captions = []
    for index in range(COUNT):
        rendered, _ = image(SEED, index)
        inputs = processor(images=rendered, text=question(QUESTION), return_tensors="pt")
        with torch.no_grad():
            output = model.generate(**inputs, do_sample=False, max_new_tokens=MAX_NEW_TOKENS)
        prompt = inputs["input_ids"][0].tolist()
        captions.append({"prompt": prompt, "output": output[0, len(prompt) :].tolist()})
    content = {"seed": SEED, "captions": captions}
    (directory / "captions.json").write_text(json.dumps(content) + "\n")
    print(f"captions     {len(captions)} images")
