"""A client's part for what steps gave and kept: results, errors, files, records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import IO, Any, TypeVar, overload

from .checksums import result_of
from .errors import UnknownName, did_you_mean
from .facts import KeptArtifact
from .outcome import Error, Json
from .packages import Plans, folder_of
from .ports import ArtifactStore
from .projections import Projections
from .rows import StepRow
from .scope import gathered, node_of
from .shapes import shaped
from .spec import FanOut, Matrix
from .starting import Shelf
from .store.base import Store
from .tables import Projection

Shape = TypeVar("Shape")


class Results:
    """See ``Client``."""

    store: Store
    plans: Plans
    shelf: Shelf
    projections: Projections
    artifact_store: ArtifactStore

    def step(self, run_id: str, path: str) -> StepRow | None:
        """A step of a run by its path; None when there is none."""
        run = self.store.find_run(run_id)
        return None if run is None else next(iter(self.store.steps_at(run.key, [path])), None)

    @overload
    def result(self, run_id: str, step: str = "") -> Any: ...

    @overload
    def result(self, run_id: str, step: str, shape: type[Shape]) -> Shape | None: ...

    def result(self, run_id: str, step: str = "", shape: Any = None) -> Any:
        """A step's result, or the run's outputs; None when there is none.

        Values of registered types are objects again. ``shape`` (a dataclass, TypedDict, pydantic model or any hint)
        gives it as that; ``Permanent`` (``bad_input``) when it does not fit.
        """
        run = self.store.find_run(run_id)
        row = None if run is None else next(iter(self.store.steps_at(run.key, [step])), None)
        if run is None or row is None:
            return None
        node = node_of(self.store, self.plans(run.digest), run.key, step)
        if node is not None and isinstance(node.loop, FanOut | Matrix) and row.status == "succeeded":
            value: Json = gathered(self.store, row)
        else:
            value = result_of(row)
        if value is None:
            return None
        return self.shelf.serializers.revived(value) if shape is None else shaped(shape, value, step or "outputs")

    def error(self, run_id: str, step: str = "") -> Error | None:
        """What a step, or the run, failed with; None when it did not fail, and when there is no such step."""
        row = self.step(run_id, step)
        return Error.from_json(json.loads(row.error)) if row is not None and row.error is not None else None

    # -- what steps kept

    def artifacts(self, run_id: str, step: str | None = None) -> list[KeptArtifact]:
        """The files that a run's steps kept, or one step of it; empty when there is no such run or step."""
        run = self.store.find_run(run_id)
        if run is None:
            return []
        row = None if step is None else self.step(run_id, step)
        if step is not None and row is None:
            return []
        rows = self.store.artifacts(run.key, None if row is None else row.id)
        paths = {
            found.id: found.path for id in {each.step for each in rows} if (found := self.store.step(id)) is not None
        }
        return [
            KeptArtifact(
                step=paths.get(each.step, ""), name=each.name, uri=each.uri, size=each.size, sha256=each.sha256,
                content_type=each.content_type, kind=each.kind, metadata=json.loads(each.metadata),
                created_at=each.created_at,
            )
            for each in rows
        ]  # fmt: skip

    def open_artifact(self, run_id: str, step: str, name: str) -> IO[bytes]:
        """The bytes of a kept file, its size and hash checked first; close the stream.

        ``UnknownName`` when nothing of this name was kept, ``Permanent`` when the bytes are not what was kept.
        """
        kept = {each.name: each for each in self.artifacts(run_id, step)}
        if name not in kept:
            remedy = did_you_mean(name, kept) or f"There are: {', '.join(kept) or 'none'}."
            raise UnknownName(f'step "{step}" of run "{run_id}" kept no file "{name}". {remedy}')
        return self.artifact_store.open(kept[name])

    def projection(self, package: str) -> Projection:
        """A package's own tables, with every record that was committed; close it (``with`` does).

        ``UnknownName`` when there is no such package.
        """
        one = self.shelf.get(package)
        declared = one.package.projection
        name, migrations = declared.get("name") or one.package.name, declared.get("migrations")
        folder = Path(folder_of(one) or ".") / migrations if migrations else None
        return self.projections.open(name, migrations=folder)

    def records(self, package: str, collection: str) -> list[dict[str, Any]]:
        """The records of a collection, each a mapping of column to value (``key`` is one); in the order of their first
        writing. ``UnknownName`` when there is no such package or collection."""
        with self.projection(package) as projection:
            found = projection.query("select name from sqlite_master where type = 'table'")
            tables = [each["name"] for each in found if not each["name"].startswith(("_yamlflow", "sqlite_"))]
            if collection not in tables:
                remedy = did_you_mean(collection, tables) or f"There are: {', '.join(tables) or 'none'}."
                raise UnknownName(f'package "{package}" has no collection "{collection}". {remedy}')
            quoted = collection.replace('"', '""')
            return projection.query(f'select * from "{quoted}" order by rowid')
