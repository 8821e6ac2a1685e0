"""What people are shown of runs: frozen read models with ``to_json``, built over a store's reader. Nothing is written.

Every view is bounded: of a fan-out with a hundred thousand children it holds counts, and the few children that matter.
Times are milliseconds; ``to_json`` gives them as ISO 8601 text.
"""

from __future__ import annotations
