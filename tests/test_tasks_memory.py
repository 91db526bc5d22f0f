"""What a whole benchmark takes in memory and time, lm-eval and datasets counted in."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import json, sys
from pathlib import Path

def resident(name):
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name)]
    return int(line.split()[1]) / 1024

bare = resident("VmRSS")
from harness.evaluate import catalog, tasks
from harness.evaluate.requests import Answer

info, folder = catalog.definition("mmlu"), Path(sys.argv[1])
rows = [item.to_row() for item in tasks.items(info, data_dir=folder, limit=0, max_new_tokens=0)]
first = (Answer(logprobs=(-1.0, -2.0, -2.0, -2.0), greedy=(False,) * 4),)
scored = tasks.scores(info, data_dir=folder, rows=rows, answers={row["item"]: first for row in rows})
whole = tasks.aggregate(info, rows, scored)
print(json.dumps([len(rows), whole["acc"], resident("VmHWM") - bare]))
"""


def test_mmlu_in_full_is_rendered_and_scored_in_less_than_300_megabytes(shared_data: Path) -> None:
    """14,042 items of five shots; 225 MB where it was measured, of which 155 MB are lm-eval and datasets themselves."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(shared_data)], capture_output=True, text=True, check=True, timeout=300
    )
    items, always_a, peak = json.loads(done.stdout.splitlines()[-1])
    assert items == 14042
    assert 0.2 < always_a < 0.3
    assert peak < 300
