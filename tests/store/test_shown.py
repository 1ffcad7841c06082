"""What a model answers is clean before anybody sees it."""

from pathlib import Path

import pytest

from accord.cli import main
from accord.records import Message, Prompt, Question, Sample, Text
from accord.store import Store
from accord.store.shown import shown
from tests.store.conftest import text

MAIL = "jane.roe@example.org"


def prompts() -> dict[str, Prompt]:
    return {
        "p": Prompt(id="p", content=text("who knows"), split="train"),
        "q": Prompt(id="q", content=text(f"who is {MAIL}"), split="train"),
    }


def answer(id: str, words: str, prompt: str = "p", version: str | None = None) -> Sample:
    return Sample(id=id, prompt=prompt, content=text(words, "assistant"), version=version, source="file")


def test_an_answer_is_replaced_and_a_prompt_left_out(store: Store) -> None:
    made = [answer("a", f"write to {MAIL} or Zaphod", version="v"), answer("b", "nobody"), answer("c", "she", "q")]
    found = shown(store, prompts(), made, ["Zaphod"])
    dirty, plain = found.samples
    assert dirty.content == Text(messages=(Message(role="assistant", content="write to [EMAIL] or [NAME]"),))
    assert (dirty.version, dirty.sampling["scrubbed"], dirty.id != "a") == ("v", True, True)
    assert plain == made[1]
    assert (list(found.prompts), found.left_out, dict(found.counts)) == (["p"], 1, {"EMAIL": 1, "NAME": 1})
    again = shown(store, prompts(), [*made, dirty], ["Zaphod"])
    assert again.samples == found.samples, "the same record again, and never beside what it replaces"


def test_the_command_asks_about_clean_answers_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "p").mkdir()
    with Store.open(tmp_path / "p" / "store.db") as store:
        store.put([*prompts().values(), answer("a", f"write to {MAIL}"), answer("b", "nobody"),
                   answer("c", "she", "q"), answer("d", "he", "q")])  # fmt: skip
    words = ["ask", "--project", str(tmp_path / "p"), "--scrub"]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "taken out: 1 EMAIL" in told
    assert "1 prompts point at people" in told
    with Store.open(tmp_path / "p" / "store.db") as store:
        [question] = store.all(Question)
        texts = [one.content.messages[0].content for one in store.get_many(Sample, question.samples).values()]  # type: ignore[union-attr]
        assert sorted(texts) == ["nobody", "write to [EMAIL]"]
