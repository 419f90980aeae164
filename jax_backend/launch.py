"""Launch: from a checkpoint directory to a running engine."""

import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path

import jax
from platformdirs import user_cache_path

from jax_backend.accelerators import use_platform
from jax_backend.model.attention import select
from jax_backend.model.checkpoint import load
from jax_backend.model.sharding import make_mesh
from jax_backend.multihost.messages import CompileLanguage
from jax_backend.multihost.settings import Hosts, group_of, initialize
from jax_backend.multihost.start import start_engine
from jax_backend.serving.changes import Turns
from jax_backend.serving.engine import JaxEngine
from jax_backend.serving.settings import Progress, Settings
from reference.model import checkpoint
from reference.model.config import AUTO, LlamaConfig
from reference.tokenizer.vocabulary import Vocabulary

logger = logging.getLogger(__name__)

PREFILL_SIZES, CPU_PREFILL_SIZES = (128, 512, 1024, 2048), (32, 128, 256)
SEGMENT_SIZE, CPU_SEGMENT_SIZE = 64, 32
IMAGE_BATCH_SIZES, CPU_IMAGE_BATCH_SIZES = (1, 2, 4), (1,)
DEFAULT_SLOT_TOKENS = 2048  # KV cache capacity per slot
PROBE_BYTES = 2**20  # of the file that tests whether the compilation cache can be written


@dataclass(frozen=True)
class LaunchedEngine:
    """A running engine. build: identifies what computes its results: versions, device, settings.

    is_follower: another process submits the requests.
    """

    engine: JaxEngine
    config: LlamaConfig
    build: str
    is_follower: bool = False


def launch(
    directory: Path,
    vocabulary: Vocabulary,
    *,
    dtype: str = "float32",
    context: int | None = None,
    tp: int = 1,
    slots: int = 8,
    cache_tokens: int | None = None,
    batch_invariant: bool = True,
    max_logprobs: int = 20,
    speculate: str = "lookup",
    hosts: Hosts | None = None,
    checkpoint_digest: str = "",
    compile_language: CompileLanguage = lambda response_format: None,
    kv_dtype: str = AUTO,
    loading: Progress = lambda name, done, total: None,
    platform: str | None = None,
    attention: str = select.AUTO,
    progress: Progress = lambda name, done, total: None,
) -> LaunchedEngine:
    """Load a checkpoint, compile, and start the engine.

    vocabulary: the tokens of the model. context: maximum sequence length, by default the
    checkpoint's. tp: number of devices for tensor parallelism. cache_tokens: KV cache
    capacity; by default 2048 tokens per slot, or the context if that is less, and at least one
    context in all. kv_dtype: of the KV cache (`LlamaConfig.with_kv_dtype`). hosts: for a model on
    the devices of several processes, which have the same checkpoint_digest; followers get the
    language of a request from `compile_language`. loading, progress: of the weights, in bytes, and
    of the compilation, in tasks. platform: cpu, gpu or tpu (`jax_backend.accelerators`).
    attention: of a GPU (`jax_backend.model.attention.select`).

    Raises what `jax_backend.model.checkpoint.load` does, and ValueError for impossible settings.
    """
    if hosts is not None:
        initialize(hosts)
    used = use_platform(platform)
    on_cpu, kernel = used == "cpu", select.for_platform(used, attention)
    enable_compilation_cache()
    group = None if hosts is None else group_of(hosts)
    if group is not None and tp != jax.device_count():
        raise ValueError(
            f"mesh: tp must be the {jax.device_count()} devices of all hosts, got {tp}"
        )
    model = load(
        directory,
        dtype,
        context=context,
        attention=kernel,
        mesh=make_mesh(tp),
        kv_dtype=kv_dtype,
        progress=loading,
    )
    config, context = model.config, model.config.max_position_embeddings
    if cache_tokens is not None and cache_tokens < context:
        raise ValueError(
            f"cache_tokens: must be at least the context {context}, got {cache_tokens}"
        )
    capacity = slots * min(context, DEFAULT_SLOT_TOKENS) if cache_tokens is None else cache_tokens
    prefill_sizes = CPU_PREFILL_SIZES if on_cpu else PREFILL_SIZES
    segment_size = CPU_SEGMENT_SIZE if on_cpu else SEGMENT_SIZE
    page_size = model.attention.page_size(max(slots, prefill_sizes[-1] // segment_size), context)
    settings = Settings(
        batch_sizes=batch_size_buckets(slots),
        batch_invariant=batch_invariant,
        num_pages=-(-max(capacity, context) // page_size),
        page_size=page_size,
        prefill_sizes=prefill_sizes,
        segment_size=segment_size,
        image_batch_sizes=CPU_IMAGE_BATCH_SIZES if on_cpu else IMAGE_BATCH_SIZES,
        max_logprobs=max_logprobs,
        speculate=speculate,
    )
    eos = checkpoint.read_eos_token_ids(directory, config)
    build = f"jax {jax.__version__} {jax.devices()[0].device_kind} {dtype} tp={tp} {settings}"
    if config.kv_dtype is not None:
        build += f" kv={config.kv_dtype}"

    def start(engine_type: type[JaxEngine], turns: Turns | None = None) -> JaxEngine:
        return engine_type(model, eos, vocabulary, settings, progress, turns)

    if hosts is None or group is None:
        return LaunchedEngine(start(JaxEngine), config, build)
    identity = f"{build} {checkpoint_digest}"
    engine = start_engine(start, hosts, group, identity, compile_language)
    return LaunchedEngine(engine, config, build, is_follower=not group.is_leader)


def batch_size_buckets(slots: int) -> tuple[int, ...]:
    """Return the powers of two below `slots`, and `slots`. Raises ValueError if it is below 1."""
    if slots < 1:
        raise ValueError(f"slots: must be at least 1, got {slots}")
    return (*(2**i for i in range(slots.bit_length()) if 2**i < slots), slots)


def enable_compilation_cache() -> None:
    """Keep compiled programs on disk, in JAX_COMPILATION_CACHE_DIR if set, else in the user's cache
    directory.
    """
    if jax.config.jax_compilation_cache_dir is None:
        folder = user_cache_path("completions-spec") / "xla"
        jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    location = str(jax.config.jax_compilation_cache_dir)
    try:
        if "://" not in location:  # a bucket
            check_writable(Path(location))
    except OSError as error:
        logger.warning("the compilation cache is not used: %s", error)
        jax.config.update("jax_enable_compilation_cache", False)


def check_writable(folder: Path) -> None:
    """Create a folder and write a file in it. Raises OSError, for example if the disk is full."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        file.write(bytes(PROBE_BYTES))
        file.flush()
