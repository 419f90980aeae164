"""Every property, from the bits of chance to the text that a client reads."""

from conformance.parity import (
    attention,
    engine,
    grammar,
    layer,
    logits,
    logprobs,
    model,
    randomness,
    sampler,
    text,
    vision,
)
from conformance.parity.property import OfModel, Property

# Of the functions that a backend is made of, with models of their own: they need no checkpoint.
OF_FUNCTIONS: tuple[Property, ...] = (
    *randomness.PROPERTIES,
    *logits.PROPERTIES,
    *sampler.PROPERTIES,
    *logprobs.PROPERTIES,
    *grammar.PROPERTIES,
    *attention.PROPERTIES,
    *layer.PROPERTIES,
    *model.PROPERTIES,
    *vision.PROPERTIES,
)
# Of a backend that serves a checkpoint.
OF_MODELS: tuple[OfModel, ...] = (*engine.PROPERTIES, *text.PROPERTIES)
