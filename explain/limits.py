"""Bounds of a request to `/v1/explain`: it computes and sends far more than a completion."""

MAX_TOKENS = 512  # of all choices together: n × max_tokens
MAX_TOP = 50  # most likely tokens reported for a column
MAX_CONCURRENCY = 4  # sequences in flight per model
MAX_LOGITS = 2**21  # values of `logits` in a response: tokens × vocabulary
MAX_WEIGHT_BYTES = 4 * 2**30  # of a checkpoint's files; the reference holds them in float32
