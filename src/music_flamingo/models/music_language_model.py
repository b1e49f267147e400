"""What every music-language model here does with a packed row, around a network of transformers' making.

    |windows| -> audio features -> projector -> |audio embeddings|
    |token ids| -> embeddings, audio placeholders replaced -> language model -> |hidden states|

The network has the parts of transformers' Audio Flamingo 3: `model.audio_tower`, `model.language_model`, `lm_head`, and
where audio embeddings stand among the tokens `model.multi_modal_projector`. A model that hears by cross-attention
instead says so in `project`, `embed_row` and `heard_audio`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from music_flamingo.batch import AudioWindows, PackedBatch
from music_flamingo.kernels import PrefixAttention
from music_flamingo.kernels.linear_cross_entropy import token_logprobs
from music_flamingo.kernels.row_exchange import gathered
from music_flamingo.models.attention import PREFIX_TREE, Attend, TreeAttention
from music_flamingo.models.heard_audio import HeardAudio, HeardRow
from music_flamingo.models.last_layer import read_selected_rows
from music_flamingo.models.lora import LoRA
from music_flamingo.models.position_limit import require_positions
from music_flamingo.models.recompute import recompute_long_rows
from music_flamingo.models.row_sharing import RowSharing
from music_flamingo.step_parts import part


class MusicLanguageModel(nn.Module, ABC):
    """A model that reads packed rows.

    Args:
        network: transformers' model; its parameter names are the checkpoint's.
        recompute_above: tokens of a row above which the language model's feed-forward networks are computed again in
            the backward pass, which saves memory; None never does.
        recompute_layers_above: tokens of a row above which all of its layers is; None never does.
        attention: over packed rows; None takes the fastest on the device.
        lora: adapters that train in place of the language model; None trains the language model itself.

    Attributes:
        started_from: directories whose weights the network has at first.
        windows_encoded: audio windows encoded, or read from the cache, so far.
        windows_with_gradient: windows whose embeddings reached the language model with a gradient.
        sharing: of each row in `target_logprobs` with other ranks, which have the same rows; None computes rows whole.
    """

    def __init__(
        self,
        network: PreTrainedModel,
        recompute_above: int | None = None,
        recompute_layers_above: int | None = None,
        attention: PrefixAttention | None = None,
        lora: LoRA | None = None,
    ) -> None:
        super().__init__()
        self.network: Any = network
        self.started_from: tuple[str, ...] = (str(network.name_or_path),)
        self.attention = attention
        self.network.model.language_model.set_attn_implementation(PREFIX_TREE)
        self._selects_rows = read_selected_rows(self.network.model.language_model)
        recompute_long_rows(self.network.model.language_model, recompute_above, recompute_layers_above)
        if lora is not None:
            lora.adapt(self.network.model.language_model)
            self.network.lm_head.requires_grad_(False)
        self.sharing: RowSharing | None = None
        self.windows_encoded = 0
        self.windows_with_gradient = 0

    shares_rows = True
    """Whether ranks can share rows: all that a token hears stands among the tokens."""
    entries = ("target_logprobs", "hidden_states", "encode_audio", "audio_features", "project", "song_embeddings")
    """Methods in which stages call the model's weights; what they call in turn is not among them."""

    def layers(self) -> list[nn.Module]:
        """The language model's layers, which hold most of the weights."""
        return list(self.network.model.language_model.layers)

    @abstractmethod
    def audio_features(self, windows: AudioWindows) -> Tensor:
        """(A, D) encoder outputs of the windows' real frames, before the projector."""

    @property
    def audio_width(self) -> int:
        """Of `encode_audio`'s embeddings."""
        return int(self.head_weight.shape[1])

    @property
    def head_weight(self) -> Tensor:
        """(V, D) of the language-model head."""
        return cast(Tensor, self.network.lm_head.weight)

    @property
    def audio_token_id(self) -> int:
        return int(self.network.config.audio_token_id)

    def require_positions(self, batch: PackedBatch, segments: Iterable[int], new_tokens: int = 0) -> None:
        """Refuse a row that is too long for the language model; see `position_limit.require_positions`."""
        # The field of the same name in `config` itself is RoTE's longest time, 1200 seconds.
        language_model: Any = self.network.config.text_config
        require_positions(batch, language_model.max_position_embeddings, segments, new_tokens)

    def project(self, features: Tensor, batch: PackedBatch) -> Tensor:
        """(A, D) encoder outputs of a row's windows -> (A, D') audio embeddings."""
        with part("projector"):
            return cast(Tensor, self.network.model.multi_modal_projector(features))

    def encode_audio(self, batch: PackedBatch) -> Tensor:
        """(A, D') audio embeddings of all windows of a row that has some, in the order in which they stand in it."""
        return self.project(self.audio_features(cast(AudioWindows, batch.audio)), batch)

    def song_embeddings(self, batch: PackedBatch) -> list[Tensor]:
        """(A, D') audio embeddings of each root of a row that has audio, in the row's order."""
        tokens = cast(AudioWindows, batch.audio).tokens.split(list(batch.window_counts))
        return list(self.encode_audio(batch).split([int(each.sum()) for each in tokens]))

    def freeze_behind_songs(self) -> None:
        """Stop gradients of all that `song_embeddings` does not depend on."""
        self.network.model.language_model.requires_grad_(False)
        self.network.lm_head.requires_grad_(False)

    def embed_row(self, batch: PackedBatch, audio: Tensor | None) -> Tensor:
        """(N, D') embeddings of a row's tokens, with those of its audio in place of the placeholders."""
        embeddings = self.embed_tokens(batch.input_ids)
        if audio is None:
            return embeddings
        return embeddings.index_copy(0, batch.audio_positions, audio.to(embeddings.dtype))

    def heard_audio(self, batch: PackedBatch, audio: Tensor | None) -> HeardRow | None:
        """What the row's tokens hear by cross-attention; None where they hear what stands among them."""
        return None

    def generation_inputs(self, windows: AudioWindows) -> dict[str, Tensor]:
        """One song as the network's own `generate` takes it."""
        frames = torch.arange(windows.features.shape[-1], device=windows.features.device)
        mask = (frames < windows.lengths[:, None]).long()
        return {"input_features": windows.features, "input_features_mask": mask}

    def hidden_states(
        self,
        batch: PackedBatch,
        audio: Tensor | None = None,
        attend: Attend | None = None,
        rows: Tensor | None = None,
        heard: HeardAudio | None = None,
    ) -> Tensor:
        """(N, D') hidden states of the row, or (R, D') of some of its tokens.

        Args:
            batch: the row.
            audio: (A, D') embeddings of its audio, encoded here when None.
            attend: attention to use in place of the row's own.
            rows: (R,) the tokens to read, in increasing order; all when None.
            heard: cross-attention to use in place of the row's own.

        Raises:
            UserError: a segment ends beyond the language model's positions.
        """
        self.require_positions(batch, range(len(batch.tree.lengths)))
        if audio is None and batch.audio is not None:
            audio = self.encode_audio(batch)
        if audio is not None:
            self.windows_with_gradient += len(batch.audio or ()) if audio.requires_grad else 0
        embeddings = self.embed_row(batch, audio)
        positions = batch.tree.position_ids().to(embeddings.device)
        attend = attend or self.row_attention(batch, rows)
        return self.continue_from(embeddings, positions, attend, rows, heard or self.heard_audio(batch, audio))

    def row_attention(self, batch: PackedBatch, rows: Tensor | None = None) -> TreeAttention:
        """Attention over a row of which the last layer computes only `rows` (R,), or all."""
        return TreeAttention(batch.tree, rows, self.attention)

    def continue_from(
        self,
        embeddings: Tensor,
        positions: Tensor,
        attend: Attend,
        rows: Tensor | None = None,
        heard: HeardAudio | None = None,
    ) -> Tensor:
        """(N, D') hidden states of tokens with these embeddings (N, D') and positions (N,), or (R, D') of `rows`."""
        select = rows is not None and self._selects_rows
        given: dict[str, Any] = {"rows": rows} if select else {}
        if heard is not None:
            given["audio"] = heard
        with part("language model"):
            output = self.network.model.language_model(
                inputs_embeds=embeddings[None],
                attention_mask=None,
                position_ids=positions[None],
                use_cache=False,
                attend=attend,
                **given,
            )
        hidden = cast(Tensor, output.last_hidden_state[0])
        return hidden if rows is None or select else hidden[rows]

    def embed_tokens(self, token_ids: Tensor) -> Tensor:
        return cast(Tensor, self.network.get_input_embeddings()(token_ids))

    def target_logprobs(
        self, batch: PackedBatch, features: Tensor | None = None, *, temperature: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """Log-probabilities (T,) of the row's targets and entropies (T,) of their predictions; see `token_logprobs`.

        Args:
            batch: the row.
            features: (A, D) encoder outputs of its audio, where they are known; computed here when None.
            temperature: logits are divided by it.
        """
        if self.sharing is not None:
            return self._shared_logprobs(batch, features, temperature, self.sharing)
        audio = None if features is None else self.project(features, batch)
        # A prompt's last token predicts the first one of each of its completions.
        rows, row_of_target = batch.targets.positions.unique(return_inverse=True)
        hidden = self.hidden_states(batch, audio, rows=rows)[row_of_target]
        with part("head and loss"):
            return token_logprobs(hidden, self.head_weight, batch.targets.token_ids, temperature=temperature)

    def _shared_logprobs(
        self, batch: PackedBatch, features: Tensor | None, temperature: float, sharing: RowSharing
    ) -> tuple[Tensor, Tensor]:
        """`target_logprobs` of which each rank computes its tokens' share."""
        self.require_positions(batch, range(len(batch.tree.lengths)))
        tokens = sharing.tokens(batch)
        targets = sharing.targets(batch, tokens)
        places = tokens.exchange.own  # in increasing order
        embeddings = self._own_embeddings(batch, self._shared_audio(batch, features, sharing), places)
        positions = batch.tree.position_ids().to(places.device)[places]
        rows, row_of_target = batch.targets.positions[targets.own].unique(return_inverse=True)
        attend = TreeAttention(batch.tree, rows, self.attention, tokens)
        hidden = self.continue_from(embeddings, positions, attend, torch.searchsorted(places, rows))[row_of_target]
        with part("head and loss"):
            ids = batch.targets.token_ids[targets.own]
            logprobs, entropies = token_logprobs(hidden, self.head_weight, ids, temperature=temperature)
        return gathered(logprobs, targets), targets.gather(entropies)

    def _own_embeddings(self, batch: PackedBatch, audio: Tensor | None, places: Tensor) -> Tensor:
        """(n, D') embeddings of the tokens at these places (n,), given those of all of the row's audio (A, D')."""
        own = torch.isin(batch.audio_positions, places)
        positions = torch.searchsorted(places, batch.audio_positions[own])
        tokens = replace(batch, input_ids=batch.input_ids[places], audio_positions=positions)
        return self.embed_row(tokens, None if audio is None else audio[own])

    def _shared_audio(self, batch: PackedBatch, features: Tensor | None, sharing: RowSharing) -> Tensor | None:
        """(A, D') embeddings of a row's audio, of which each rank encodes some windows."""
        if batch.audio is None or features is not None:
            return None if features is None else self.project(features, batch)
        chosen, exchange = sharing.windows(batch.audio)
        audio = self.encode_audio(replace(batch, audio=batch.audio[chosen]))
        self.windows_with_gradient += (chosen.stop - chosen.start) if audio.requires_grad else 0
        return gathered(audio[: len(exchange.own)], exchange)
