"""Tests of the model.

test_llama                 the decoder and the KV cache
test_vision                the vision encoder
test_quantization          quantized numbers
test_config                config.json of text models
test_quantization_config   `quantization_config`
test_vision_config         config.json and tensor names of LLaVA models
test_checkpoint            checkpoint directories
test_quantized_checkpoint  those of quantized models
test_goldens               outputs of transformers on the embedded model
"""
