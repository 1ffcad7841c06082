"""Every method by name: what it does, who wrote it down, what it needs, what it costs and when to choose it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from accord import build
from accord.acting import decides
from accord.algorithms import grpo, sft
from accord.anchors import told_of
from accord.config import Settings, SettingsError, leaves, named
from accord.config import build as settings_of
from accord.heads import train_reward_heads
from accord.policies import train_best_of_n, train_dpo, train_grpo, train_kto, train_online_dpo
from accord.project import Project
from accord.recipe import Recipe, choosable
from accord.records import Version
from accord.steps import train_process_reward


@dataclass(frozen=True)
class Method:
    """One method."""

    stage: Callable[..., Version]
    """What makes a version by it."""
    section: str
    """Which settings of the recipe are its own; also the page of docs/ and the file of accord/algorithms/."""
    caption: str
    """What it does, in a line."""
    paper: str
    """Who wrote it down."""
    needs: str
    """What must be there."""
    costs: str
    """Models in memory, and where the time goes."""
    choose: str
    """When to choose it."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Settings in which it differs from the others of its section, where nobody chose them."""


_BELIEFS, _REWARD = "a policy, beliefs", "a policy, prompts, a reward model or rules"
_PAIRS = "one policy in memory, the reference is asked once; a pass over each pair per epoch, no sampling"
_FREE = "one policy in memory, no reference; a pass over each pair per epoch, no sampling"
_GROUP = "policy, reference and reward model in memory, no critic; most time goes into sampling"
_ALONE = "policy and reward model in memory; most time goes into sampling"
_DRIFTS = "drift is free: for rewards that can be checked, or else set grpo.kl.place to reward"


def _dpo(caption: str, paper: str, choose: str, costs: str = _PAIRS, **changes: Any) -> Method:
    return Method(train_dpo, "dpo", caption, paper, _BELIEFS, costs, choose, changes)


def _grpo(name: str, caption: str, paper: str, choose: str) -> Method:
    free = grpo.KIN[name].get("kl") == grpo.FREE
    costs, choose = (_ALONE, f"{choose}; {_DRIFTS}") if free else (_GROUP, choose)
    return Method(train_grpo, "grpo", caption, paper, _REWARD, costs, choose, grpo.KIN[name])


METHODS: Mapping[str, Method] = {
    "pretrain": Method(
        build.TRAIN["pretrain"], "pretrain", "read plain texts", "Radford et al. 2018", "texts",
        "one model in memory; passes over all texts, the longest stage of a small circle",
        "there is no pretrained model to start from",
    ),
    "sft": Method(
        build.TRAIN["sft"], "sft", "imitate demonstrations", "Ouyang et al. 2022", "demonstrations, perhaps a policy",
        "one model in memory; a pass over each demonstration per epoch", "no policy answers yet: before all others",
    ),
    "reward_model": Method(
        build.TRAIN["reward_model"], "reward_model", "learn what answers are worth", "Bradley and Terry 1952",
        "a policy or an encoder, beliefs", "one model in memory; a pass over each answer per epoch",
        "PPO, GRPO or best of n are to follow, or answers are to be sorted",
    ),
    "reward_heads": Method(
        train_reward_heads, "reward_heads", "learn worth from every form of judgement", "Davidson 1970 and others",
        "a policy or an encoder, feedback or beliefs", "one model in memory for each member; a pass over each answer "
        "per epoch, however many judgements speak of it",
        "people ranked, rated, flagged or corrected, not only compared; or doubt and calibration are wanted",
    ),
    "process_reward": Method(
        train_process_reward, "process_reward", "learn which steps of an answer are right", "Lightman et al. 2023",
        "a policy, critiques with marked places", "one model in memory; a pass over each answer per epoch",
        "people mark steps or faults in answers, and PPO or best of n is to know where an answer went wrong",
    ),
    "ppo": Method(
        build.TRAIN["ppo"], "ppo", "answer, ask reward and critic, reinforce", "Schulman et al. 2017",
        _REWARD, "policy, reference, reward model and critic in memory; much sampling",
        "the reward is learned and noisy and there is memory for a critic; the default",
    ),
    "grpo": _grpo("grpo", "answers to one prompt judge each other", "Shao et al. 2024",
                  "PPO's critic is too large or does not learn, or rewards can be checked"),
    "dr_grpo": _grpo("dr_grpo", "GRPO without division by spread and length", "Liu et al. 2025",
                     "GRPO's answers grow longer without growing better"),
    "dapo": _grpo("dapo", "GRPO with a wide upper clip and only prompts that teach", "Yu et al. 2025",
                  "right or wrong is the reward and many prompts are always one of both"),
    "gspo": _grpo("gspo", "GRPO with one ratio per answer", "Zheng et al. 2025",
                  "answers are long, or experts make single tokens' ratios noisy"),
    "cispo": _grpo("cispo", "REINFORCE with a cut ratio, no token is lost", "MiniMax 2025",
                   "rare tokens that matter would be clipped away"),
    "rloo": _grpo("rloo", "REINFORCE against the mean of the other answers", "Ahmadian et al. 2024",
                  "the plainest method that learns from a reward is wanted"),
    "reinforce_pp": _grpo("reinforce_pp", "REINFORCE with a whitened global baseline", "Hu 2025",
                          "there is only one answer per prompt"),
    "best_of_n": Method(
        train_best_of_n, "best_of_n", "imitate the best of n answers (rejection sampling)", "Touvron et al. 2023",
        _REWARD, "policy and reward model in memory; n answers per prompt, then imitation",
        "nothing may go wrong: it is only imitation; or the reward is right or wrong (expert iteration)",
    ),
    "online_dpo": Method(
        train_online_dpo, "online_dpo", "DPO on its own answers, ordered by a reward as they come", "Guo et al. 2024",
        _REWARD, _GROUP, "a reward model is there, comparisons of old answers no longer teach, and PPO is too unsteady",
    ),
    "dpo": _dpo("make the better answer of a pair likelier", "Rafailov et al. 2023",
                "there are comparisons and no wish to train and ask a reward model"),
    "robust": _dpo("DPO that takes out the bias of wrong labels", "Chowdhury et al. 2024",
                   "the share of wrong labels is known", loss="robust", label_smoothing=0.1),
    "ipo": _dpo("DPO towards a fixed distance", "Azar et al. 2023",
                "comparisons are few and are seen often: it stops at its target", loss="ipo"),
    "hinge": _dpo("DPO that leaves pairs alone which are right already", "Zhao et al. 2023",
                  "pairs that are right should move nothing", loss="hinge"),
    "simpo": _dpo("pairs by likelihood per token, a gap apart", "Meng et al. 2024",
                  "answers differ much in length", _FREE, loss="simpo", beta=2.0, gap=1.0),
    "orpo": _dpo("imitation and the odds of a pair at once", "Hong et al. 2024",
                 "there was no fine-tuning before", _FREE, loss="orpo"),
    "cpo": _dpo("pairs without reference, and imitation of the better", "Xu et al. 2024",
                "the better answers are worth imitating", _FREE, loss="cpo"),
    "kto": Method(
        train_kto, "kto", "good answers up, bad ones down, no pairs needed", "Ethayarajh et al. 2024",
        "a policy, beliefs or single verdicts (thumbs, critiques)",
        "one policy in memory, the reference is asked twice; two passes over each answer per epoch, no sampling",
        "people say good or bad about single answers",
    ),
}  # fmt: skip
"""By name, in the order in which a person may meet them."""


def settings(recipe: Recipe, method: str) -> Settings:
    """The settings of a method: those of its section, with what it changes wherever nobody chose.

    Chosen is what stands in `recipe.written`, and what is not the section's default. Raises SettingsError when both
    together cannot be used.
    """
    entry = METHODS[method]
    section, changes = getattr(recipe, entry.section) or sft.Config(), _changes(recipe, method)
    # A recipe that names one setting of a section leaves the others at the section's own defaults, not at the lab's.
    firsts = [one.model_dump() for one in (Recipe.model_fields[entry.section].default, type(section)())]
    written = [way.removeprefix(f"{entry.section}.") for way in recipe.written if way.startswith(f"{entry.section}.")]
    values = _laid(changes, section.model_dump(), firsts, written)
    values |= {"loss": changes["loss"]} if "loss" in changes else {}  # that is what its name says
    return settings_of(type(section), values, method) if changes else section


def _changes(recipe: Recipe, method: str) -> dict[str, Any]:
    """What a method has otherwise than its section."""
    own = {"constant": recipe.draw.max_tokens} if method == "dr_grpo" else {}
    return {**METHODS[method].changes, **own}


def _laid(
    changes: Mapping[str, Any], told: Mapping[str, Any], firsts: Sequence[Mapping[str, Any]], written: Sequence[str]
) -> dict[str, Any]:
    """`told`, with a change wherever it says what one of `firsts` says and is not among those written."""
    found = dict(told)
    for name, value in changes.items():
        within = [way.removeprefix(f"{name}.") for way in written if way.startswith(f"{name}.")]
        if isinstance(value, Mapping):
            found[name] = _laid(value, told[name], [one[name] for one in firsts], within)
        elif told[name] in [one[name] for one in firsts] and name not in written:
            found[name] = value
    return found


def choosing(recipe: Recipe, method: str, options: Sequence[str]) -> Recipe:
    """The recipe that also knows what the command line chose of a relative's settings.

    Raises SettingsError for a loss that is not the one of the method's name.
    """
    section, loss = METHODS[method].section, METHODS[method].changes.get("loss")
    if loss and f"{section}.loss" in named(options) and getattr(recipe, section).loss != loss:
        raise SettingsError(
            f"--{section}.loss {getattr(recipe, section).loss}: {method} takes {section}.loss={loss}, for that is what "
            f"its name says. Take method {section} with it, or leave it out"
        )
    now = set(named(options)).intersection(choosable(recipe))
    return recipe.model_copy(update={"written": tuple(dict.fromkeys([*recipe.written, *sorted(now)]))})


def heard(recipe: Recipe, method: str) -> list[str]:
    """What a method takes otherwise than its name has it, as somebody chose, and its loss where another was chosen.

    Raises SettingsError when nothing that makes it another method is left.
    """
    section, changes = METHODS[method].section, dict(leaves(_changes(recipe, method)))
    taken = dict(leaves(settings(recipe, method).model_dump())) if changes else {}
    other = [f"{section}.{way}={taken[way]} (not {own})" for way, own in changes.items() if taken[way] != own]
    if changes and len(other) == len(changes):
        raise SettingsError(
            f"{method} would be {section}: nothing is left of what makes it another method, for the recipe chooses "
            f"{', '.join(other)}. Leave these out of the recipe, or take method {section}"
        )
    lines = [f"{method} takes {', '.join(other)}, as the recipe says"] if other else []
    told = getattr(recipe, section).loss if "loss" in changes else None
    if told is not None and f"{section}.loss" in recipe.written and told != changes["loss"]:
        lines += [f"{method} takes {section}.loss={changes['loss']}, as its name says (the recipe: {told})"]
    return lines


def train(project: Project, method: str, name: str, **given: Any) -> Version:
    """One stage by any method, unless its version is there. Raises SettingsError when that was made otherwise."""
    made, group = project.version(name), given.get("group")
    if group is not None and METHODS[method].section not in GROUPED:
        raise SettingsError(f"--group {group!r}: {method} does not learn from beliefs; {', '.join(GROUPED)} do")
    if made is not None:
        meant(project, made, method, given)
    if method in build.TRAIN:
        return build.train(project, method, name, **given)
    entry, config = METHODS[method], settings(project.recipe, method)
    if made is None:
        return entry.stage(project, name, method, config, **given)
    now = {**config.model_dump(mode="json"), **decides(project, entry.section, given.get("cost")), **build.alone(group)}
    build.refuse(project, made, now, config)
    return made


GROUPED = ("reward_model", "dpo", "kto")
"""Sections whose methods can learn from the beliefs of one group of people alone."""
WORTH = ("reward_model", "reward_heads", "process_reward")
"""Methods, and their sections, that learn what answers are worth."""
ALONE = ("pretrain", "sft")
"""Methods that may begin without a version: there no --start says that too."""


def meant(project: Project, made: Version, method: str, given: Mapping[str, Any]) -> None:
    """Raises SettingsError when a version was made by another method, or from other versions than those named now.

    given: names of versions by option, as `start`, `reward` and `reference`; what is not given is not compared, but
    for the reference, which is the start then. A version that was made before such names were kept is taken as it is.
    """
    if made.method != method:
        raise SettingsError(
            f"{made.name} is in {project.folder} already, made by {made.method}, and {method} is wanted. "
            "Give the new one another --name."
        )
    kept, parent = made.config.get("given"), [one.name for one in project.store.all(Version) if one.id == made.parent]
    were = {**(kept if isinstance(kept, dict) else {}), "start": parent[0] if parent else None}
    now = {"start": given.get("start"), "reward": given.get("reward")}
    now["reference"] = given.get("reference") or now["start"]

    def others(name: str) -> bool:
        """What has begun or was paid by no version (a backbone of the recipe, rules) says so in its settings."""
        return were[name] != now[name] and (bool(were[name] and now[name]) or (name == "start" and method in ALONE))

    if other := [f"--{name} {were[name] or 'nothing'} (now {now[name] or 'nothing'})" for name in were if others(name)]:
        raise SettingsError(
            f"{made.name} is in {project.folder} already, made with {', '.join(other)}. "
            "Give the new one another --name, or ask for it as it was made."
        )


_ACTING = ("ppo", "grpo", "best_of_n", "online_dpo")
ALSO: Sequence[tuple[str, Sequence[str], str]] = (
    ("--model.*, --encode.*", ("pretrain", "sft"), "the model to start from, by name or new; limits of length"),
    ("--reward-backbone.*", WORTH, "what it starts from, when that is no version (an encoder, a model by name)"),
    ("--order.{}.*", ("sft", "reward_model", "reward_heads", "dpo", "kto"), "easy first, or another order of the data"),
    ("--order.policy.*", _ACTING, "easy prompts first, or another order (docs/reward_models.md)"),
    ("--rollout N, --draw.*", _ACTING, "prompts per iteration, and how their answers are drawn"),
    ("--rollout-answers N", ("ppo", "grpo", "online_dpo"), "answers per prompt"),
    ("--best-of N", ("best_of_n",), "answers per prompt"),
    ("--critic WAY", ("ppo",), "what the value model starts from"),
    ("--worth.*", _ACTING, "what answers earn: a reward model, rules that can be checked, or a sum (docs/rules.md)"),
    ("--cost NAME, --cost.*", _ACTING, "costs that a price or a gate bounds (docs/reward_models.md)"),
    ("--ensemble.*", _ACTING, "how several reward models are one"),
    ("--steps.*", _ACTING, "pay sentences, lines or marked places on the way (docs/process_reward.md)"),
    ("--dialogue.*", _ACTING, "conversations of several turns (docs/dialogue.md)"),
    ("--engine.*", _ACTING, "who draws the answers: our own sampler, or vLLM on a GPU (docs/text.md)"),
)
"""Settings of other sections that act on a method: how they are given, the sections they act on, and what they do."""


def heading(method: str) -> str:
    """What stands above the settings of a method in its help: what else decides it, and where its own are given."""
    section = METHODS[method].section
    flag = section.replace("_", "-")
    also = [("--group NAME", "learn from the beliefs of one group of people alone (docs/believing.md)")]
    also = also if section in GROUPED else []
    also += [(how.format(flag), what) for how, on, what in ALSO if section in on]
    also += [("--run.*", "device, threads, checkpoints (docs/run.md); weights in shares of several processes")]
    lines = "".join(f"  {how:<23} {what}\n" for how, what in also)
    also_told = "--project, --start, --reward, --name and such: accord train --help\n\n"
    also_told += f"Also decided by (accord loop --help tells each):\n{lines}\n"
    return f"{told_of(section)}{also_told}Settings, as --{flag}.NAME VALUE or in the recipe under `{section}:`\n"


def listed() -> list[dict[str, Any]]:
    """The table as plain values."""
    return [
        {
            "name": name,
            "section": one.section,
            "caption": one.caption,
            "paper": one.paper,
            "needs": one.needs,
            "costs": one.costs,
            "choose": one.choose,
            "changes": dict(one.changes),
        }
        for name, one in METHODS.items()
    ]
