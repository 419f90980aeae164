"""One process of a group, or a group of one: prints the answers of the workload as JSON.

python -m tests.jax_backend.multihost.process DIRECTORY RANK COUNT DEVICES PORT

DEVICES: simulated devices of this process. Followers print whether they have ended in order.
"""

import json
import os
import sys
from pathlib import Path


def main(directory: Path, rank: int, count: int, devices: int, port: int) -> None:
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices}"
    import jax

    from conformance.parity.harness.backends import IdsOnlyTokenizer
    from jax_backend.launch import enable_compilation_cache
    from jax_backend.model.checkpoint import load
    from jax_backend.model.sharding import make_mesh
    from jax_backend.multihost.settings import Group, Hosts, group_of, initialize
    from jax_backend.multihost.start import start_engine
    from jax_backend.serving.changes import Turns
    from jax_backend.serving.engine import JaxEngine
    from jax_backend.serving.settings import Settings
    from reference.bundle import Bundle
    from reference.grammar.response_format import compile_format
    from reference.model import checkpoint
    from tests.jax_backend.multihost.workload import CONTEXT, LARGE, TIGHT, answers

    enable_compilation_cache()
    hosts = Hosts(
        secret="secret", count=count, rank=rank, coordinator=f"127.0.0.1:{port}", join_timeout=120
    )
    if count > 1:
        initialize(hosts)
    group = group_of(hosts) if count > 1 else None
    loaded = checkpoint.load(directory)
    bundle = Bundle.from_parts(loaded, IdsOnlyTokenizer(48, frozenset({0, 1, 2})))

    def launch(settings: Settings, offset: int) -> JaxEngine:
        model = load(directory, context=CONTEXT, mesh=make_mesh(jax.device_count()))

        def start(engine_type: type[JaxEngine], turns: Turns | None = None) -> JaxEngine:
            eos = loaded.eos_token_ids
            return engine_type(model, eos, bundle.vocabulary, settings, turns=turns)

        if group is None:
            return start(JaxEngine)
        own = Group(group.rank, group.count, (group.address[0], group.address[1] + offset))
        return start_engine(start, hosts, own, "", compile_format)

    engines = [launch(LARGE, 0), launch(TIGHT, 1)]
    compiled: list[str] = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, duration, **_: compiled.append(event) if "compile" in event else None
    )
    if rank == 0:
        result = {"answers": list(answers(engines[0], engines[1], 48, loaded.config.vision))}
        for engine in engines:
            engine.close()
    else:
        for engine in engines:
            engine._thread.join()
        result = {"failed": [engine.stats().failed for engine in engines]}
    print(json.dumps({**result, "compiled": compiled}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
