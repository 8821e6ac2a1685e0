"""The tests. What they start is not watched by a first process unless a test says so: they kill, stop and trace the very
process that works.
"""

import os

os.environ.setdefault("YAMLFLOW_SUPERVISE", "no")
