"""HTTP access to the server under test, without any judgment of its responses.

exchange    one request and its response as shown to people: curl command, redacted keys
response    completions, their choices and logprobs; event streams merged into a completion
oracle      the interface of the reference model that a check compares the server with
budget      the number of requests that a run may send
client      `Target`: the server and the state of a run; `Server`: the client of one check
"""
