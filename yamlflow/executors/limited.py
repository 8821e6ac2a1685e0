"""A program that sets limits for its own process and becomes a command: ``limited.py {"as": 1000000} command arguments…``.

Limits have to stand before the command's first instruction, and Python cannot set them between fork and exec in a process of
several threads. It imports only the standard library, and is run without site packages.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys


def main(limits: str, command: list[str]) -> None:
    """Become the command; ends with 127 when there is no such program and with 126 when it cannot be run."""
    for name, most in json.loads(limits).items():
        kind = getattr(resource, f"RLIMIT_{name.upper()}")
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        # Of processor time a second more: SIGXCPU says what happened, SIGKILL does not.
        last = most + 1 if name == "cpu" and (hard == resource.RLIM_INFINITY or most < hard) else most
        resource.setrlimit(kind, (most, last))
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        # Python ignores them, and what is ignored stays so.
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)
    except OSError as wrong:
        print(f"{command[0]} cannot be started: {wrong.strerror}", file=sys.stderr)
        sys.exit(127 if isinstance(wrong, FileNotFoundError) else 126)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
