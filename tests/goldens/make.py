"""Regenerates every golden file: `make goldens`, in an environment with torch and transformers.

Each module of this package makes one kind of golden and has a function `make(directory)`.
"""

from pathlib import Path

from tests.goldens import captions, llava, models, pictures, processors, quantized, texts

MAKERS = (
    models.make,
    quantized.make,
    llava.make,
    pictures.make,
    captions.make,
    processors.make,
    texts.make,
)

if __name__ == "__main__":
    for make in MAKERS:
        make(Path(__file__).parent)
