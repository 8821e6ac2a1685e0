"""Paths and nodes: what stands where in a package's graph."""

from __future__ import annotations

import pytest

from yamlflow import document
from yamlflow.packages import loaded
from yamlflow.plan import ENGINE_QUEUE, Plan, ancestors, child_path, keyed_path, parent_path, shape
from yamlflow.spec import FanOut, Repeat, package_from


def plan(body: str) -> Plan:
    """The plan of a package."""
    return loaded(document.read(f"yamlflow: 1\nname: p\n{body}")).plan


@pytest.mark.parametrize(("path", "above"), [
    ("", None), ("a", ""), ("a/b", "a"), ("a[3]", "a"), ("a[3]/b", "a[3]"), ("a[x]/b[y]", "a[x]/b"), ("@finally", ""),
    ("a[3]@on_failure", "a[3]"), ("a@finally/_1", "a@finally"), ("a/b@undo", "a/b"), ("a/k/deep", "a/k"),
])  # fmt: skip
def test_every_path_has_one_above_it_up_to_the_package(path: str, above: str | None) -> None:
    assert parent_path(path) == above
    chain = list(ancestors(path))
    assert chain == ([] if above is None else [above, *ancestors(above)])


def test_paths_are_put_together_and_keys_are_encoded() -> None:
    assert (child_path("", "a"), child_path("a", "b")) == ("a", "a/b")
    assert keyed_path("a", "x/y[z]@%") == "a[x%2Fy%5Bz%5D%40%25]"
    assert keyed_path("t", "linux,3.11") == "t[linux,3.11]"


def test_nodes_are_as_many_as_the_package_has_steps_however_large_its_run() -> None:
    one = plan("steps: {a: {for_each: [1], steps: {x: {kind: k}}}}")
    nodes = {id(one.node(f"a[{n}]/x")) for n in range(100)}
    assert len(nodes) == 1
    assert shape("a[5]/x") == "a[]/x"


@pytest.mark.parametrize("path", ["b", "a/x", "g/b", "g@finally", "@finally"])
def test_a_path_that_the_package_does_not_have_is_a_key_error(path: str) -> None:
    with pytest.raises(KeyError):
        plan("steps: {a: {kind: k}, g: {steps: {x: {kind: k}}}}").node(path)


def test_a_loop_s_children_are_the_step_without_what_belongs_to_the_whole() -> None:
    one = plan("""steps:
  n: {kind: k}
  a:
    {kind: k, needs: n, if: 'true', for_each: [1], continue_on_error: true, retry: {max_attempts: 3}, timeout: 5s,
     env: {E: 1}, queue: default}
""")
    whole, child = one.node("a"), one.node("a[0]")
    assert isinstance(whole.loop, FanOut)
    assert (whole.call, whole.retry.max_attempts, whole.timeout, whole.gate) == (None, 1, None, True)
    assert (child.loop, child.needs, child.step.condition, child.step.continue_on_error, child.gate) == (
        None,
        (),
        None,
        False,
        False,
    )
    assert (child.retry.max_attempts, child.timeout, len(child.env)) == (3, "5s", 1)


def test_defaults_are_for_kinds_that_occupy_a_worker() -> None:
    one = plan("""defaults: {retry: {max_attempts: 4}, timeout: 7s, kill_grace: 3s, queue: default}
steps:
  a: {kind: k}
  s: {kind: sleep, with: {for: 1s}}
  g: {steps: {x: {kind: k, timeout: 1s, retry: {max_attempts: 2}, kill_grace: 1s}}}
""")
    found = {path: (one.node(path).retry.max_attempts, one.node(path).timeout) for path in ("a", "s", "g", "g/x", "")}
    assert found == {"a": (4, "7s"), "s": (1, None), "g": (1, None), "g/x": (2, "1s"), "": (1, None)}
    assert [one.node(path).kill_grace for path in ("a", "g/x")] == [3000, 1000]


def test_queues_and_priorities_are_inherited_and_the_engine_s_own_work_has_neither() -> None:
    one = plan("""queues: {q: {}, shared: {shared: true}}
steps:
  g:
    queue: q
    priority: 3
    steps: {x: {kind: k}, y: {kind: k, queue: shared, priority: 0}, s: {kind: sleep, with: {for: 1s}}}
  a: {kind: k}
""")
    assert [one.node(path).queue for path in ("g/x", "g/y", "g/s", "a", "g")] == [
        "p/q",
        "shared",
        ENGINE_QUEUE,
        "default",
        ENGINE_QUEUE,
    ]
    assert [one.node(path).priority for path in ("g/x", "g/y", "a")] == [3, 0, 0]


@pytest.mark.parametrize(("step", "gate"), [
    ("{kind: k}", False), ("{kind: k, if: 'true'}", True), ("{kind: k, for_each: [1]}", True),
    ("{kind: k, dedup_key: x}", True),
    ("{steps: {x: {kind: k}}}", False), ("{steps: {x: {kind: k}}, timeout: 5s}", False), ("{kind: own}", True),
    ("{steps: {x: {kind: k}}, timeout: '${{ inputs.t }}'}", True), ("{kind: k, timeout: '${{ inputs.t }}'}", False),
])  # fmt: skip
def test_only_what_has_something_to_evaluate_waits_for_an_evaluation(step: str, gate: bool) -> None:
    one = plan(f"inputs: {{t: {{default: 5s}}}}\nkinds: {{own: {{steps: {{x: {{kind: k}}}}}}}}\nsteps: {{a: {step}}}")
    assert one.node("a").gate is gate


def test_a_kind_made_of_steps_is_a_group_behind_a_border() -> None:
    one = plan(
        "kinds: {own: {inputs: {n: {}}, "
        "timeout: 9s, steps: {x: {kind: k}}}}\nsteps: {a: {kind: own, with: {n: 1}}, "
        "b: {kind: own, with: {n: 1}, timeout: 1s}}"
    )
    assert one.node("a").group is not None
    assert (one.node("a").inputs, one.node("a/x").inputs) == ({"n": {}}, None)
    assert (one.node("a").timeout, one.node("b").timeout) == ("9s", "1s")


def test_a_sequence_needs_the_one_before_it_not_failed() -> None:
    one = plan("steps: [{kind: k}, {kind: k, id: b}, {kind: k}]")
    assert [(need.step, sorted(need.ends)) for path in ("_1", "b", "_3") for need in one.node(path).needs] == [
        ("_1", ["skipped", "succeeded"]), ("b", ["skipped", "succeeded"]),
    ]  # fmt: skip


def test_dependents_are_the_needs_turned_round() -> None:
    one = plan("steps: {a: {kind: k}, b: {kind: k, needs: a}, c: {kind: k, needs: {a: failed, b: finished}}}")
    group = one.node("").group
    assert group is not None
    found = {id: [(step, len(ends)) for step, ends in needed] for id, needed in one.dependents(group).items()}
    assert found == {"a": [("b", 1), ("c", 1)], "b": [("c", 4)]}


def test_repeat_is_a_loop_with_a_bound() -> None:
    loop = plan("steps: {a: {kind: k, repeat: {until: 'result', every: 5s}}}").node("a").loop
    assert loop == Repeat(until="result", every=5000, max=1000)


def test_a_plan_from_the_stored_text_is_the_same_plan() -> None:
    read = document.read("yamlflow: 1\nname: p\nsteps: {a: {kind: k, needs: b}, b: {kind: k}}")
    assert package_from(read.data) == package_from(document.read(read.text).data)
