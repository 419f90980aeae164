"""The Llama and Mistral decoder, LLaVA's vision encoder, and checkpoint loading, in NumPy.

Reading order:

    llama                the decoder: token ids → hidden states → logits; the KV cache
    quantization         quantized weights, inputs, keys and values: their meaning
    vision               the vision encoder: pixels → image embeddings
    config               the text model's config.json
    rope_config          rotary position embedding in config.json
    quantization_scheme  the quantized linear layers, and how they are stored
    quantization_config  reads them from config.json
    vision_config        the vision encoder and the projector in config.json
    config_fields        typed access to single config fields
    weights              tensors of the text model: names, shapes, and the structure they form
    vision_weights       the same for the vision encoder and the projector
    tensor_names         one name for tensors that files spell in several ways
    stored_tensors       headers of safetensors files, and reading of parts
    quantization_checks  checks of a quantized model that need its tensors
    checkpoint           reads and validates a checkpoint directory
"""
