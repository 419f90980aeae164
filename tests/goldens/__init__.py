"""Golden results of torch and transformers, and their makers (`make goldens`).

Read it in this order:

    make         runs every maker
    models       random Llama and Mistral checkpoints, and their logits
    quantized    quantized checkpoints, and the logits of compressed-tensors' arithmetic
    llava        random LLaVA checkpoints, their image features and logits
    pictures     image files, and the pixels of CLIP's image processor
    captions     captions of the embedded vision model
    processors   logits processors
    texts        token ids and greedy outputs of the embedded text model
"""

from pathlib import Path

GOLDENS = Path(__file__).parent
DIRECTORIES = sorted(path.parent for path in GOLDENS.glob("*/golden.npz"))
VISION_MODELS = [path for path in DIRECTORIES if path.name.startswith("llava_")]
TEXT_MODELS = [path for path in DIRECTORIES if path not in VISION_MODELS]
