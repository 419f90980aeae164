"""The endpoint: JSON in, JSON or server-sent events out, around any engine.

How a request flows: `auth` (who asks) → `body` (bytes to an object) → `wire` (an object to prompts
and parameters, or every error at once) → `order` (token ids; what the model cannot do) → `engine`
(token events) → `answer` (text, rows, usage) → one JSON body, or `sse`. `completions` is that
sentence in code; `app` puts the rest around it; `__main__` alone knows which backend there is.
"""
