"""data: images in the prompt, for vision-language models.

validation     images and counts that are accepted or refused
image_tokens   tokens of an image: usage, echo, log-probabilities, sampling
placement      assignment of images to placeholders
decoding       file formats, orientation, alpha channel, size
prefix_cache   the prefix cache with images
"""
