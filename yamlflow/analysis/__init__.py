"""Static analysis: everything that can be known to be wrong with a package before it runs, beyond its document's form.

``analyze`` takes a package whose document was checked, and gives problems and warnings with pointers into that
document; ``Document.locate`` gives them lines and columns. Nothing here runs a step, evaluates an expression on a run's
values, or reads a file, clock or store; executors are asked for their schemas only, and a plugin for its version.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import Problem
from ..executors import Executor
from ..outcome import Json
from ..spec import Group, Kind, Package
from ..template import Expressions
from .desk import Desk
from .findings import settled
from .given import check_declared, check_scheduled
from .kinds import check_kinds
from .requires import installed_version
from .scope import IN_NAMES, Scope
from .steps import check_default_queue, check_duration, check_group, read_env
from .texts import read_value, refuse_expressions
from .unused import check_unused

if TYPE_CHECKING:
    from ..plugins import BrokenPlugin

__all__ = ["analyze"]


def analyze(
    package: Package,
    *,
    executors: Mapping[str, Executor],
    expressions: Expressions,
    broken: Sequence[BrokenPlugin] = (),
    data: Json = None,
    installed: Callable[[str], str | None] = installed_version,
) -> list[Problem]:
    """Every problem and warning of a package, in the order of the walk, without lines and columns.

    ``executors`` are the kinds there are (only those that are named are looked up), ``broken`` the plugins that could
    not be imported. ``data`` is the document's data: with it pointers follow the author's short forms exactly.
    ``installed`` tells a plugin's version by its name, None when it is not installed. Never raises for what a package
    holds.
    """
    desk = Desk(package=package, executors=executors, expressions=expressions, broken=broken, installed=installed)
    check_kinds(desk)
    scope = _check_package(desk)
    assert isinstance(package.root.body, Group)
    check_group(desk, package.root, package.root.body, scope, ())
    for kind in package.kinds.values():
        _check_kind(desk, kind, scope)
    if not any(not problem.warning for problem in desk.findings.problems):
        check_unused(desk)
    return [settled(problem, data) for problem in desk.findings.problems]


def _check_package(desk: Desk) -> Scope:
    """The keys of the package itself; gives what its steps see."""
    package, naming = desk.package, Scope(area=IN_NAMES, inputs=desk.package.inputs)
    names = {"title": package.title, "run_name": package.run_name, "metadata": package.metadata}
    for key, value in names.items():
        read_value(desk, value, (key,), naming, f"{key}, which is stored")
    if package.concurrency is not None:
        read_value(desk, package.concurrency.get("key"), ("concurrency", "key"), naming, "a key, which is stored")
    scope = Scope(inputs=package.inputs)
    for pointer, timeout in ((("timeout",), package.root.timeout), (("defaults", "timeout"), package.defaults.timeout)):
        read_value(desk, timeout, pointer, scope, "a timeout")
        check_duration(desk, timeout, pointer)
    check_default_queue(desk)
    _check_literals(desk)
    return read_env(desk, package.root.env, ("env",), scope)


def _check_literals(desk: Desk) -> None:
    """Where an expression may be expected and is not evaluated."""
    package = desk.package
    for name, schema in package.inputs.items():
        remedy = f"Choose the value where the input is read: ${{{{ inputs.{name} or … }}}}."
        refuse_expressions(desk, schema, ("inputs", name), "an input's schema", remedy)
    for name, schema in package.signals.items():
        refuse_expressions(desk, schema, ("signals", name), "a signal's schema")
    refuse_expressions(desk, [dict(entry) for entry in package.schedule], ("schedule",), "a schedule")
    refuse_expressions(desk, list(package.pass_env), ("pass_env",), "pass_env", "Name variables, or globs of them.")
    check_declared(desk, package.inputs, ("inputs",))
    check_scheduled(desk)


def _check_kind(desk: Desk, kind: Kind, outside: Scope) -> None:
    """The body of a kind sees its own inputs, and nothing of the run but what every step sees."""
    assert isinstance(kind.step.body, Group)
    pointer = ("kinds", kind.name)
    scope = replace(outside, inputs=kind.inputs, kind=kind.name)
    read_value(desk, kind.step.title, (*pointer, "title"), scope, "a title, which is stored")
    scope = read_env(desk, kind.step.env, (*pointer, "env"), scope)
    for name, schema in kind.inputs.items():
        refuse_expressions(desk, schema, (*pointer, "inputs", name), "an input's schema")
    check_declared(desk, kind.inputs, (*pointer, "inputs"))
    check_group(desk, kind.step, kind.step.body, scope, (f"kinds.{kind.name}",))
