"""The HTTP endpoint: JSON in, JSON or server-sent events out, around any engine.

A request is authenticated (`security.auth`), parsed and validated (`schema`, `service`), turned
into token ids (`prepare`) and submitted to the engine (`stream`). The engine's events become text
and usage (`response`), which is sent as one JSON body or as events (`sse`). Files, in reading
order:

    completions    the handler of POST /completions: every step above, in order
    security       API keys, web pages
    admission      sequences in flight, in total and for each principal
    service        the served models, and the parsing of a body for one of them
    schema         JSON bodies as pydantic models: parsing, validation, OpenAPI
    engine         the interface of an engine; a served model
    stream         the events of an engine as an asynchronous stream
    prepare        from a validated body to the requests for the engine
    choices        one choice: its updates, its JSON
    response       from the engine's events to response bodies
    encoding       JSON bodies in parts of bounded size
    sse            server-sent events
    errors         every error as a status and a body
    tokenization   /tokenize, /detokenize
    health         /live, /ready, /health, /metrics, /version
    observability  metrics, logs, traces
    openapi        the OpenAPI document, made from the models of `schema`; extensions of the app
    app            the Starlette app: routes, middleware, models
    server         uvicorn with a graceful shutdown and a watchdog
    options        the command line, the environment, a TOML file
    __main__       the entry point; the only file that knows the backends
"""
