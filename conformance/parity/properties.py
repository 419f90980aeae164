"""All properties, from random bits to the text that a client receives."""

from conformance.parity import (
    engine,
    grammar,
    logits,
    logprobs,
    output_text,
    prefix_cache,
    sampler,
    stopping,
    threefry,
)
from conformance.parity.harness.property import EngineProperty, Property
from conformance.parity.model import attention, layer, llama, quantization, vision

# Properties of a backend's functions, with small random models: they need no checkpoint.
FUNCTION_PROPERTIES: tuple[Property, ...] = (
    *threefry.PROPERTIES,
    *logits.PROPERTIES,
    *sampler.PROPERTIES,
    *logprobs.PROPERTIES,
    *stopping.PROPERTIES,
    *prefix_cache.PROPERTIES,
    *grammar.PROPERTIES,
    *attention.PROPERTIES,
    *quantization.PROPERTIES,
    *layer.PROPERTIES,
    *llama.PROPERTIES,
    *vision.PROPERTIES,
)
# Properties of an engine that serves a checkpoint.
ENGINE_PROPERTIES: tuple[EngineProperty, ...] = (*engine.PROPERTIES, *output_text.PROPERTIES)
