"""``python -m yamlflow``, and the command ``yamlflow``: the command line, watched where it works on steps."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line and end the process with its exit status."""
    try:
        from . import supervised

        supervised.begin(sys.argv[1:])
        from .cli import main as command_line

        command_line()
    except KeyboardInterrupt:
        # Before the command line could hear it, or after it was done.
        if f"{__package__}.supervised" in sys.modules:
            sys.modules[f"{__package__}.supervised"].life.ended(130)
        os._exit(130)


if __name__ == "__main__":
    main()
