"""Signals, approvals, children and successors in tests."""

from __future__ import annotations

from pathlib import Path

from .conftest import Play, only

ASK = """
    signals: {publish: {type: object, required: [by], properties: {by: {type: string}}}}
    steps:
      ready: {kind: sleep, with: {for: 1h}}
      wait: {needs: ready, kind: wait_signal, timeout: 30d, with: {signal: publish}}
      ask: {needs: wait, kind: approval, with: {prompt: "Publish?"}}
    outputs: {by: "${{ steps.wait.result.by }}", yes: "${{ steps.ask.result.approved }}", who: "${{ steps.ask.result.by }}"}
"""


def test_signals_and_answers_come_at_their_times(played: Play) -> None:
    tests = """
        tests:
          after some days:
            events:
              - {when: wait, after: 10d, signal: {name: publish, data: {by: ann}}}
              - {when: ask, after: 2h, approve: {by: bob, comment: fine}}
            expect: {outputs: {by: ann, yes: true, who: bob}, duration: 10d3h}
          sent before anybody waits:
            events:
              - {after: 0s, signal: {name: publish, data: {by: ann}}}
              - {when: ask, approve: {approved: false}}
            expect: {outputs_like: {by: ann, yes: false}, duration: 1h}
          nobody sends it:
            expect: {error: {code: timeout, step: wait}, duration: 30d1h}
    """
    for verdict in played(ASK, tests).values():
        assert verdict.passed, verdict.told()


def test_a_signal_that_does_not_fit_is_a_failure_of_the_test(played: Play) -> None:
    told = only(played(ASK, "tests: {t: {events: [{after: 1m, signal: {name: publish, data: {}}}]}}")).told()
    assert "the event signal publish was refused" in told
    assert "by" in told


def test_a_wait_that_nobody_ends_fails_at_once_and_says_for_what(played: Play) -> None:
    package = "steps: {wait: {kind: wait_signal, with: {signal: go}}, ask: {kind: approval}}"
    told = only(played(package, "tests: {t: }")).told()
    assert "nothing can happen any more, and the run is running" in told
    assert 'wait: waits for the signal "go"' in told
    assert "ask: waits for" in told


def test_a_mocked_wait_waits_for_nobody(played: Play) -> None:
    tests = """
        tests:
          answers at once:
            mocks: [{step: wait, result: {by: ann}}, {kind: approval, takes: 3h, result: {approved: true, by: me}}]
            expect: {outputs: {by: ann, yes: true, who: me}, duration: 4h}
    """
    verdict = only(played(ASK, tests))
    assert verdict.passed, verdict.told()


CHILD = """
yamlflow: 1
name: child
inputs: {n: {type: integer}}
steps: {nap: {kind: sleep, with: {for: 1h}}, work: {needs: nap, kind: noop}}
outputs: {double: "${{ inputs.n * 2 }}"}
"""
PARENT = """
    steps:
      call: {kind: workflow, for_each: [1, 2], with: {package: ./child.yaml, inputs: {n: "${{ item }}"}}}
    outputs: {all: "${{ steps.call.result | map(attribute='double') | list }}"}
"""


def test_a_child_package_runs_for_real_or_is_mocked(played: Play, tmp_path: Path) -> None:
    (tmp_path / "child.yaml").write_text(CHILD)
    tests = """
        tests:
          for real:
            expect:
              outputs: {all: [2, 4]}
              duration: 1h
              runs: {"test.call.0": {status: succeeded, outputs: {double: 2}}}
              calls: [{package: ./child.yaml, times: 2}, {kind: noop, times: 2}]
          mocked:
            mocks: [{package: ./child.yaml, sequence: [{result: {double: 7}}, {result: {double: 8}, takes: 5m}]}]
            expect: {outputs: {all: [7, 8]}, duration: 5m, calls: {noop: 0}}
          mocked in part:
            mocks:
              - {package: ./child.yaml, when: {inputs: {n: 1}}, error: {code: no_luck, message: not today}}
              - {package: ./child.yaml, real: true}
            expect: {error: {code: no_luck, step: "call[0]"}}
          a step of the child is mocked:
            mocks: [{kind: noop, takes: 1h}]
            expect: {duration: 2h}
    """
    for verdict in played(PARENT, tests).values():
        assert verdict.passed, verdict.told()


def test_a_child_that_waits_says_for_what(played: Play, tmp_path: Path) -> None:
    (tmp_path / "child.yaml").write_text(
        CHILD.replace("kind: sleep, with: {for: 1h}", "kind: wait_signal, with: {signal: go}")
    )
    told = only(played(PARENT, "tests: {t: }")).told()
    assert '[test.call.0] nap: waits for the signal "go"' in told


def test_events_reach_other_runs_by_their_ids(played: Play, tmp_path: Path) -> None:
    (tmp_path / "child.yaml").write_text(
        CHILD.replace("kind: sleep, with: {for: 1h}", "kind: wait_signal, with: {signal: go}")
    )
    tests = """
        tests:
          both are told:
            events:
              - {run: test.call.0, when: nap, signal: go}
              - {run: test.call.1, when: nap, after: 5m, signal: go}
            expect: {outputs: {all: [2, 4]}, duration: 5m}
    """
    verdict = only(played(PARENT, tests))
    assert verdict.passed, verdict.told()


def test_a_run_that_continues_is_followed_to_its_last_execution(played: Play) -> None:
    package = """
        inputs: {left: {type: integer}}
        steps:
          nap: {kind: sleep, with: {for: 1d}}
          more: {needs: nap, if: inputs.left > 0, kind: continue_as_new, with: {inputs: {left: "${{ inputs.left - 1 }}"}}}
        outputs: {left: "${{ inputs.left }}", execution: "${{ run.execution }}"}
    """
    verdict = only(
        played(package, "tests: {t: {inputs: {left: 3}, expect: {outputs: {left: 0, execution: 4}, duration: 4d}}}")
    )
    assert verdict.passed, verdict.told()


def test_a_race_between_a_signal_and_a_timer_has_the_winner_that_came_first(played: Play) -> None:
    package = """
        steps:
          first:
            race: true
            steps: {signal: {kind: wait_signal, with: {signal: go}}, timer: {kind: sleep, with: {for: 1h}}}
        outputs: {winner: "${{ steps.first.winner }}"}
    """
    tests = """
        tests:
          signal: {events: [{after: 59m, signal: go}], expect: {outputs: {winner: signal}, duration: 59m}}
          timer: {expect: {outputs: {winner: timer}, duration: 1h}}
    """
    for verdict in played(package, tests).values():
        assert verdict.passed, verdict.told()
