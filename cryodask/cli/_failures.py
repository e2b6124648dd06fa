"""What a failure looks like at the command line: one clear message and an exit code."""

from __future__ import annotations

import os
import select
import sys

import click

from cryodask.errors import CryodaskError

INTERNAL_ERROR = 1
USAGE = 2
DATA = 3
INTERRUPTED = 130
BROKEN_PIPE = 141
"""128 + SIGPIPE, what a shell shows for any program whose reader went away."""


def explain(error: BaseException) -> tuple[int, str]:
    """Exit code and message (without the leading "error: ") for an exception that ended a command."""
    if isinstance(error, CryodaskError):
        return error.exit_code, str(error) or type(error).__name__
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return INTERRUPTED, "interrupted; run the same command again to resume"
    if isinstance(error, MemoryError):
        detail = f" ({error})" if str(error) else ""
        return USAGE, f"not enough memory{detail}; use fewer --workers, or a machine with more memory"
    if isinstance(error, OSError) and error.filename is not None:
        return DATA, f"{os.fsdecode(error.filename)}: {error.strerror or error}"
    kind, text = type(error).__name__, " ".join(str(error).split())
    return INTERNAL_ERROR, (
        f"internal error: {kind}: {text}\n"
        f"This is a fault of cryodask. Run the command again with -vv for the full traceback, and report it with that."
    )


def reader_is_gone() -> bool:
    """Whether standard output is a pipe that nobody reads any more (and not some other connection that broke)."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    except (AttributeError, OSError, ValueError):
        return True  # no poll on this system, or no real file: the most likely reason remains


def silence_stdout() -> None:
    """Let what is still buffered for a closed pipe go nowhere, so that Python's own last flush does not complain."""
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
    except (OSError, ValueError):
        return
