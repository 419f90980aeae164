"""Samplers of other engines as programs for `vectors check`, in one process and without a model.

program         the loop and the values that all programs share
transformers    logits processors of transformers
llama_cpp       samplers of llama.cpp's shared library
vllm            sampling operations of vLLM, on the CPU
mlx             sample_utils of mlx-lm, on the CPU
compare         runs all of them, and writes the page that compares them
"""
