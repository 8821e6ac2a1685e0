"""What a process keeps at hand of packages is bounded, however many texts there are."""

from __future__ import annotations

import pytest

from yamlflow import document, packages
from yamlflow.client import Client
from yamlflow.packages import Loaded, loaded


def text(number: int) -> Loaded:
    return loaded(document.read(f"yamlflow: 1\nname: p\nversion: '{number}'\nsteps: {{a: {{kind: noop}}}}\n"))


def test_a_process_that_meets_ever_new_texts_keeps_the_newest_and_finds_the_others_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(packages, "MOST", 3)
    with Client() as client:
        runs = [client.start(text(number), run_id=f"r{number}") for number in range(10)]
        for run in (*runs, *runs):
            assert client.plans(run.digest).package.version == run.version
            assert client.shelf.text(run.digest).package.version == run.version
        kept = (client.plans._plans, client.shelf._texts, client.shelf._sound)
        assert [len(each) for each in kept] == [3, 3, 3]
