"""Draws the learning curves of the method pages from the logs of a project: `python docs/make_curves.py quickstart`.

It draws what is there. The curves of methods that the circle did not use need a stage each, as in
`accord train dpo --project quickstart --name dpo --start sft`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from accord.evaluate.charts import alone, column, curves
from accord.run import read_log

TARGET = Path(__file__).parent / "pictures"
SHOWN = {
    "pretrain": (("pretrained",), "loss", "nats per token"),
    "sft": (("sft",), "loss", "nats per token"),
    "reward_model": (("round2-reward", "round1-reward"), "accuracy", "share of pairs in order"),
    "ppo": (("round2-ppo", "round1-ppo"), "reward", "reward, normalised"),
    "dpo": (("dpo",), "accuracy", "share of pairs in order"),
    "kto": (("kto",), "accuracy", "share of answers on their side"),
    "grpo": (("grpo",), "reward", "reward, normalised"),
    "best_of_n": (("best_of_n",), "chosen_reward", "reward of what is kept, normalised"),
}
"""Method -> the stages that it may be, newest first; the figure that is drawn; what stands above."""


def main(project: Path) -> None:
    """A picture for each method that the project has run, `curve-METHOD.svg`."""
    for method, (stages, figure, label) in SHOWN.items():
        found = next((path for name in stages if (path := project / "runs" / name / "log.jsonl").is_file()), None)
        if found is None:
            print(f"{method}: no stage {' or '.join(stages)} in {project}")
            continue
        drawn = curves(method, f"{method}: {figure}", [column(read_log(found), figure)], label=label)
        target = TARGET / f"curve-{method}.svg"
        target.write_text(alone(drawn), encoding="utf-8")
        print(f"{target}: {target.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
