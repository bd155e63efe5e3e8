"""A server on this machine's loopback, for as long as a test needs it."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeVar

T = TypeVar("T")


@contextlib.contextmanager
def running(handler: type[BaseHTTPRequestHandler], play_at: Callable[[str], T]) -> Iterator[T]:
    """Serve what `play_at` makes of the server's address; handlers find it as `server.play`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.play = play_at(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server.play
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
