"""Selection of the attention implementation by platform, and on a GPU by its compute capability."""

import jax

from jax_backend.model.attention.base import Attention

AUTO = "auto"
GPU_KERNELS = ("triton", "mosaic", "xla")
TRITON_CAPABILITY, MOSAIC_CAPABILITY = (8, 0), (9, 0)


def for_platform(platform: str, kernel: str = AUTO) -> Attention:
    """Return the attention of a platform, by its name in `jax.default_backend`.

    kernel: on a GPU, one of GPU_KERNELS; by default the fastest one that it supports, as far as
    measured. Raises ValueError for an unknown platform, and for a kernel that it does not have.
    """
    gpu = platform in ("gpu", "cuda", "rocm")
    if kernel != AUTO and (not gpu or kernel not in GPU_KERNELS):
        raise ValueError(f"attention: {kernel!r} does not exist on {platform!r}: must be {AUTO!r}")
    # Kernels are imported lazily: not every JAX has every Pallas backend.
    match platform:
        case "cpu":
            from jax_backend.model.attention.cpu import CPU

            return CPU
        case "gpu" | "cuda" | "rocm":
            return gpu_attention(kernel, compute_capability())
        case "tpu":
            from jax_backend.model.attention.tpu import TPU

            return TPU
    raise ValueError(f"platform: must be cpu, gpu or tpu, got {platform!r}")


def compute_capability() -> tuple[int, int] | None:
    """Return the compute capability of the GPU, None without one or if it is not NVIDIA's."""
    if jax.default_backend() != "gpu":
        return None
    major, _, minor = str(getattr(jax.devices()[0], "compute_capability", "")).partition(".")
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else None


def gpu_attention(kernel: str, capability: tuple[int, int] | None) -> Attention:
    """Return the attention of a GPU. capability: None for any.

    Raises ValueError if the kernel was chosen explicitly and cannot be used.
    """
    has_triton = capability is None or capability >= TRITON_CAPABILITY
    if kernel == "triton" and not has_triton:
        raise ValueError(f"attention: 'triton' needs compute capability 8.0, got {capability}")
    if kernel in (AUTO, "triton") and has_triton:
        try:
            from jax_backend.model.attention.triton import TRITON

            return TRITON
        except ImportError as error:
            if kernel == "triton":
                raise ValueError(f"attention: this JAX has no Pallas Triton: {error}") from error
    if kernel == "mosaic":  # never by default: it has not been measured
        if capability not in (None, MOSAIC_CAPABILITY):
            raise ValueError(f"attention: 'mosaic' needs compute capability 9.0, got {capability}")
        from jax_backend.model.attention.mosaic import MOSAIC

        return MOSAIC
    from jax_backend.model.attention.xla import XLA

    return XLA
