"""Runs the scenarios: `python -m e2e.run [pytest arguments]`.

Finds or builds the control plane's programs first, while there is a network; then pytest runs in a network namespace of its own.
"""

from __future__ import annotations

import os
import sys

from e2e.controlplane import build, netns

TOOLS = "FOREBAY_E2E_TOOLS"
"""Environment variable: the folder that `build.ensure` gave."""


def main(arguments: list[str]) -> int:
    os.environ[TOOLS] = str(build.ensure())
    paths = [argument for argument in arguments if argument.startswith("e2e")]
    try:
        return netns.run([sys.executable, "-m", "pytest", *([] if paths else ["e2e"]), *arguments])
    except netns.NoNamespace as problem:
        print(problem, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
