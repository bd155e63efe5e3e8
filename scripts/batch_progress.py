"""How far a job is, on one line of a terminal, or line by line where it goes elsewhere."""

import sys
import time

EVERY = 30
"""Seconds between lines that stay."""
WIDTH = 24


class Progress:
    """What `run.py batch` shows while a job runs; a context manager that ends its line."""

    def __init__(self) -> None:
        self._is_terminal = sys.stdout.isatty()
        self._shown, self._said = 0, 0.0

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            print(flush=True)

    def show(self, settled: int, total: int, failed: int, per_minute: float | None) -> None:
        """Show that so many of all photos are done or have failed, once there are any."""
        if not total:
            return
        text = line(settled, total, failed, per_minute)
        if self._is_terminal:
            print(f"\r{bar(settled, total)} {text}".ljust(self._shown), end="", flush=True)
            self._shown = len(text) + WIDTH + 4
        elif time.monotonic() - self._said >= EVERY:
            print(text, flush=True)
            self._said = time.monotonic()


def line(settled: int, total: int, failed: int, per_minute: float | None) -> str:
    """What there is to tell, in words."""
    parts = [f"{settled}/{total} photo{'s' * (total != 1)}"]
    if per_minute:
        parts.append(f"{per_minute:.1f} a minute")
        if settled < total:
            parts.append(f"{duration(60 * (total - settled) / per_minute)} left")
    if failed:
        parts.append(f"{failed} failed")
    return ", ".join(parts)


def bar(settled: int, total: int) -> str:
    """A bar that fills."""
    full = WIDTH * settled // max(total, 1)
    return f"[{'#' * full}{'-' * (WIDTH - full)}]"


def duration(seconds: float) -> str:
    """A time as a person says it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
