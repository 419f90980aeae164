"""What torch and transformers say (`make goldens`)."""

from pathlib import Path

GOLDENS = Path(__file__).parent
DIRECTORIES = sorted(path.parent for path in GOLDENS.glob("*/golden.npz"))
THAT_SEE = [path for path in DIRECTORIES if path.name.startswith("llava_")]
TEXT_ONLY = [path for path in DIRECTORIES if path not in THAT_SEE]
