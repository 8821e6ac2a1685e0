"""``python``: a function or a few lines of Python, in a process of its own unless asked otherwise."""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..artifacts import open_regular
from ..context import StepContext
from ..errors import Permanent, Retryable
from ..faults import delay_of, error_of
from ..folders import import_from
from ..outcome import Error, Failed, Json
from . import child, executor
from .limits import SCHEMA as LIMITS
from .limits import limits_of
from .processes import run
from .shell import Places, failure_of

SCHEMA: Json = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "call": {
            "type": "string",
            "pattern": r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$",
            "description": "The function, `module:function`; found beside the package file, in plugins, or installed.",
        },
        "code": {
            "type": "string",
            "description": "Python text; what it returns, or leaves in `result`, is the result.",
        },
        "args": {
            "type": ["object", "array"],
            "default": {},
            "description": "The function's arguments, by name or in order; for `code` its variables.",
        },
        "cwd": {"type": "string", "description": "The working folder of the child process."},
        "limits": LIMITS,
        "in_process": {
            "type": "boolean",
            "default": False,
            "description": "In a thread of the worker, until that dies with it: starts at once, but cannot be stopped.",
        },
    },
    "oneOf": [{"required": ["call"]}, {"required": ["code"]}],
}


@executor("python", schema=SCHEMA, mode="async", code=["code", "call"], origin="built in")
async def python(step: StepContext) -> Json | Failed:
    """Call a Python function (`call`) or run a few lines (`code`); the result is the return value, or `result`.

    It runs in a child process, which a timeout or cancel ends; what it prints goes to the log.
    """
    given = step.input
    if "code" in given and not isinstance(given["args"], dict):
        raise Permanent("bad_input", "with.args: `code` takes its variables by name, a mapping")
    if given["in_process"] and "limits" in given:
        raise Permanent(
            "bad_input", "with.limits: a thread of the worker has no limits of its own; leave out `in_process`"
        )
    # A step that was lost with its worker may be what killed it.
    return await in_thread(step) if given["in_process"] and not step.lease.lost else await in_child(step)


async def in_child(step: StepContext) -> Json | Failed:
    """In a child process; ``Failed`` is what the child itself told."""
    cwd = step.work_in(step.input.get("cwd"))
    places = Places(step)
    try:
        answer = places.artifacts.parent / "answer"
        command = [sys.executable, "-P", child.__file__, str(answer.absolute())]
        # By its stdin, not by a file that a crash would leave: secrets may be among the arguments.
        request = json.dumps(request_of(step)).encode()
        env = {"PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1", **step.env, **places.env}
        limits = limits_of(step.input.get("limits"))
        ended = await run(command, step, env=env, cwd=cwd, stdin=request, limits=limits)
        await places.keep(step)
        if ended.exit_code or not answer.is_file():
            raise failure_of(ended, step)
        return answer_of(answer, step)
    finally:
        places.clear()


def request_of(step: StepContext) -> Json:
    """What the child is told."""
    return {
        "call": step.input.get("call"),
        "code": step.input.get("code"),
        "args": step.input["args"],
        "paths": [str(folder.absolute()) for folder in module_folders(step)],
        "home": str(Path(__file__).parents[2]),
        "limit": step.ports.limits.result,
    }


def answer_of(file: Path, step: StepContext) -> Json | Failed:
    """What the child told: a value or an error."""
    with open_regular(file, "the child's answer") as stream:
        text = stream.read(10 * step.ports.limits.result)
    try:
        answer = json.loads(text)
    except ValueError as wrong:
        raise Retryable("executor_error", f"the child process left no readable answer: {wrong}") from None
    if "error" in answer:
        return Failed(error=Error.from_json(answer["error"]), after=answer["after"])
    return answer["result"]


async def in_thread(step: StepContext) -> Json | Failed:
    """In a thread of this process, which ends with it: one that hangs keeps nobody from leaving."""
    import asyncio
    import contextvars
    import threading

    loop, work = asyncio.get_running_loop(), function_of(step)
    done: asyncio.Future[Json | Failed] = loop.create_future()

    def settle(value: Json | Failed) -> None:
        if not done.done():
            done.set_result(value)

    def run_here() -> None:
        value = contained(work)
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, value)

    # In the step's context, so that what it prints is told from what others print.
    threading.Thread(target=contextvars.copy_context().run, args=(run_here,), daemon=True).start()
    return await done


def function_of(step: StepContext) -> Callable[[], Any]:
    """The call as a function without arguments."""
    code, args = step.input.get("code"), step.input["args"]
    if code is not None:
        return lambda: child.run_code(code, args)
    module, _, name = step.input["call"].partition(":")
    return lambda: child.call_function(child.find(imported(module, step), name), args)


def imported(module: str, step: StepContext) -> Any:
    """A module from beside the package file or from plugins, as that folder's own; else an installed one."""
    head = module.partition(".")[0]
    for folder in module_folders(step):
        if (folder / f"{head}.py").is_file() or (folder / head / "__init__.py").is_file():
            return import_from(folder, module)
    return importlib.import_module(module)


def contained(work: Callable[[], Any]) -> Any:
    """The value, or the failure that whatever it raises stands for."""
    try:
        return work()
    except BaseException as fault:
        return Failed(error=error_of(fault), after=delay_of(fault))


def module_folders(step: StepContext) -> list[Path]:
    """Where modules are looked for before the installed ones."""
    own = [step.package_dir] if step.package_dir is not None else []
    return [*own, *step.plugin_dirs]
