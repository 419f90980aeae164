"""A server under load: is anything lost, and is it fair and stable?

server      a server as a process, its memory and its metrics
load        requests at a rate, or in a closed loop
soak        many mixed requests, some of which are aborted
overload    more requests than the server can handle
fairness    two principals with different loads
overhead    the cost of metrics and logs
"""
