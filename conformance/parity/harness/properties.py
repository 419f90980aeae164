"""Every property, from the bits of chance to the text that a client reads."""

from conformance.parity import (
    engine,
    grammar,
    logits,
    logprobs,
    output_text,
    sampler,
    threefry,
)
from conformance.parity.harness.property import OfModel, Property
from conformance.parity.model import attention, layer, llama, vision

# Of the functions that a backend is made of, with models of their own: they need no checkpoint.
OF_FUNCTIONS: tuple[Property, ...] = (
    *threefry.PROPERTIES,
    *logits.PROPERTIES,
    *sampler.PROPERTIES,
    *logprobs.PROPERTIES,
    *grammar.PROPERTIES,
    *attention.PROPERTIES,
    *layer.PROPERTIES,
    *llama.PROPERTIES,
    *vision.PROPERTIES,
)
# Of a backend that serves a checkpoint.
OF_MODELS: tuple[OfModel, ...] = (*engine.PROPERTIES, *output_text.PROPERTIES)
