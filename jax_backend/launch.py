"""From a checkpoint directory to an engine that runs."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jax
from platformdirs import user_cache_path

from jax_backend.model.checkpoint import load
from jax_backend.model.sharding import mesh_of
from jax_backend.serving.engine import JaxEngine
from jax_backend.serving.executor import Progress, Settings
from reference.model import checkpoint
from reference.model.config import LlamaConfig
from reference.tokenizer.vocabulary import Vocabulary

PAGE_SIZE = 64
CHUNKS, CHUNKS_OF_A_CPU = (32, 256), (32, 128)


@dataclass(frozen=True)
class Started:
    """build: what computes, for telling one build from another."""

    engine: JaxEngine
    config: LlamaConfig
    build: str


def start(
    directory: Path,
    vocabulary: Callable[[LlamaConfig], Vocabulary],
    *,
    dtype: str = "float32",
    context: int | None = None,
    tp: int = 1,
    slots: int = 8,
    cache_tokens: int | None = None,
    invariant: bool = True,
    top: int = 20,
    progress: Progress = lambda what, done, total: None,
) -> Started:
    """Load, compile, and run. vocabulary: the tokens of such a model. context: the most tokens of a
    text, if not what the model has stored. tp: how many devices share the model. cache_tokens: room
    for keys and values; if None, for every slot 2048 tokens or a whole context, whichever is less,
    and for one whole context at least.

    Raises what `jax_backend.model.checkpoint.load` does, and ValueError for settings that cannot
    be.
    """
    keep_compiled()
    model = load(directory, dtype, context=context, mesh=mesh_of(tp))
    config, context = model.config, model.config.max_position_embeddings
    wanted = slots * min(context, 2048) if cache_tokens is None else cache_tokens
    if cache_tokens is not None and cache_tokens < context:
        raise ValueError(f"cache_tokens: {cache_tokens} do not hold a context of {context}")
    on_cpu = jax.default_backend() == "cpu"
    settings = Settings(
        widths=ladder(slots),
        invariant=invariant,
        pages=-(-max(wanted, context) // PAGE_SIZE),
        page_size=PAGE_SIZE,
        chunks=CHUNKS_OF_A_CPU if on_cpu else CHUNKS,
        images=(1,) if on_cpu else (1, 2, 4),
        top=top,
    )
    eos = checkpoint.read_eos_token_ids(directory, config)
    engine = JaxEngine(model, eos, vocabulary(config), settings, progress)
    build = f"jax {jax.__version__} {jax.devices()[0].device_kind} {dtype} tp={tp} {settings}"
    return Started(engine, config, build)


def ladder(slots: int) -> tuple[int, ...]:
    """Powers of two below `slots`, and `slots`. Raises ValueError for none."""
    if slots < 1:
        raise ValueError(f"slots: {slots} is below 1")
    return (*(2**i for i in range(slots.bit_length()) if 2**i < slots), slots)


def keep_compiled() -> None:
    """Keep what is compiled on disk, where JAX_COMPILATION_CACHE_DIR says or else in the user's
    cache, so that the next start is a quick one.
    """
    if jax.config.jax_compilation_cache_dir is None:
        folder = user_cache_path("completions-spec") / "xla"
        jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
