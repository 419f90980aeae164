"""The HTTP endpoint: JSON in, JSON or server-sent events out, around any engine.

A request is authenticated (`auth`), parsed and validated (`schema`, `service`), turned into token
ids (`prepare`) and submitted to the engine (`stream`). The engine's events become text and usage
(`response`), which is sent as one JSON body or as events (`sse`). Files, in reading order:

    completions  the handler of POST /completions: every step above, in order
    auth         API keys
    service      the served models, admission limits, parsing of a body
    schema       JSON bodies as pydantic models: parsing, validation, OpenAPI
    engine       the interface of an engine; a served model
    stream       the events of an engine as an asynchronous stream
    prepare      from a validated body to the requests for the engine
    choices      one choice: its updates, its JSON
    response     from the engine's events to response bodies
    encoding     JSON bodies in parts of bounded size
    sse          server-sent events
    errors       every error as a status and a body
    openapi      the OpenAPI document, made from the models of `schema`
    app          the Starlette app: routes, models, health
    server       uvicorn with a graceful shutdown
    origins      protection from web pages, CORS
    arguments    command-line arguments
    __main__     the command line; the only file that knows the backends
"""
