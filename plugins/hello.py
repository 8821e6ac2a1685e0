"""``hello/echo``: the smallest plugin there is. Its type hints are the schema of its ``with``."""

from __future__ import annotations

from yamlflow import Permanent, executor


@executor("hello/echo")
def echo(message: str) -> dict[str, str]:
    """Give the message back.

    Args:
        message: What to echo; must not be empty.
    """
    if not message:
        raise Permanent("empty_message", "message is required")
    return {"echoed": message}
