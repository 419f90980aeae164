"""Completions servers for engines that are Python libraries, each in a file of about 30 lines.

server          the HTTP server that they share, and what a library implements
transformers    `generate` of transformers
mlx_lm          `generate_step` of mlx-lm
llama_cpp       `create_completion` of llama-cpp-python
mistralrs       mistral.rs' SDK

They run with the Python of each engine, and import no other part of this project.
"""
