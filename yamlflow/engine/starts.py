"""A run that is to be, in the words that the engine takes: read, checked and rendered, but not stored.

``starting.prepare`` makes one; ``commands.start`` stores it, for a caller, a schedule, or a step that starts a child.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ..outcome import Emitted, Json
from ..plan import Plan
from ..rows import PackageRow

#: What to do when the id is taken: refuse, take that run, or be its next execution once it has ended.
IfExists = Literal["fail", "join", "new"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """Everything that is known of a run before it is stored."""

    package: PackageRow
    plan: Plan
    run_id: str
    #: Checked, with defaults filled in.
    inputs: Mapping[str, Json]
    name: str | None = None
    metadata: Mapping[str, Json] = field(default_factory=dict)
    context: Mapping[str, Json] = field(default_factory=dict)
    #: The folder of the package file.
    folder: str | None = None
    #: Who asks.
    by: str | None = None
    if_exists: IfExists = "fail"
    #: The durable name of the queue for steps that name none; None is ``default``.
    queue: str | None = None
    #: The steps that a program has built, for a package that declares none.
    steps: tuple[Emitted, ...] = ()
    #: ``package/key``, when the package bounds how many runs go on at once.
    slot: str | None = None
    #: Whether steps take results that are kept; what child runs do follows their parent.
    use_cache: bool = True
