"""Keys that people know from other tools and other spellings, and what they are called here. Tables, pure.

Capitals, underscores and hyphens do not count: ``dependsOn``, ``depends-on`` and ``dependson`` are ``depends_on``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ..errors import Problem, did_you_mean
from .complaints import shown

#: The keys of a step, and what they are called elsewhere.
_STEP_KEYS = {
    "needs": """depends_on depends dependencies dependency after requires require upstream wait_for need run_after
        previous deps follows parents""",
    "if": "when condition conditions only_if run_if preconditions precondition expression choice",
    "kind": """uses use task type executor plugin operator action activity template template_ref module job_type
        function resource call component""",
    "for_each": "with_items loop for map with_param with_sequence each iterate expand fan_out items",
    "with": "params parameters parameter args arguments input inputs config op_kwargs kwargs properties options",
    "continue_on_error": """continue_on ignore_errors ignore_error allow_failure continue_on_failure ignore_failure
        can_fail soft_fail""",
    "run": "script scripts command commands cmd bash sh exec shell bash_command execute powershell",
    "env": "environment env_vars envs variables vars environ",
    "retry": """retries retry_policy retry_strategy max_retries max_attempts attempts retry_limit retry_delay
        retry_delay_seconds retry_on backoff backoff_limit""",
    "timeout": """timeout_minutes timeout_seconds timeout_sec timeout_secs timeout_s execution_timeout
        active_deadline_seconds deadline max_duration time_limit start_to_close_timeout schedule_to_close_timeout""",
    "steps": "tasks jobs nodes dag step children stages states branches parallel sequence group do try block",
    "on_failure": "catch rescue except on_error error on_fail failure on_failure_callback on_exception",
    "finally": "always ensure on_exit exit_handler after_all cleanup teardown post",
    "on_cancel": "on_cancellation on_canceled on_cancelled",
    "undo": "compensate compensation rollback revert",
    "max_parallel": "parallelism max_parallelism max_concurrency concurrency max_active max_workers",
    "queue": "pool task_queue work_queue queue_name worker_queue",
    "priority": "priority_weight weight",
    "locks": "mutex lock semaphore synchronization",
    "repeat": "until while repeat_policy do_until poll loop_until",
    "matrix": "strategy",
    "artifacts": "artifact artefacts upload files",
    "cache": "memoize cache_key caching memo",
    "dedup_key": "idempotency_key unique_key dedupe_key dedup deduplication_key",
    "join": "trigger_rule join_type",
    "title": "label display_name summary caption",
    "description": "desc doc docs doc_md comment notes documentation",
    "metadata": "labels tags annotations meta",
    "kill_grace": "grace_period termination_grace_period_seconds kill_timeout",
}
_STEP_SENTENCES = {
    "output result results save_as register returns result_path": (
        "Every step has a result, steps.<id>.result; outputs belong to groups."
    ),
    "runs_on image container executor_config agent services docker": "Any worker runs any step; queue says where.",
    "cwd working_directory working_dir workdir dir stdin": "It is an input of the shell: with: {cwd: …}.",
    "next end goto transition on_success then downstream": "The later step says so: needs: <id of this one>.",
    "else default": 'Write a second step with the opposite condition: if: "not (…)".',
    "secrets": "Declare secrets at the top of the package, and name them in env or with: ${{ secrets.NAME }}.",
    "name key": "The key names a step (in a list: id); title is for people.",
    "url method headers body json": "Inputs of a kind go under with: kind: http, with: {url: …}.",
    "message": "Inputs of a kind go under with: kind: log, with: {message: …}.",
    "code python": "Inputs of a kind go under with: kind: python, with: {code: …}.",
    "sleep wait delay": "Write kind: sleep, with: {for: 10s}.",
}
_IN_A_LIST = "The steps of a list run in order; write steps as a mapping to say what each needs."
#: The keys of a package; what is not here is looked up among those of steps.
_PACKAGE_KEYS = {
    "inputs": "params parameters parameter args arguments input with variables vars",
    "schedule": "on cron triggers trigger schedules schedule_interval timetable timer",
    "steps": "jobs tasks nodes dag step stages workflow states templates spec",
    "name": "id workflow_name dag_id package workflow_id",
    "yamlflow": "api_version format schema_version yaml_flow yamlflow_version schema",
    "secrets": "secret",
    "signals": "signal events",
    "queues": "pools rate_limits",
    "kinds": "definitions functions macros",
    "defaults": "default default_args",
    "concurrency": "max_active_runs max_runs overlap_policy concurrency_policy",
    "retention": "hist_retention_days hist_limit ttl_strategy ttl",
    "projection": "projections database tables",
    "outputs": "output result results returns",
}
_PACKAGE_SENTENCES = {
    "handlers hooks handler_on": "Write on_failure, on_cancel or finally.",
    "queue retry kill_grace retries retry_policy retry_strategy max_retries": (
        "For all steps it goes under defaults: defaults: {queue: …, retry: …, kill_grace: …}."
    ),
    "entrypoint start_at": "The steps that need nothing start first; there is no entry to name.",
    "requires": "Plugins go under kinds: kinds: {requires: [name]}.",
    "dotenv": "A file .env is read for secrets; other values go under env.",
    "permissions": "Remove it; a step can do what its worker can.",
}
_OTHER_KEYS: Mapping[str, Mapping[str, str]] = {
    "retry": {
        "max_attempts": "attempts limit max count max_retries retries times maximum_attempts",
        "delay": "interval interval_sec initial_interval wait initial_delay delay_seconds",
        "multiplier": "factor backoff_rate backoff_coefficient exponential_base",
        "max_delay": "max_interval maximum_interval max_backoff cap max_interval_sec",
        "max_elapsed": "timeout max_duration deadline max_time",
        "only": "on retry_on codes error_equals if when retryable_errors",
        "never": "except exclude not_on non_retryable_errors",
        "backoff": "policy type strategy retry_policy",
    },
    "for_each": {
        "items": "in list over from values with_items item",
        "as": "var name item_name loop_var iterator",
        "max_parallel": "max_concurrency concurrency parallelism parallel limit batch",
        "tolerate": "tolerated_failures max_failures tolerated_failure_count tolerance tolerated_failure_percentage",
        "key": "id index_by by",
    },
    "repeat": {
        "until": "while condition when if",
        "every": "interval delay interval_sec sleep wait",
        "max": "limit max_iterations times max_attempts count",
    },
    "queue": {
        "max_in_flight": "max_concurrency concurrency limit max_parallel workers slots size max_active_runs",
        "rate": "rate_limit throttle per_second",
    },
    "concurrency": {
        "key": "group name id",
        "limit": "max max_in_flight max_runs count",
        "when_full": "cancel_in_progress policy on_full strategy on_limit overlap",
    },
    "schedule": {
        "cron": "schedule expression at crontab",
        "timezone": "tz zone",
        "catch_up": "backfill misfire",
        "inputs": "with params parameters input",
    },
    "cache": {"ttl": "expires max_age expiration for cache_expiration"},
}


def squashed(key: str) -> str:
    """A key without what spellings differ in: ``dependsOn`` is ``dependson``."""
    return key.lower().replace("_", "").replace("-", "")


def _by_name(keys: Mapping[str, str], sentences: Mapping[str, str] | None = None) -> dict[str, str]:
    """The tables turned round: each other name with the key, or with the sentence."""
    rows = (*((names, key) for key, names in keys.items()), *(sentences or {}).items())
    return {squashed(name): meant for names, meant in rows for name in names.split()}


_OF_STEPS = _by_name(_STEP_KEYS, _STEP_SENTENCES)
#: An id of a step, as it may stand where a key is expected.
_ID = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
#: By level, the name of the definition or property in the schema ("" is the package): other names, squashed, and the
#: key that is meant, or a sentence (which has spaces in it).
WRONG_NAMES: Mapping[str, Mapping[str, str]] = {
    "": _OF_STEPS | _by_name({key: key for key in _STEP_KEYS}) | _by_name(_PACKAGE_KEYS, _PACKAGE_SENTENCES),
    "step": _OF_STEPS | _by_name({}, {"id": "In a mapping the key is the id."}),
    "list_step": _OF_STEPS | _by_name({}, {f"needs join {_STEP_KEYS['needs']}": _IN_A_LIST}),
    "undo": _OF_STEPS,
    "kind": _OF_STEPS | _by_name({key: key for key in _STEP_KEYS}) | _by_name({"inputs": _PACKAGE_KEYS["inputs"]}),
    **{level: _by_name(keys) for level, keys in _OTHER_KEYS.items()},
}


def unknown_key(level: str, key: str, known: Sequence[str]) -> Problem:
    """The problem of a key that is not in the language at this place."""
    message = f'there is no key "{shown(key)}" here'
    return Problem(message=message, remedy=_remedy(level, key, known) if len(key) <= 64 else "")


def _remedy(level: str, key: str, known: Sequence[str]) -> str:
    name = squashed(key)
    meant = next((each for each in known if squashed(each) == name), WRONG_NAMES.get(level, {}).get(name, ""))
    if " " in meant:
        return meant
    if meant:
        return f"Write {meant}." if meant in known else f"It belongs to a step, as {meant}."
    near = did_you_mean(key.lower(), known)
    if not near and level == "list_step" and _ID.fullmatch(key):
        return f"If it names the step, write `- id: {key}` with its keys beside it."
    return near or f"Possible here: {', '.join(known)}."
