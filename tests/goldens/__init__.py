"""What torch and transformers say (`make goldens`)."""

from pathlib import Path

GOLDENS = Path(__file__).parent
