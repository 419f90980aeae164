"""Mutants of response_format.

    helpers      changes of formats, schemas and texts
    validation   wrong validation of formats
    structure    invalid JSON objects, instances and matches
    completion   wrong ends, and choices without the constraint
    sampling     wrong log-probabilities and draws

Most faults are requests with another format to a server without the fault; where no other format
has the effect, the response is changed.
"""
