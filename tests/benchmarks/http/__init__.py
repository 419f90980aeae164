"""Tests of the HTTP benchmark.

test_workloads   prompts, times and sizes
test_client      streams as bytes, and requests
test_servers     processes: start, stop, end
test_measure     latencies by hand, and every workload against the embedded model
test_report      the JSON file and the table
test_main        the command line, with a stub
stub             a server as a process, whose output is fixed
"""
