"""Run in a child process by the kind ``python``: one call, told on stdin, its result or error as JSON in a file.

Imports nothing of yamlflow unless something went wrong: a child starts as fast as Python does.
"""

from __future__ import annotations

import ast
import importlib
import json
import os
import sys
from typing import Any


def main(answer_file: str) -> None:
    """Do what the request says and write the answer; what runs finds nothing on its stdin."""
    request = json.loads(sys.stdin.buffer.read())
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.path[:0] = request["paths"]
    sys.path.append(request["home"])
    try:
        answer = judged(called(request), request["limit"])
    except BaseException as fault:
        answer = failed(fault)
    with open(os.open(answer_file, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="utf-8") as stream:
        stream.write(answer)
    sys.stdout.flush()


def called(request: dict[str, Any]) -> Any:
    """The value of a call or of code."""
    if request["code"] is not None:
        return run_code(request["code"], request["args"])
    module, _, name = request["call"].partition(":")
    return call_function(find(importlib.import_module(module), name), request["args"])


def run_code(code: str, names: dict[str, Any]) -> Any:
    """What the code returns, or leaves in ``result``."""
    space = {"__name__": "__step__", **names}
    tree = ast.parse(code, "<code>")
    if not any(map(returns, tree.body)):
        exec(compile(tree, "<code>", "exec"), space)
        return space.get("result")
    # A `return` at the top makes the code a function's body; its lines keep their numbers.
    function = ast.parse("def code(): pass").body[0]
    function.body, tree.body = tree.body, [function]  # type: ignore[attr-defined]
    exec(compile(tree, "<code>", "exec"), space)
    return space["code"]()


def returns(node: ast.AST) -> bool:
    """Whether a statement returns from the code itself, not from a function that it defines."""
    if isinstance(node, ast.Return):
        return True
    inner = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
    return not isinstance(node, inner) and any(map(returns, ast.iter_child_nodes(node)))


def find(module: Any, path: str) -> Any:
    """``name`` or ``Class.method`` in a module."""
    for name in path.split("."):
        module = getattr(module, name)
    return module


def call_function(function: Any, args: Any) -> Any:
    """The function's value, awaited if need be."""
    value = function(*args) if isinstance(args, list) else function(**args)
    if hasattr(value, "__await__"):
        import asyncio

        async def wait() -> Any:
            return await value

        return asyncio.run(wait())
    return value


def judged(value: Any, limit: int) -> str:
    """The answer for a value; raises ``NotJson`` when JSON cannot say it."""
    try:
        text = json.dumps(value, allow_nan=False)
        if len(text) <= limit and json.loads(text) == value:
            return json.dumps({"result": value}, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        pass
    from yamlflow.values import plain

    return json.dumps({"result": plain(value, limit=limit)}, allow_nan=False)


def failed(fault: BaseException) -> str:
    """The answer for an exception."""
    from yamlflow.errors import Permanent
    from yamlflow.faults import delay_of, error_of
    from yamlflow.values import NotJson

    if isinstance(fault, NotJson):
        fault = Permanent("bad_result", f"the step returned what cannot be kept: {fault}")
    trace = fault.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    error = error_of(fault.with_traceback(trace))
    return json.dumps({"error": error.to_json(), "after": delay_of(fault)})


if __name__ == "__main__":
    main(*sys.argv[1:])
