"""Tests of the model.

test_llama          the decoder and the KV cache
test_vision         the vision encoder
test_config         config.json of text models
test_vision_config  config.json and tensor names of LLaVA models
test_checkpoint     checkpoint directories
test_goldens        outputs of transformers on the embedded model
"""
