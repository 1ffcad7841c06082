"""Settings on the command line that nothing would hear: said without what turns them on, they are refused."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from accord.algorithms import dpo, grpo, online_dpo, ppo
from accord.anchors import HELD
from accord.config import Settings, SettingsError, named
from accord.methods import METHODS, settings
from accord.ordering import ACTING
from accord.recipe import Recipe
from accord.records import Version

HEARD = {
    "reward": ACTING,
    "cost": ACTING,
    "reference": ("ppo", "grpo", "dpo", "online_dpo", "kto"),
    "beside": ("reward_model",),
}
"""Versions that stand beside a stage, by option, and the sections of the methods that hear of them."""


def unheard(recipe: Recipe, options: Sequence[str], given: Mapping[str, str] = MappingProxyType({})) -> None:
    """Raises SettingsError for such a setting. recipe: with the options in it. given: options of the stage, as `cost`.

    What turns it on may be off in the same command, for then somebody tries out what it does (`--ptx.weight 0`).
    Warns of costs in the recipe that `--cost` leaves out.
    """
    charged = given["cost"].split(",") if "cost" in given else list(recipe.costs)
    if left := [name for name in recipe.costs if name not in charged]:
        every = ",".join(dict.fromkeys([*recipe.costs, *charged]))
        warnings.warn(
            f"--cost {given['cost']} alone is bounded: {', '.join(left)} of the recipe's `costs` is left out; to bound "
            f"all, --cost {every}",
            stacklevel=2,
        )
    told = named(options)
    for way in told:
        for pattern, off, switch, needed in quiet(recipe, "cost" in given):
            if off and re.fullmatch(pattern, way) and switch not in told:
                raise SettingsError(f"--{_spelt(way)} does nothing here: {needed}")


def strange(
    recipe: Recipe, method: str, options: Sequence[str], given: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Raises SettingsError for versions and for what holds a policy that this method does not hear."""
    section, told = METHODS[method].section, named(options)
    for name, sections in HEARD.items():
        if name in given and section not in sections:
            raise SettingsError(f"--{name} {given[name]} does nothing here: {', '.join(sections)} hear it (and their "
                                f"kin), {method} does not; leave it out")  # fmt: skip
    on = {"ptx": recipe.ptx.weight > 0, "anchor": recipe.anchor.reference != "fixed"}
    for name, sections in HELD.items():
        if on[name] and section not in sections and any(way.startswith(f"{name}.") for way in told):
            raise SettingsError(f"--{name}.* does nothing here: it holds {', '.join(sections)} (and their kin), "
                                f"not {method}; leave it out")  # fmt: skip
    if on["anchor"] and "anchor.reference" in told and unpriced(settings(recipe, method)):
        raise SettingsError(
            f"--anchor.reference does nothing here: {method} pays nothing for drift, wherever that is measured from; "
            "give drift a price (kl.place and kl.coefficient), or leave it out"
        )


def unpriced(config: Settings) -> bool:
    """Whether drift from a reference costs nothing by these settings."""
    if isinstance(config, ppo.Config | grpo.Config):
        return config.kl.place == "none" or not (config.kl.coefficient or config.kl.target)
    objective = config.objective if isinstance(config, online_dpo.Config) else config
    return isinstance(objective, dpo.Config) and dpo.free(objective)


def paid_on_the_way(options: Sequence[str], reward: Version | None) -> None:
    """Raises SettingsError for a setting of rewards of steps that this reward model does not hear."""
    per = reward.config.get("per") if reward is not None and reward.method == "process_reward" else None
    for way, wanted in (("steps.join", "step"), ("steps.price", "token")):
        if per != wanted and way in named(options):
            name = reward.name if reward else "no reward model"
            raise SettingsError(
                f"--{way} does nothing here: it is of a model made with process_reward.per={wanted}, and {name} is "
                "none; docs/process_reward.md says which setting is whose"
            )


def quiet(recipe: Recipe, costs: bool) -> list[tuple[str, bool, str, str]]:
    """Names of settings as a pattern; whether nothing hears them; the setting that turns them on; and a way out."""
    order, policy = recipe.order, recipe.order.policy
    orders = {name: getattr(order, name) for name in type(order).model_fields if name not in ("by", "tries", "passed")}
    asks = any(one.schedule != "random" and one.measure == "margin" for one in orders.values())
    tries = policy.schedule != "random" and policy.measure == "pass_rate"
    gate, user = recipe.cost.gate is not None, recipe.dialogue.user is not None
    found = [
        (r"cost\..*", not costs, "", "these are the terms of a cost that is named, as --cost NAME of `accord train` "
         "does; a cost under `costs` in the recipe has its own"),
        (r"cost\.(whiten|from_gate|weight)", not gate, "cost.gate", "it is of a gate; set --cost.gate"),
        (r"cost\.constraint\..*", gate, "cost.gate", "behind a gate nothing has a price; set --cost.gate None"),
        (r"dialogue\..*", recipe.dialogue.turns == 1, "dialogue.turns", "set --dialogue.turns to 2 or more"),
        (r"dialogue\.(brief|user_tokens)", not user, "dialogue.user", "it is of a model; set --dialogue.user"),
        (r"ptx\..*", not recipe.ptx.weight, "ptx.weight", "set --ptx.weight"),
        (r"anchor\.decay", recipe.anchor.reference == "fixed", "anchor.reference", "set --anchor.reference ema"),
        (r"ensemble\.doubt", recipe.ensemble.rule in ("mean", "worst"), "ensemble.rule",
         "set --ensemble.rule to lower or variance"),
        (r"order\.by", not asks, "", "it is asked where a stage is ordered by margin; set --order.STAGE.measure"),
        (r"order\.(tries|passed)", not tries, "", "it is of --order.policy.measure pass_rate and a schedule"),
        *((rf"{name}\.consistency\..*", not getattr(recipe, name).consistency.weight, f"{name}.consistency.weight",
           f"set --{_spelt(name)}.consistency.weight") for name in ("reward_model", "reward_heads")),
        (r"reward_heads\.pseudo\..*", not recipe.reward_heads.pseudo.rounds, "reward_heads.pseudo.rounds",
         "set --reward-heads.pseudo.rounds"),
    ]  # fmt: skip
    for name, one in orders.items():
        way = f"order.{name}.schedule"
        found += [
            (rf"order\.{name}\..*", one.schedule == "random", way, f"set --{_spelt(way)}"),
            (rf"order\.{name}\.(start|whole_at|power)", one.schedule != "competence", way,
             f"it is of --{_spelt(way)} competence"),
        ]  # fmt: skip
    return found


def _spelt(way: str) -> str:
    """A name as the command line has it."""
    return way.replace("_", "-")
