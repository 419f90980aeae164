"""The JSON bodies of the endpoint.

Files, in reading order:

    parsing            from the bytes of a body to a JSON object
    request            the request body as a pydantic model, made from `reference.params`
    unknown_fields     unknown fields: reported in a header, or errors in strict mode
    validation_errors  from pydantic's errors to a 422
    response           the response bodies as pydantic models
"""
