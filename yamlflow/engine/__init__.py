"""The engine: commands that change runs, each one transaction. Nothing else writes a status.

``commands`` starts, reports, cancels and retries; ``follow`` draws what follows from an end; ``expand`` makes child
steps; ``leasing`` hands out work; ``work`` is one transaction's view of the rows it touches.
"""
