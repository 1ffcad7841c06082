"""BERT as modules of our own: the names, classes and numbers of transformers, without the import of its models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from accord.worlds.text.attention import additive, attended
from accord.worlds.text.own_files import table, write


@dataclass(frozen=True)
class States:
    """What an encoder gives."""

    last_hidden_state: Tensor
    """[R, N, D]."""
    pooler_output: Tensor
    """[R, D]."""


@dataclass(frozen=True)
class Scored:
    """What a scorer gives."""

    logits: Tensor
    """[R, labels]."""


def fits(config: Any) -> bool:
    """Whether a configuration is a plain BERT's, without dropout."""
    noise = (config.hidden_dropout_prob, config.attention_probs_dropout_prob, config.classifier_dropout)
    return (
        config.model_type == "bert"
        and config.hidden_act == "gelu"
        and not (config.is_decoder or config.add_cross_attention or config.chunk_size_feed_forward)
        and not any(noise)
        and getattr(config, "position_embedding_type", "absolute") in (None, "absolute")
        and config.hidden_size % config.num_attention_heads == 0
        and getattr(config, "quantization_config", None) is None
    )


class BertEmbeddings(nn.Module):
    """Words, places and kinds of text, summed."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        width = config.hidden_size
        self.word_embeddings = table(config.vocab_size, width, config.pad_token_id)
        self.position_embeddings = table(config.max_position_embeddings, width)
        self.token_type_embeddings = table(config.type_vocab_size, width)
        self.LayerNorm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(
        self,
        input_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
    ) -> Tensor:
        """[R, N, D] of ids [R, N], or of their words [R, N, D], all of the first kind of text."""
        words = self.word_embeddings(input_ids) if inputs_embeds is None else inputs_embeds
        rows, length = words.shape[:2]
        places = torch.arange(length, device=words.device)[None] if position_ids is None else position_ids
        kinds = torch.zeros(rows, length, dtype=torch.long, device=words.device)
        state = words + self.token_type_embeddings(kinds) + self.position_embeddings(places)
        made: Tensor = self.dropout(self.LayerNorm(state))
        return made


class BertSelfAttention(nn.Module):
    """Attention over the whole of a text."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.attention_head_size = config.hidden_size // config.num_attention_heads
        self.scaling = self.attention_head_size**-0.5
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.value = nn.Linear(config.hidden_size, config.hidden_size)
        self.dropout = nn.Dropout(config.attention_probs_dropout_prob)

    def forward(self, state: Tensor, mask: Tensor) -> Tensor:
        """state [R, N, D]; mask [R, 1, 1, N]: added to the products."""
        query, key, value = (
            part(state).view(*state.shape[:-1], -1, self.attention_head_size).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        return attended(query, key, value, mask, self.scaling, None).transpose(1, 2).flatten(2)


class BertSelfOutput(nn.Module):
    """Back to the width of the trunk, added to what was there."""

    def __init__(self, config: Any, inner: int) -> None:
        super().__init__()
        self.dense = nn.Linear(inner, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, state: Tensor, before: Tensor) -> Tensor:
        made: Tensor = self.LayerNorm(self.dropout(self.dense(state)) + before)
        return made


class BertAttention(nn.Module):
    """Attention and what follows it."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.self = BertSelfAttention(config)
        self.output = BertSelfOutput(config, config.hidden_size)

    def forward(self, state: Tensor, mask: Tensor) -> Tensor:
        made: Tensor = self.output(self.self(state, mask), state)
        return made


class GELUActivation(nn.Module):
    """The exact GELU (Hendrycks and Gimpel 2016)."""

    def forward(self, state: Tensor) -> Tensor:
        return nn.functional.gelu(state)


class BertIntermediate(nn.Module):
    """The wide layer."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.intermediate_size)
        self.intermediate_act_fn = GELUActivation()

    def forward(self, state: Tensor) -> Tensor:
        made: Tensor = self.intermediate_act_fn(self.dense(state))
        return made


class BertLayer(nn.Module):
    """One layer."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.attention = BertAttention(config)
        self.intermediate = BertIntermediate(config)
        self.output = BertSelfOutput(config, config.intermediate_size)

    def forward(self, state: Tensor, mask: Tensor) -> Tensor:
        state = self.attention(state, mask)
        made: Tensor = self.output(self.intermediate(state), state)
        return made


class BertEncoder(nn.Module):
    """All layers."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.layer = nn.ModuleList(BertLayer(config) for _ in range(config.num_hidden_layers))

    def forward(self, state: Tensor, mask: Tensor) -> Tensor:
        for layer in self.layer:
            state = layer(state, mask)
        return state


class BertPooler(nn.Module):
    """A text's vector, of its first token's state."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.activation = nn.Tanh()

    def forward(self, state: Tensor) -> Tensor:
        made: Tensor = self.activation(self.dense(state[:, 0]))
        return made


class BertModel(nn.Module):
    """The encoder."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.embeddings = BertEmbeddings(config)
        self.encoder = BertEncoder(config)
        self.pooler = BertPooler(config)

    def get_input_embeddings(self) -> nn.Embedding:
        """The word table."""
        return self.embeddings.word_embeddings

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> States:
        """ids [R, N]; attention_mask [R, N]: which are no padding."""
        real = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        given = self.embeddings(input_ids)
        state = self.encoder(given, additive(real.bool()[:, None, None], given.dtype))
        return States(state, self.pooler(state))


class BertForSequenceClassification(nn.Module):
    """An encoder whose pooled state gets one number."""

    base_model_prefix = "bert"
    tied = False

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.bert = BertModel(config)
        self.dropout = nn.Dropout(config.classifier_dropout or 0.0)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)

    @property
    def base_model(self) -> BertModel:
        """The encoder."""
        return self.bert

    def tie(self) -> None:
        """Nothing is."""

    def get_input_embeddings(self) -> nn.Embedding:
        """The word table."""
        return self.bert.embeddings.word_embeddings

    def get_output_embeddings(self) -> None:
        """There is none."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Scored:
        return Scored(self.classifier(self.dropout(self.bert(input_ids, attention_mask).pooler_output)))

    def save_pretrained(self, folder: str | Path) -> None:
        """As transformers would."""
        write(self, folder)
