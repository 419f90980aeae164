"""What transformers says about pictures with the embedded model that sees.

`captions.json` holds, for each of 50 pictures that training has not seen, the ids that greedy
decoding gives after a question. The pictures are drawn again where they are needed.
"""

import json
from pathlib import Path

import torch
from transformers import AutoProcessor, LlavaForConditionalGeneration

from jax_backend.training.vision.drawing import picture
from jax_backend.training.vision.scenes import QUESTION, question

MODEL = Path(__file__).parents[2] / "reference" / "embedded" / "vision"
SEED, COUNT = 2, 50
LONGEST = 64  # tokens


def make(directory: Path) -> None:
    processor = AutoProcessor.from_pretrained(MODEL, backend="pil")
    model = LlavaForConditionalGeneration.from_pretrained(MODEL, dtype=torch.float32).eval()
    found = []
    for index in range(COUNT):
        drawn, _ = picture(SEED, index)
        inputs = processor(images=drawn, text=question(QUESTION), return_tensors="pt")
        with torch.no_grad():
            output = model.generate(**inputs, do_sample=False, max_new_tokens=LONGEST)
        prompt = inputs["input_ids"][0].tolist()
        found.append({"prompt": prompt, "output": output[0, len(prompt) :].tolist()})
    content = {"seed": SEED, "captions": found}
    (directory / "captions.json").write_text(json.dumps(content) + "\n")
    print(f"captions     {len(found)} pictures")
