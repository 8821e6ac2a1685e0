"""How a test is played: a clock that jumps, calls that are mocked or made, and an end in any case."""

from __future__ import annotations

import time

import pytest

from .conftest import Play, only

MONTH = "steps: {nap: {kind: sleep, with: {for: 30d}}, after: {needs: nap, kind: set, with: {value: '${{ now() }}'}}}"
SLEEPY = """
    steps:
      one: {kind: sleep, with: {for: 1h}}
      two: {kind: set, needs: one, with: {value: done}}
    outputs: {said: "${{ steps.two.result }}"}
"""


def test_a_month_of_sleep_takes_no_time(played: Play) -> None:
    began = time.monotonic()
    verdict = only(played(MONTH, "tests: {it wakes: {expect: {duration: 30d, order: [nap, after]}}}"))
    assert verdict.passed, verdict.told()
    assert time.monotonic() - began < 5
    assert verdict.lasted == 30 * 24 * 3600 * 1000


def test_a_test_gives_the_metadata_that_a_schedule_would(played: Play) -> None:
    package = """
        steps: {say: {kind: set, with: {value: "${{ run.metadata.scheduled_at }}"}}}
        outputs: {at: "${{ steps.say.result }}"}
    """
    tests = """
        metadata: {scheduled_at: "2026-03-01T01:30:00Z"}
        tests:
          the time is that of the schedule: {expect: {outputs: {at: "2026-03-01T01:30:00Z"}}}
          a test may give another one:
            metadata: {scheduled_at: "2026-03-02T01:30:00Z"}
            expect: {outputs: {at: "2026-03-02T01:30:00Z"}}
    """
    assert all(verdict.passed for verdict in played(package, tests).values())


def test_the_clock_says_what_the_test_says(played: Play) -> None:
    tests = """
        tests:
          it begins in March:
            start_at: 2026-03-01T09:00:00+01:00
            expect: {outputs: {at: "2026-03-01T10:00:00.000Z"}}
    """
    package = """
        steps: {nap: {kind: sleep, with: {for: 2h}}}
        outputs: {at: "${{ steps.nap.result }}"}
    """
    assert only(played(package, tests)).passed


def test_a_sequence_answers_one_call_after_the_other(played: Play) -> None:
    package = """
        steps:
          get: {kind: http, retry: {max_attempts: 4, delay: 10s, backoff: fixed}, with: {url: "http://nowhere.test/"}}
        outputs: {body: "${{ steps.get.result.body }}"}
    """
    tests = """
        tests:
          two failures are tried again:
            mocks:
              - kind: http
                sequence: [{error: busy}, {error: {code: busy, message: still}}, {result: {body: hi}}]
            expect:
              outputs: {body: hi}
              duration: 20s
              steps: {get: {attempts: 3}}
              calls: [{kind: http, inputs: [&i {url: "http://nowhere.test/"}, *i, *i]}]
          a sequence that is at its end fails in words:
            mocks: [{kind: http, sequence: [{error: busy}]}]
            expect: {error: {code: mock_exhausted, message: "1 answer, and this is call 2"}}
          the last answer may stand for all that follow:
            mocks: [{kind: http, sequence: [{error: busy}], repeat: true}]
            expect: {error: busy, calls: {http: 4}}
          a permanent failure is not tried again:
            mocks: [{kind: http, error: {code: gone, permanent: true}}]
            expect: {error: {code: gone, permanent: true}, calls: {http: 1}}
    """
    verdicts = played(package, tests)
    assert [name for name, verdict in verdicts.items() if not verdict.passed] == []


def test_a_sequence_may_begin_anew_for_each_step(played: Play) -> None:
    package = """
        steps:
          get: {kind: noop, for_each: [a, b], retry: {max_attempts: 2, delay: 1s}}
    """
    tests = """
        tests:
          each is tried twice:
            mocks: [{step: get, per_step: true, sequence: [{error: busy}, {result: 1}]}]
            expect: {steps: {"get[*]": {attempts: 2, result: 1}, get: {result: [1, 1]}}}
    """
    verdict = only(played(package, tests))
    assert verdict.passed, verdict.told()


@pytest.mark.parametrize(
    ("mock", "outputs"),
    [
        ("{step: 'fetch[1]', result: x}", "[a, x]"),
        ("{step: 'fetch[*]', result: x}", "[x, x]"),
        ("{step: fetch, result: x}", "[x, x]"),
        ("{kind: set, when: {value: a}, result: x}, {kind: set, real: true}", "[x, b]"),
        ("{step: fetch, when: {value: b}, result: y}, {kind: set, result: x}", "[x, y]"),
    ],
)
def test_a_mock_is_for_a_kind_or_for_steps_and_may_look_at_the_input(played: Play, mock: str, outputs: str) -> None:
    package = """
        steps: {fetch: {for_each: [a, b], kind: set, with: {value: "${{ item }}"}}}
        outputs: {all: "${{ steps.fetch.result }}"}
    """
    if mock.startswith("{step: fetch, when"):
        mock = "{step: fetch, when: {value: b}, result: y}, {step: fetch, when: {value: a}, result: x}"
    verdict = only(played(package, f"tests: {{t: {{mocks: [{mock}], expect: {{outputs: {{all: {outputs}}}}}}}}}"))
    assert verdict.passed, verdict.told()


def test_what_is_mocked_is_never_called_because_no_input_fitted(played: Play) -> None:
    tests = """
        tests:
          no mock fits:
            mocks: [{kind: shell, when: {run: other}, result: 1}]
            expect: {error: {code: mock_mismatch, message: '"run": "touch made"'}}
    """
    verdict = only(played("steps: {go: {run: touch made}}", tests))
    assert verdict.passed, verdict.told()
    from pathlib import Path

    assert not Path("made").exists()


def test_what_is_not_mocked_runs_for_real(played: Play) -> None:
    package = """
        steps:
          shell: {run: touch made, with: {cwd: "."}}
          python: {kind: python, with: {code: "result = 6 * 7"}}
        outputs: {answer: "${{ steps.python.result }}"}
    """
    verdict = only(played(package, "tests: {t: {expect: {outputs: {answer: 42}, duration: 0s}}}"))
    assert verdict.passed, verdict.told()
    from pathlib import Path

    assert Path("made").exists()


def test_the_input_of_a_mocked_kind_is_checked_as_the_kind_would(played: Play) -> None:
    package = (
        "steps: {a: {kind: set, with: {value: 3}}, nap: {kind: http, needs: a, with: {url: '${{ steps.a.result }}'}}}"
    )
    verdict = only(played(package, "tests: {t: {mocks: [{kind: http, result: {}}], expect: {error: bad_input}}}"))
    assert verdict.passed, verdict.told()


def test_a_mocked_call_takes_its_time_and_no_more_than_its_timeout(played: Play) -> None:
    package = "steps: {long: {kind: http, timeout: 10m, with: {url: 'http://nowhere.test'}}}"
    tests = """
        tests:
          in time: {mocks: [{kind: http, takes: 9m, result: {}}], expect: {duration: 9m}}
          too late: {mocks: [{kind: http, takes: 1h, result: {}}], expect: {error: timeout, duration: 10m}}
    """
    for verdict in played(package, tests).values():
        assert verdict.passed, verdict.told()


def test_calls_that_take_time_go_on_side_by_side(played: Play) -> None:
    package = "steps: {a: {kind: noop}, b: {kind: noop}, c: {kind: noop, needs: [a, b]}}"
    tests = """
        tests:
          the longer one counts:
            mocks: [{step: a, takes: 5m}, {step: b, takes: 3m}, {step: c, takes: 1m}]
            expect: {duration: 6m, order: [a, b, c]}
    """
    verdict = only(played(package, tests))
    assert verdict.passed, verdict.told()
    assert [line for line in verdict.story if "succeeded" in line][:2] == [
        "+3m         b: succeeded",
        "+5m         a: succeeded",
    ]


def test_a_group_that_takes_too_long_cancels_a_mocked_call(played: Play) -> None:
    package = "steps: {group: {timeout: 1m, steps: {long: {kind: noop}}}}"
    tests = """
        tests:
          it is stopped:
            mocks: [{step: long, takes: 1h}]
            expect: {error: timeout, duration: 1m, steps: {group/long: canceled}}
    """
    verdict = only(played(package, tests))
    assert verdict.passed, verdict.told()


def test_a_timer_that_falls_due_while_a_real_step_runs_fires_meanwhile(played: Play) -> None:
    package = "steps: {group: {timeout: 300ms, steps: {long: {run: sleep 20}}}}"
    began = time.monotonic()
    verdict = only(played(package, "tests: {t: {expect: {error: timeout, duration: 300ms}}}"))
    assert verdict.passed, verdict.told()
    assert time.monotonic() - began < 10


def test_the_time_that_real_steps_take_is_forgotten(played: Play) -> None:
    package = "steps: {work: {run: sleep 0.3}, nap: {needs: work, kind: sleep, with: {for: 1h}}}"
    verdict = only(played(package, "tests: {t: {expect: {duration: 1h}}}"))
    assert verdict.passed, verdict.told()


def test_each_real_step_counts_its_time_from_its_own_start(played: Play) -> None:
    package = """
        steps:
          far: {kind: sleep, with: {for: 10h}}
          one: {run: sleep 0.2}
          nap: {needs: one, kind: sleep, with: {for: 1h}}
          two: {needs: nap, run: sleep 0.2}
          at: {needs: two, kind: set, with: {value: "${{ now() }}"}}
        outputs: {at: "${{ steps.at.result }}"}
    """
    tests = "tests: {t: {expect: {outputs: {at: '2026-01-01T01:00:00.000Z'}, duration: 10h}}}"
    verdict = only(played(package, tests))
    assert verdict.passed, verdict.told()


def test_a_kind_that_no_plugin_supplies_can_be_mocked(played: Play) -> None:
    package = "steps: {send: {kind: mail/send, with: {to: ann}}}"
    tests = "tests: {t: {mocks: [{kind: mail/send, result: sent}], expect: {calls: {mail/send: 1}}}}"
    assert only(played(package, tests)).passed


def test_a_mock_may_keep_artifacts(played: Play) -> None:
    package = """
        steps: {make: {run: "true", artifacts: {report: report.txt}}}
        outputs: {size: "${{ steps.make.artifacts.report.size }}"}
    """
    tests = """
        tests:
          it is kept:
            mocks: [{step: make, artifacts: {report: four}}]
            expect: {outputs: {size: 4}, artifacts: {make: [report]}}
    """
    verdict = only(played(package, tests))
    assert verdict.passed, verdict.told()


def test_the_same_test_tells_the_same_story_twice(played: Play) -> None:
    package = """
        inputs: {n: {type: integer, default: 20}}
        steps:
          fan: {for_each: "${{ range(inputs.n) }}", kind: noop, retry: {max_attempts: 3, delay: 1s, jitter: full}}
          draw: {kind: set, needs: fan, with: {value: ["${{ uuid() }}", "${{ random() }}", "${{ now() }}"]}}
        outputs: {drawn: "${{ steps.draw.result }}"}
    """
    tests = """
        mocks: [{step: fan, sequence: [{error: a}, {error: b}, {takes: 3s}], repeat: true}]
        tests: {one: {run_id: same}, two: {run_id: same}}
    """
    one, two = played(package, tests).values()
    assert one.passed
    assert len(one.story) > 45
    assert one.story == two.story
    assert not [line for line in one.story if "drawn" in line or "ready" in line]


def test_a_slow_real_step_holds_no_other_up(played: Play) -> None:
    package = """
        steps:
          first: {race: true, steps: {slow: {run: sleep 20}, quick: {run: sleep 0.5}}}
        outputs: {winner: "${{ steps.first.winner }}"}
    """
    began = time.monotonic()
    verdict = only(played(package, "tests: {t: {expect: {outputs: {winner: quick}}}}"))
    assert verdict.passed, verdict.told()
    assert time.monotonic() - began < 10


def test_secrets_are_those_of_the_test_alone(played: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "from-the-outside")
    package = """
        secrets: [TOKEN]
        steps: {use: {run: "printf ${#T}", env: {T: "${{ secrets.TOKEN }}"}, with: {parse: text}}}
        outputs: {length: "${{ steps.use.result }}"}
    """
    tests = """
        tests:
          given: {secrets: {TOKEN: twelve-chars}, expect: {outputs: {length: "12"}}}
          not given: {expect: {error: {code: bad_input, message: TOKEN}}}
    """
    for verdict in played(package, tests).values():
        assert verdict.passed, verdict.told()


def test_the_environment_and_context_of_a_test_reach_its_steps(played: Play) -> None:
    package = """
        context: [tenant]
        pass_env: [REGION]
        steps: {use: {run: 'printf "$REGION"', with: {parse: text}}}
        outputs: {region: "${{ steps.use.result }}", tenant: "${{ context.tenant }}"}
    """
    tests = """
        env: {REGION: north}
        tests:
          both: {context: {tenant: acme}, expect: {outputs: {region: north, tenant: acme}}}
          its own: {env: {REGION: south}, context: {tenant: acme}, expect: {outputs_like: {region: south}}}
    """
    for verdict in played(package, tests).values():
        assert verdict.passed, verdict.told()


def test_inputs_that_are_refused_can_be_expected(played: Play) -> None:
    package = "inputs: {n: {type: integer}}\nsteps: {a: {kind: noop}}"
    tests = """
        tests:
          no number: {inputs: {n: two}, expect: {refused: inputs.n}}
          another reason: {inputs: {n: two}, expect: {refused: too large}}
          not refused: {inputs: {n: 2}, expect: {refused: inputs.n}}
          not expected: {inputs: {n: two}}
    """
    verdicts = played(package, tests)
    assert {name: verdict.passed for name, verdict in verdicts.items()} == {
        "no number": True,
        "another reason": False,
        "not refused": False,
        "not expected": False,
    }
    assert "expected was: too large" in verdicts["another reason"].told()


# -- events --------------------------------------------------------------------------------------------------------


def test_a_cancel_comes_at_its_time(played: Play) -> None:
    tests = """
        tests:
          after: {events: [{after: 10m, cancel: {reason: late, by: ann}}], expect: {status: canceled, duration: 10m}}
          at:
            events: [{at: "2026-01-01T00:20:00Z", cancel: true}]
            expect: {status: canceled, duration: 20m}
          when:
            events: [{when: one, after: 30m, cancel: {step: one}}]
            expect: {status: canceled, duration: 30m, steps: {one: canceled}}
    """
    for verdict in played(SLEEPY, tests).values():
        assert verdict.passed, verdict.told()


def test_a_pause_lasts_until_it_is_lifted(played: Play) -> None:
    tests = """
        tests:
          the run: {events: [{after: 30m, pause: true}, {after: 3h, unpause: true}], expect: {duration: 3h}}
          the queue:
            events: [{after: 0s, pause: {queue: default}}, {after: 2h, unpause: {queue: default}}]
            expect: {duration: 2h}
    """
    package = SLEEPY.replace("two: {kind: set", "two: {queue: default, kind: set")
    for verdict in played(package, tests).values():
        assert verdict.passed, verdict.told()


def test_a_retry_after_the_end_goes_on_with_the_test(played: Play) -> None:
    package = "steps: {a: {kind: noop}, b: {needs: a, kind: noop}}"
    tests = """
        tests:
          somebody mends it:
            mocks: [{step: b, sequence: [{error: down}, {result: up}]}]
            events: [{when: {step: b, status: failed}, after: 1h, retry: true}]
            expect: {steps: {b: {status: succeeded, result: up}}, calls: [{step: a, times: 1}, {step: b, times: 2}]}
    """
    verdict = only(played(package, tests))
    assert verdict.passed, verdict.told()


def test_an_event_that_cannot_happen_is_a_failure_at_its_line(played: Play) -> None:
    tests = """tests:
  gone:
    events:
      - {when: on, cancel: true}
"""
    told = only(played(SLEEPY, tests)).told()
    assert told.startswith("flow.test.yaml:4:9: the event cancel when on is waiting never happened. Did you mean")


def test_a_command_that_is_refused_is_a_failure(played: Play) -> None:
    told = only(played(SLEEPY, "tests: {t: {events: [{after: 1m, retry: true}]}}")).told()
    assert "the event retry was refused" in told


# -- tests that can only wait --------------------------------------------------------------------------------------


def test_a_test_that_can_only_wait_fails_at_once_and_says_for_what(played: Play) -> None:
    began = time.monotonic()
    verdict = only(played(SLEEPY, "tests: {t: {events: [{after: 10m, pause: true}]}}"))
    assert not verdict.passed
    assert time.monotonic() - began < 5
    told = verdict.told()
    assert "nothing can happen any more, and the run is running at 2026-01-01T01:00:00.000Z" in told
    assert "the run: paused" in told


def test_a_test_that_goes_on_for_ever_ends_at_its_timeout(played: Play) -> None:
    package = "steps: {poll: {repeat: {until: result == 1, every: 1s, max: 1000000}, kind: set, with: {value: 0}}}"
    verdict = only(played(package, "tests: {t: {timeout: 300ms}}"))
    assert "the test took longer than 300ms of real time" in verdict.told()


def test_a_run_that_renews_itself_without_end_ends_with_the_time_of_its_test(played: Play) -> None:
    verdict = only(
        played("steps: [{kind: continue_as_new}]", "tests: {it ends: {timeout: 500ms, expect: {status: succeeded}}}")
    )
    assert "the test took longer than 500ms of real time" in verdict.told()
