"""What must be refused, and how: packages, inputs, signals, command lines, calls of the API, files, plugins, stores.

``packages/*.yaml`` are packages, each beside the ``.txt`` that is said of it. Every other sort has files of cases,
``<sort>/<theme>.txt``; ``cases.py`` says how they are written. ``tests/test_refusals.py`` plays all of them.
``python -m tests.corpus`` shows where what is said differs from what stands there, and ``--write`` writes it down.
"""
