"""The Llama and Mistral decoder, LLaVA's vision encoder, and checkpoint loading, in NumPy.

Reading order:

    llama           the decoder: token ids → hidden states → logits; the KV cache
    vision          the vision encoder: pixels → image embeddings
    config          the text model's config.json
    rope_config     rotary position embedding in config.json
    vision_config   the vision encoder and the projector in config.json
    config_fields   typed access to single config fields
    weights         tensors of the text model: names, shapes, and the structure they form
    vision_weights  the same for the vision encoder and the projector
    tensor_names    one name for tensors that files spell in several ways
    checkpoint      reads and validates a checkpoint directory
"""
