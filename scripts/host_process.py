"""A ComfyUI that ends with the process that started it: `python host_process.py MAIN ARGUMENTS`.

The starter keeps the other end of our standard input open. When that closes, because the starter
stopped us or died in any way, so do we: on every system, with no process left behind.
"""

import os
import runpy
import sys
import threading
from pathlib import Path


def end_with_starter() -> None:
    """Wait for standard input to close (os.read, unlike sys.stdin, takes no lock)."""
    os.read(0, 1)
    os._exit(0)


if __name__ == "__main__":
    threading.Thread(target=end_with_starter, daemon=True).start()
    del sys.argv[0]
    sys.path[0] = str(Path(sys.argv[0]).parent)
    runpy.run_path(sys.argv[0], run_name="__main__")
