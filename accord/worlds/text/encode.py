"""Records become tokens and tokens records, here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from accord.batches import Comparisons, Segment
from accord.judged import Judged, Kind
from accord.quality.judged import Judgement
from accord.records import Message, Preference, Prompt, Sample, Text, digest
from accord.worlds.text.report import Report
from accord.worlds.text.rows import EncoderSettings, Row, table, text_of, told, with_end, without_oldest
from accord.worlds.text.template import EncodingError, Template

__all__ = ["Encoder", "EncoderSettings", "EncodingError", "Report"]


class Encoder:
    """Text in, token ids out, and back.

    A decoder's tokenizer reads a conversation by chat template: the prompt is the observation, the answer the action.
    An encoder's tokenizer (with [CLS] and [SEP], without template) reads both as a pair that is all action.
    Rows that cannot be used are left out and told in `report`; when all are bad, or with `strict`, EncodingError is
    raised. What a row becomes depends on its own text alone, never on its batch.
    """

    def __init__(self, tokenizer: Any, settings: EncoderSettings | None = None) -> None:
        self.tokenizer = tokenizer
        self.settings = settings or EncoderSettings()
        self.pairwise = tokenizer.chat_template is None and None not in (tokenizer.cls_token_id, tokenizer.sep_token_id)
        if self.pairwise:
            tokenizer = with_end(tokenizer)
        self.template = Template(tokenizer, self.settings.template)
        self.pad = int(self.tokenizer.pad_token_id or 0)
        self.report = Report()

    @property
    def stop(self) -> tuple[int, ...]:
        """Token ids that end an answer: the template's end of turn and the tokenizer's end of text."""
        ends = (self.template.end, self.tokenizer.eos_token_id)
        return tuple(dict.fromkeys(int(end) for end in ends if end is not None))

    @property
    def digest(self) -> str:
        """Fingerprint of all that decides which tokens a text becomes."""
        return digest([self.template.engine.to_str(), self.template.source, self.settings.model_dump(mode="json")])

    def prompt(self, content: Text) -> list[int]:
        """Token ids of a conversation with the opening of the answer; oldest turns, then the left part, are dropped.

        At most `limit - answer_limit` long. Exactly one BOS where the model has one.
        """
        room = self.settings.limit - self.settings.kept
        ids = self.template.prompt(content.messages)
        turns = list(content.messages)
        while len(ids) > room and len(shorter := without_oldest(turns)) < len(turns):
            turns = shorter
            ids = self.template.prompt(turns)
        if turns != list(content.messages) or len(ids) > room:
            self.report.cut_prompts += 1
        if len(ids) <= room:
            return ids
        opening = ids[:1] if ids[0] == self.tokenizer.bos_token_id else []
        return [*opening, *ids[len(ids) - room + len(opening) :]]

    def answer(self, prompt: Prompt, sample: Sample) -> tuple[list[int], list[bool]]:
        """Token ids of an answer and which of them are the assistant's own, uncut.

        A finished answer ends with the end of turn. With `prompt(...)` before it this is, id by id, the template of
        the whole conversation up to that end, unless an answer opens with blank space that the tokenizer would have
        joined to the text before it.
        """
        return self.template.answer(text_of(prompt).messages, text_of(sample).messages, sample.finished)

    def text(self, tokens: Sequence[int], finished: bool) -> Text:
        """The answer that token ids spell; the end of a finished one is left out."""
        ids = list(tokens)
        if finished and ids and ids[-1] in self.stop:
            ids.pop()
        return Text(messages=(Message(role="assistant", content=self.spell(ids)),))

    def spell(self, ids: Sequence[int]) -> str:
        """The letters of token ids, none of them left out."""
        words: str = self.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return words

    def segment(
        self, pairs: Sequence[tuple[Prompt, Sample]], weights: Sequence[float] | None = None, scoring: bool = False
    ) -> Segment:
        """Rows in the given order, those of one prompt in one group; names are sample ids.

        scoring: every row is kept, empty answers too (they are their end of text alone), since scores must match
        their rows. Otherwise bad rows are left out.
        """
        weights = [1.0] * len(pairs) if weights is None else weights
        rows: list[tuple[str, Row, str, float]] = []
        bad: list[str] = []
        seen: dict[str, list[int]] = {}
        for (prompt, sample), weight in zip(pairs, weights, strict=True):
            row, fault = self._row(prompt, sample, seen, scoring)
            if row is None:
                bad.append(self.report.add(sample.id, fault))
            else:
                rows.append((prompt.id, row, sample.id, weight))
        self._settle(bad, len(rows), len(pairs))
        return table(rows, self.pad)

    def comparisons(
        self, beliefs: Sequence[Preference], prompts: Mapping[str, Prompt], samples: Mapping[str, Sample]
    ) -> Comparisons:
        """Beliefs over rows, each sample encoded once. Pairs with a bad row, or of two equal rows, are left out."""
        encoded: dict[str, tuple[Row | None, str]] = {}
        seen: dict[str, list[int]] = {}
        kept: list[Preference] = []
        bad: list[str] = []
        for belief in beliefs:
            for name in (belief.chosen, belief.rejected):
                if name not in encoded:
                    encoded[name] = self._found(name, belief.prompt, prompts, samples, seen)
            fault = self._pair_fault(belief, encoded, samples)
            if fault:
                bad.append(self.report.add(belief.id, fault))
            else:
                kept.append(belief)
        self._settle(bad, len(kept), len(beliefs))
        place: dict[str, int] = {}
        rows: list[tuple[str, Row, str, float]] = []
        for belief in kept:
            for name in (belief.chosen, belief.rejected):
                row = encoded[name][0]
                if name not in place and row is not None:
                    place[name] = len(rows)
                    rows.append((belief.prompt, row, name, 1.0))
        return Comparisons(
            segment=table(rows, self.pad),
            better=torch.tensor([place[b.chosen] for b in kept], dtype=torch.long),
            worse=torch.tensor([place[b.rejected] for b in kept], dtype=torch.long),
            probability=torch.tensor([b.probability for b in kept], dtype=torch.float32),
            weight=torch.tensor([b.weight for b in kept], dtype=torch.float32),
            margin=torch.tensor([b.margin for b in kept], dtype=torch.float32),
            names=tuple(b.id for b in kept),
        )

    def judged(self, said: Sequence[Judgement], prompts: Mapping[str, Prompt], samples: Mapping[str, Sample]) -> Judged:
        """Judgements of every form over rows, each sample encoded once.

        An answer that cannot be used is left out of its judgement, and a judgement with too few answers left (a pair
        or ranking with fewer than two, or two equal rows) is left out too; both are told in the report.
        """
        encoded: dict[str, tuple[Row | None, str]] = {}
        seen: dict[str, list[int]] = {}
        place: dict[str, int] = {}
        rows: list[tuple[str, Row, str, float]] = []
        kept: list[tuple[Judgement, list[tuple[int, float]]]] = []
        bad: list[str] = []
        for one in said:
            for name in one.samples:
                if name not in encoded:
                    encoded[name] = self._found(name, one.prompt, prompts, samples, seen)
                    if encoded[name][1]:
                        bad.append(self.report.add(name, encoded[name][1]))
            there = [(name, value, row) for name, value in zip(one.samples, one.values, strict=True)
                     if (row := encoded[name][0]) is not None]  # fmt: skip
            least = {"pair": len(one.samples), "ranking": 2}.get(one.form, 1)
            same = one.form in ("pair", "ranking") and len({row.tokens for _, _, row in there}) < 2
            if len(there) < least or same or any(samples[name].prompt != one.prompt for name, _, _ in there):
                why = (
                    "its answers are the same in every token"
                    if same and len(there) >= least
                    else "an answer is missing"
                )
                bad.append(self.report.add(one.name or one.prompt, f"{one.form} of {len(one.samples)}: {why}"))
                continue
            for name, _, row in there:
                if name not in place:
                    place[name] = len(rows)
                    rows.append((one.prompt, row, name, 1.0))
            kept.append((one, [(place[name], value) for name, value, _ in there]))
        self._settle(bad, len(kept), len(said))
        return _judged(table(rows, self.pad), kept)

    def documents(self, texts: Sequence[str]) -> Segment:
        """Plain texts for pretraining: [BOS] is seen (the end of text where there is no BOS), all that follows learned.

        Texts longer than `limit` are cut into rows that each start so; only the last of them ends with the end of text.
        Names are `document.chunk`.
        """
        start = self.tokenizer.bos_token_id if self.tokenizer.bos_token_id is not None else self.tokenizer.eos_token_id
        end, room = self.tokenizer.eos_token_id, self.settings.limit - 1
        rows: list[tuple[str, Row, str, float]] = []
        bad: list[str] = []
        for number, spelt in enumerate(self.template.engine.encode_batch(list(texts), add_special_tokens=False)):
            if not spelt.ids:
                bad.append(self.report.add(f"document {number}", "empty text"))
                continue
            ids = [*spelt.ids, end]
            for part, at in enumerate(range(0, len(ids), room)):
                chunk = tuple(ids[at : at + room])
                name = f"{number}.{part}"
                rows.append((name, Row((start,), chunk, (True,) * len(chunk), at + room < len(ids)), name, 1.0))
        self._settle(bad, len(rows), len(texts))
        return table(rows, self.pad)

    def _row(self, prompt: Prompt, sample: Sample, seen: dict[str, list[int]], scoring: bool) -> tuple[Row | None, str]:
        """One row, or None and what is wrong with it. seen: prompts already encoded, by id."""
        try:
            if sample.prompt != prompt.id:
                return None, f"answers prompt {sample.prompt}, not {prompt.id}"
            if self.pairwise:
                return self._judged(self._pair_row(prompt, sample), sample, scoring)
            if prompt.id not in seen:
                seen[prompt.id] = self.prompt(text_of(prompt))
            observation = tuple(seen[prompt.id])
            ids, mask = self.answer(prompt, sample)
        except EncodingError as error:
            if scoring:
                raise EncodingError(f"row {sample.id}: {error}") from error
            return None, str(error)
        if not ids and scoring:
            ids, mask = [self.template.end], [True]
        room = self.settings.limit - len(observation)
        row = Row(observation, tuple(ids[:room]), tuple(mask[:room]), len(ids) > room)
        return self._judged(row, sample, scoring)

    def _judged(self, row: Row, sample: Sample, scoring: bool) -> tuple[Row | None, str]:
        """The row when it can be learned from (or only has to be scored), else the reason."""
        self.report.rows += 1
        self.report.cut_answers += row.cut
        if scoring:
            return row, ""
        if not any(m.content for m in text_of(sample).messages if m.role == "assistant"):
            return None, "empty answer"
        if not any(row.mask):
            return None, f"none of its {len(row.tokens)} tokens is the assistant's (all-zero mask)"
        if sample.finished and not row.cut and row.tokens[-1] not in self.stop:
            return None, f"finished, but ends with token {row.tokens[-1]} and not with one of {self.stop}"
        return row, ""

    def _pair_row(self, prompt: Prompt, sample: Sample) -> Row:
        """[CLS] prompt [SEP] answer [SEP] for an encoder; all of it is action, the answer and its end are masked in."""
        cls, sep = int(self.tokenizer.cls_token_id), int(self.tokenizer.sep_token_id)
        asked = self.template.plain(told(text_of(prompt).messages))
        said = self.template.plain(told(text_of(sample).messages))
        said = [*said, sep] if sample.finished or not said else said
        room = self.settings.limit - self.settings.kept - 2
        if len(asked) > room:
            self.report.cut_prompts += 1
            asked = asked[len(asked) - room :] if room > 0 else []
        before = [cls, *asked, sep]
        left = self.settings.limit - len(before)
        tokens = (*before, *said[:left])
        mask = (False,) * len(before) + (True,) * (len(tokens) - len(before))
        return Row((), tokens, mask, len(said) > left)

    def _found(
        self,
        name: str,
        prompt: str,
        prompts: Mapping[str, Prompt],
        samples: Mapping[str, Sample],
        seen: dict[str, list[int]],
    ) -> tuple[Row | None, str]:
        """The row of a sample by id, or None and why not."""
        if prompt not in prompts:
            return None, f"prompt {prompt} is not there"
        if name not in samples:
            return None, f"sample {name} is not there"
        row, fault = self._row(prompts[prompt], samples[name], seen, False)
        return row, f"sample {name}: {fault}" if fault else ""

    def _pair_fault(
        self, belief: Preference, encoded: Mapping[str, tuple[Row | None, str]], samples: Mapping[str, Sample]
    ) -> str:
        """What is wrong with a pair; empty when nothing is."""
        (better, one), (worse, two) = encoded[belief.chosen], encoded[belief.rejected]
        if better is None or worse is None:
            return one or two
        if samples[belief.chosen].prompt != belief.prompt or samples[belief.rejected].prompt != belief.prompt:
            return f"its samples do not answer prompt {belief.prompt}"
        if better.tokens == worse.tokens:
            why = f"after the cut to {self.settings.limit} tokens" if better.cut or worse.cut else "in every token"
            return f"equal pair: both answers are the same {why}; it would teach nothing"
        return ""

    def _settle(self, bad: Sequence[str], good: int, total: int) -> None:
        """Raise when nothing is left, or when bad rows are not to be passed over."""
        if bad and (self.settings.strict or not good):
            shown = "\n".join(f"  {line}" for line in bad[:10])
            more = f"\n  and {len(bad) - 10} more" if len(bad) > 10 else ""
            raise EncodingError(f"{len(bad)} of {total} rows cannot be used:\n{shown}{more}")


def _judged(segment: Segment, kept: Sequence[tuple[Judgement, list[tuple[int, float]]]]) -> Judged:
    """Judgements with what each says of which rows, as tensors."""
    kinds = tuple(dict.fromkeys(Kind(one.form, one.criterion, one.levels) for one, _ in kept))
    entries = [(j, row, value) for j, (_, about) in enumerate(kept) for row, value in about]
    return Judged(
        segment=segment,
        kinds=kinds,
        kind=torch.tensor([kinds.index(Kind(o.form, o.criterion, o.levels)) for o, _ in kept], dtype=torch.long),
        probability=torch.tensor([one.probability for one, _ in kept], dtype=torch.float32),
        margin=torch.tensor([one.margin for one, _ in kept], dtype=torch.float32),
        weight=torch.tensor([one.weight for one, _ in kept], dtype=torch.float32),
        said=torch.tensor([j for j, _, _ in entries], dtype=torch.long),
        row=torch.tensor([row for _, row, _ in entries], dtype=torch.long),
        value=torch.tensor([value for _, _, value in entries], dtype=torch.float32),
        names=tuple(one.name for one, _ in kept),
    )
