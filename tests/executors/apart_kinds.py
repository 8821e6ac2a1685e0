"""Kinds whose calls have a process of their own, for the tests: another process can import them from here."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yamlflow import Permanent, Retryable, Serializer, StepContext, executor, hookimpl
from yamlflow.outcome import Waiting


@dataclass
class Money:
    cents: int


@hookimpl
def yamlflow_serializers() -> list[Serializer]:
    return [
        Serializer(
            "money", Money, to_json=lambda one: {"cents": one.cents}, from_json=lambda said: Money(said["cents"])
        )
    ]


@dataclass
class Order:
    name: str
    count: int = 1


@executor("apart/typed", mode="process")
def typed(order: Order, note: str = "none") -> dict[str, Any]:
    return {"name": order.name, "count": order.count, "note": note, "pid": os.getpid()}


@executor("apart/money", mode="process", schema={"type": "object"})
def money(step: StepContext) -> dict[str, Any]:
    return {"paid": Money(step.input["paid"].cents * 2)}


@executor("apart/later", mode="process")
async def later(n: int) -> int:
    await asyncio.sleep(0)
    return n + 1


@executor("apart/waits", mode="process", waits=True)
def waits() -> Waiting:
    return Waiting(signal="go")


@executor("apart/all", mode="process")
def everything(step: StepContext) -> dict[str, Any]:
    print("printed")
    step.log("logged")
    step.progress(1, 2, "half")
    step.mask("a hidden word")
    print("a hidden word")
    step.log("a hidden word")
    kept = step.artifact("note.txt", "hello")
    Path(step.dir, "file.bin").write_bytes(b"\0\1")
    step.store_artifact("file", Path(step.dir, "file.bin"), metadata={"of": "bytes"})
    with step.open_artifact(kept) as stream:
        body = stream.read().decode()
    step.record("things", "one", {"n": 1})
    step.signal("other", "go", {"n": 1})
    child = step.emit("child", kind="noop", queue="q")
    seen = step.dependency("before")
    with step.projection() as tables:
        rows = tables.query("select 1 as one")
    return {
        "body": body, "child": child.path, "rows": rows, "before": step.result("before"), "missing": step.result("nobody"),
        "seen": None if seen is None else [seen.status, seen.attempts], "key": step.idempotency_key,
        "env": step.env.get("GIVEN"), "remaining": step.remaining is not None and step.remaining > 0,
    }  # fmt: skip


@executor("apart/raises", mode="process")
def raises(how: str) -> None:
    if how == "permanent":
        raise Permanent("no_such", "not here", details={"n": 1})
    if how == "retryable":
        raise Retryable("busy", "later", after=2)
    if how == "artifact":
        raise ValueError("oh") from KeyError("deep")


@executor("apart/ends", mode="process")
def ends(how: str) -> None:
    if how == "segfault":
        ctypes.string_at(0)
    if how == "exit":
        os._exit(int("0"))
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "system exit":
        raise SystemExit(3)


@executor("apart/returns", mode="process")
def returns(what: str) -> Any:
    ring: list[Any] = []
    ring.append(ring)
    return {
        "set": {1}, "nan": float("nan"), "bytes": b"x", "cycle": ring, "object": object(), "digits": 10**5000,
        "surrogate": "\ud800", "keys": {1: 2}, "large": "x" * 100_000_000 if what == "large" else None,
    }[what]  # fmt: skip


@executor("apart/leaves", mode="process")
def leaves() -> str:
    threading.Thread(target=time.sleep, args=(1000,)).start()
    for _ in range(50):
        os.open("/dev/null", os.O_RDONLY)
    return "left"


@executor("apart/stubborn", mode="process")
def stubborn(step: StepContext, how: str) -> None:
    try:
        Path(step.dir, "started").touch()
        while True:
            time.sleep(100)
    finally:
        print("cleaned up")
        while how == "ignores":
            time.sleep(100)
