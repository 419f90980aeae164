"""A page that shows every parameter at work, and the endpoint behind it, on top of the reference.

`POST /v1/explain` streams a completion and, for each token, the distribution after each sampling
step, which tokens a step removed and why, and the draw. `GET /` is the page. Both exist only with
the option `--explain`. The numbers are always the reference's, whichever backend serves the
completions. Files, in reading order:

    limits         bounds of a request
    schema         the body: that of a completion, and what to report
    tracer         from a sampled token to the JSON of its steps and its draw
    engine         the reference engine that reports each token, one per model, loaded when needed
    endpoint       the handler of POST /v1/explain
    specification  the steps as data for the page: docstring, source, decisions
    page           the routes of the page and its files
    extension      everything that the endpoint's app mounts
    static/        the page: HTML, CSS, JavaScript modules, no build step
"""
