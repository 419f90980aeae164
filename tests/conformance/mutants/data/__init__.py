"""Mutants of data, served by a tiny vision-language model.

helpers        changes of images in requests, and of responses to requests with images
validation     images and counts that are wrongly accepted or refused
image_tokens   wrong tokens of an image: usage, echo, log-probabilities, sampling
placement      images at the wrong placeholder
decoding       wrong decoding and preprocessing
prefix_cache   wrong prefixes in the cache
"""
