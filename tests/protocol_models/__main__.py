"""Run every scene of the four models, two models at a time (about eight minutes on two cores).

Exit with 1 unless each corrected rule holds and each wrong one is caught.
"""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

MODELS = ("token_refresh", "access_tokens", "key_change", "save")
# The scenes whose rule is wrong on purpose: they prove that the properties can fail.
WRONG = {
    *[f"A{n}" for n in range(1, 9)],
    *[f"B{n}" for n in (1, 2, 3, 4, 5, 6, *range(9, 20), 43, 60)],
    *[f"C{n}" for n in (*range(1, 10), 60)],
    *[f"D{n}" for n in (1, 60)],
}


def main() -> int:
    """Print one line per scene with what it violates; return the exit status."""
    with ThreadPoolExecutor(2) as pool:
        lines = "\n".join(pool.map(_output_of, MODELS)).splitlines()
    print(*[line for line in lines if line.startswith(("[", "    VIOLATED"))], sep="\n")
    scenes = [line for line in lines if line.startswith("[")]
    unexpected = [line for line in scenes if _is_wrong(line) == (": no violation" in line)]
    stopped = [line for line in scenes if "STOPPED" in line]
    print(f"{len(scenes)} scenes, {len(unexpected)} not as expected, {len(stopped)} not exhausted.")
    print(*unexpected, sep="\n")
    return 1 if unexpected or not scenes else 0


def _output_of(model: str) -> str:
    command = [sys.executable, "-m", f"tests.protocol_models.{model}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _is_wrong(scene: str) -> bool:
    return scene[1:].split(maxsplit=1)[0] in WRONG


if __name__ == "__main__":
    sys.exit(main())
