"""The model on an accelerator, in reading order:

attention/   Attention over a paged KV cache, one implementation for each platform.
linear       Matrix products and linear layers.
llama        The Llama transformer: the twin of `reference.model.llama`.
vision       The vision tower and the projector: the twin of `reference.model.vision`.
sharding     Tensor parallelism: how weights and pages are divided among devices.
checkpoint   Loading of Hugging Face weights onto the devices.
"""
