"""One model on the devices of several hosts: one process per host, each with the same scheduler.

Rank 0 is the leader. It serves HTTP, and sends the changes of each turn of its engine
(`jax_backend.serving.changes`) to the followers, which apply the same changes in the same turns.
The scheduler is deterministic, so every process makes the same plan and launches the same step,
whose collectives connect the devices. A digest of the plan goes with the next turn: a follower with
another plan stops. The files, in reading order:

    settings    which process of how many this is, and JAX's distributed runtime
    frames      authenticated messages on a connection
    messages    changes as JSON, and the digest of a plan
    listener    the leader's socket, at which followers join
    leader      the connections to the followers
    follower    the connection to the leader
    turns       the turns of an engine on either side
    engine      the engine of a follower
    start       the start of one process of a group
"""
