"""An experiment over seeds: the figures of each are kept when they are whole, and all that are there are told."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from accord.config import Settings, SettingsError
from accord.proofs.ground import Ground, Kept, Said, lab
from accord.whole import written

Rows = Mapping[int, Any]
"""By seed: what was measured."""


@dataclass(frozen=True)
class Stand:
    """What one seed of an experiment has: its settings, the lab when it is asked for, and where parts are kept."""

    config: Any
    """Settings of the experiment."""
    seed: int
    """Which seed."""
    ground: Callable[[], Ground]
    """The lab of this seed up to fine-tuning, made when it is first asked for."""
    parts: Kept
    """Finished parts."""
    say: Said
    """Where progress goes."""


@dataclass(frozen=True)
class Experiment:
    """What is measured of a seed and how all seeds are told."""

    name: str
    """As in `accord prove NAME`; its files are called so."""
    config: type[Settings]
    """Its settings; `train_prompts` and `test_prompts` are among them."""
    small: Mapping[str, Any]
    """The small size, over the defaults."""
    measured: Callable[[Stand], Any]
    """The figures of one seed, plain values that JSON can hold."""
    told: Callable[[Rows, Path, str], str]
    """Writes NAME.md, .html and .json into the folder for the figures of some seeds; returns the tables."""
    given: Callable[[Any], str] = lambda config: ""
    """What else the command has that makes these figures, by its settings."""

    def prove(
        self,
        seeds: int,
        folder: Path,
        say: Said,
        small: bool = False,
        settings: Mapping[str, Any] | None = None,
        changes: Mapping[str, Any] | None = None,
        first: int = 1,
    ) -> int:
        """Seeds `first` and the next, `seeds` of them; the tables are of every seed in the folder. Returns 0.

        settings: over `config`. changes: over the lab's recipe. Killed and started again it goes on after the last
        whole part; two processes can make different seeds in one folder. Experiments of one folder share each seed's
        start. Raises SettingsError for no seed, and where the folder holds parts made under other settings.
        """
        if seeds < 1:
            raise SettingsError(f"accord prove {self.name} --seeds {seeds}: nothing to make; give 1 or more")
        config = self.config(**{**(self.small if small else {}), **(settings or {})})
        plain, size, text = config.model_dump(mode="json"), "small-" if small else "", ""
        for seed in range(first, first + seeds):
            say(f"seed {seed} ({seed - first + 1} of {seeds})")
            at = folder / f"{self.name}-{seed}"
            kept = Kept(at / "parts", plain)
            ground = cache(partial(grounded, config, folder / f"start-{size}{seed}", seed, changes or {}, small, say))
            row = self.measured(Stand(config, seed, ground, kept, say))
            written(at / "row.json", json.dumps({"settings": plain, "row": row}))
            text = self._together(folder, plain, f"{' --small' if small else ''}{self.given(config)}")
        print(text)
        return 0

    def _together(self, folder: Path, settings: Any, more: str) -> str:
        """All seeds that are there, told; again when another process has ended one in the meantime."""
        while True:
            rows = made(self.name, folder, settings)
            named = f" --first {min(rows)}" if min(rows) != 1 else ""
            text = self.told(rows, folder, f"accord prove {self.name}{named} --seeds {len(rows)}{more}")
            if list(made(self.name, folder, settings)) == list(rows):
                return text


def grounded(config: Any, folder: Path, seed: int, changes: Mapping[str, Any], small: bool, say: Said) -> Ground:
    """The lab of one seed up to fine-tuning, with the experiment's numbers of prompts."""
    wanted: dict[str, Any] = {**changes, "collect": {"prompts": config.train_prompts, **changes.get("collect", {})}}
    wanted["data"] = {"test_prompts": config.test_prompts, **changes.get("data", {})}
    return Ground(lab(folder, seed, wanted, small), say)


def made(name: str, folder: Path, settings: Any) -> dict[int, Any]:
    """The figures of every seed that is finished in a folder under these settings, in order."""
    found = {}
    for file in folder.glob(f"{name}-*/row.json"):
        kept = json.loads(file.read_text(encoding="utf-8"))
        if kept["settings"] == settings:
            found[int(file.parent.name.removeprefix(f"{name}-"))] = kept["row"]
    return dict(sorted(found.items()))
