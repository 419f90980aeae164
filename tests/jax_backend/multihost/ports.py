"""Free ports of this machine."""

import socket


def free_ports(count: int) -> int:
    """Return a port such that it and the next ports, `count` in all, are free."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as first:
            port = int(first.getsockname()[1])
            try:
                for offset in range(1, count):
                    socket.create_server(("127.0.0.1", port + offset)).close()
            except OSError:
                continue
            return port
