"""Selection of the attention implementation by platform."""

from jax_backend.model.attention.base import Attention


def for_platform(platform: str) -> Attention:
    """Return the attention of a platform, by its name in `jax.default_backend`. Raises ValueError
    for an unknown platform.
    """
    # Kernels are imported lazily: not every jaxlib can import every Pallas backend.
    match platform:
        case "cpu":
            from jax_backend.model.attention.cpu import CPU

            return CPU
        case "gpu" | "cuda" | "rocm":
            from jax_backend.model.attention.gpu import GPU

            return GPU
        case "tpu":
            from jax_backend.model.attention.tpu import TPU

            return TPU
    raise ValueError(f"platform: must be cpu, gpu or tpu, got {platform!r}")
