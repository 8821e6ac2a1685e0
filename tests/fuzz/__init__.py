"""Fuzzing: whatever people write or outside data brings is read, or refused with a typed error, quickly and in little memory.

``targets`` holds the list. ``python -m tests.fuzz --minutes N`` runs them all in rotation; the suite runs a fixed budget of
the same targets and every past finding.
"""
