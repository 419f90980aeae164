"""Metrics, logs and traces of the requests. All are made from one record per request.

The files, in reading order:

    record        the record of one request
    middleware    begins and ends the record; `x-request-id`
    metrics       Prometheus
    logs          one line per request, as text or JSON
    tracing       OpenTelemetry; needs the extra `otel`
"""
