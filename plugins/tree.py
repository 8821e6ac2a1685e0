"""``tree/walk``: an executor that emits child steps, one for each subfolder it finds."""

from __future__ import annotations

from yamlflow import Permanent, StepContext, executor


@executor("tree/walk")
def walk(step: StepContext, folder: str, run: str) -> dict[str, int]:
    """Count a folder's own files and bytes, record them in ``folders``, and emit a step for each subfolder.

    Args:
        folder: The folder, from the package file's folder.
        run: The run that the record is for.
    """
    place = (step.cwd / folder).resolve()
    if not place.is_dir():
        raise Permanent("no_folder", f"there is no folder {place}")
    files = [path for path in place.iterdir() if path.is_file()]
    for inner in sorted(path for path in place.iterdir() if path.is_dir() and not path.is_symlink()):
        step.emit(inner.name, kind="tree/walk", with_={"folder": str(inner), "run": run})
    counted = {"files": len(files), "bytes": sum(path.stat().st_size for path in files)}
    step.record("folders", f"{run}:{place}", {"run": run, "folder": str(place), **counted})
    return counted
