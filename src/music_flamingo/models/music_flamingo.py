"""Music Flamingo on packed rows: transformers' own class and weights, our attention over the prefix tree.

    |mel windows| -> encoder -> rotary time embedding -> projector -> |audio embeddings|
    |token ids| -> embeddings, audio placeholders replaced -> language model -> |hidden states|

Source: Music Flamingo (arXiv:2511.10289), section 3; transformers 5.23, `MusicFlamingoForConditionalGeneration`.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import MusicFlamingoForConditionalGeneration

from music_flamingo.batch import AudioWindows, PackedBatch, audio_token_lengths
from music_flamingo.errors import UserError
from music_flamingo.kernels import PrefixAttention
from music_flamingo.kernels.linear_cross_entropy import token_logprobs
from music_flamingo.models.attention import PREFIX_TREE, Attend, TreeAttention
from music_flamingo.models.audio_encoder import encode_windows
from music_flamingo.models.encoder_cache import EncoderCache
from music_flamingo.models.last_layer import read_selected_rows
from music_flamingo.models.position_limit import require_positions
from music_flamingo.models.recompute import recompute_feed_forward
from music_flamingo.models.time_embedding import TimeEmbedding, record_time_embedding, recorded_time_embedding
from music_flamingo.step_parts import part


class MusicFlamingo(nn.Module):
    """A Music Flamingo that reads packed rows.

    Args:
        pretrained: Hugging Face directory of the weights to start from.
        time_embedding: how the time at which a frame is heard is rotated in; None for the one the
            weights were trained with, which is `CheckpointRoTE` unless their configuration says otherwise.
        encoder_cache: keeps what a frozen encoder gives; None encodes each time.
        recompute_above: tokens of a row above which the language model's feed-forward networks are computed again in
            the backward pass, which saves memory; None never does.
        attention: over packed rows; None takes the fastest on the device.

    Attributes:
        network: transformers' model; its parameter names are the checkpoint's.
        windows_encoded: audio windows encoded, or read from the cache, so far.
        windows_with_gradient: windows whose embeddings reached the language model with a gradient.

    Raises:
        UserError: `pretrained` is not a directory holding a Music Flamingo.
    """

    def __init__(
        self,
        pretrained: str,
        time_embedding: TimeEmbedding | None = None,
        encoder_cache: EncoderCache | None = None,
        recompute_above: int | None = None,
        attention: PrefixAttention | None = None,
    ) -> None:
        super().__init__()
        self.attention = attention
        self.encode_windows = encode_windows if encoder_cache is None else encoder_cache.encode
        require_model_directory(Path(pretrained))
        self.network = MusicFlamingoForConditionalGeneration.from_pretrained(pretrained, local_files_only=True)
        self.time_embedding = time_embedding or recorded_time_embedding(self.network.config)
        record_time_embedding(self.time_embedding, self.network.config)
        self.network.model.language_model.set_attn_implementation(PREFIX_TREE)
        self._selects_rows = read_selected_rows(self.network.model.language_model)
        if recompute_above is not None:
            recompute_feed_forward(self.network.model.language_model, recompute_above)
        # Whisper's sinusoids; transformers freezes them in the constructor and loads them as trainable.
        self.network.model.audio_tower.embed_positions.requires_grad_(False)
        self.windows_encoded = 0
        self.windows_with_gradient = 0

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

    def audio_features(self, windows: AudioWindows) -> Tensor:
        """(A, D) encoder outputs of the windows' real frames with time embedding, before the projector."""
        body = self.network.model
        with part("audio encoder"):
            hidden = self.encode_windows(body.audio_tower, windows)
        with part("time embedding"):
            hidden = self.time_embedding.embed(hidden, windows.indices, body)
        real = torch.arange(hidden.shape[1], device=hidden.device) < audio_token_lengths(windows.lengths)[:, None]
        self.windows_encoded += len(windows)
        return hidden[real]

    def project(self, features: Tensor) -> Tensor:
        """(A, D) encoder outputs -> (A, D') audio embeddings of the language model's width."""
        with part("projector"):
            return cast(Tensor, self.network.model.multi_modal_projector(features))

    def encode_audio(self, windows: AudioWindows) -> Tensor:
        """(A, D') audio embeddings of all windows, in the order in which their placeholders stand in the row."""
        return self.project(self.audio_features(windows))

    def hidden_states(
        self,
        batch: PackedBatch,
        audio: Tensor | None = None,
        attend: Attend | None = None,
        rows: Tensor | None = None,
    ) -> Tensor:
        """(N, D') hidden states of the row, or (R, D') of some of its tokens.

        Args:
            batch: the row.
            audio: (A, D') embeddings of its audio, encoded here when None.
            attend: attention to use in place of the row's own.
            rows: (R,) the tokens to read, in increasing order; all when None.

        Raises:
            UserError: a segment ends beyond the language model's positions.
        """
        self.require_positions(batch, range(len(batch.tree.lengths)))
        if audio is None and batch.audio is not None:
            audio = self.encode_audio(batch.audio)
        embeddings = self.network.get_input_embeddings()(batch.input_ids)
        if audio is not None:
            self.windows_with_gradient += len(batch.audio or ()) if audio.requires_grad else 0
            embeddings = embeddings.index_copy(0, batch.audio_positions, audio.to(embeddings.dtype))
        positions = batch.tree.position_ids().to(embeddings.device)
        return self.continue_from(embeddings, positions, attend or self.row_attention(batch, rows), rows)

    def row_attention(self, batch: PackedBatch, rows: Tensor | None = None) -> TreeAttention:
        """Attention over a row of which the last layer computes only `rows` (R,), or all."""
        return TreeAttention(batch.tree, rows, self.attention)

    def continue_from(
        self, embeddings: Tensor, positions: Tensor, attend: Attend, rows: Tensor | None = None
    ) -> Tensor:
        """(N, D') hidden states of tokens with these embeddings (N, D') and positions (N,), or (R, D') of `rows`."""
        select = rows is not None and self._selects_rows
        with part("language model"):
            output = self.network.model.language_model(
                inputs_embeds=embeddings[None],
                attention_mask=None,
                position_ids=positions[None],
                use_cache=False,
                attend=attend,
                **({"rows": rows} if select else {}),
            )
        hidden = cast(Tensor, output.last_hidden_state[0])
        return hidden if rows is None or select else hidden[rows]

    def embed_tokens(self, token_ids: Tensor) -> Tensor:
        return cast(Tensor, self.network.get_input_embeddings()(token_ids))

    def target_logprobs(
        self, batch: PackedBatch, audio: Tensor | None = None, *, temperature: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """Log-probabilities (T,) of the row's targets and entropies (T,) of their predictions; see `token_logprobs`."""
        # A prompt's last token predicts the first one of each of its completions.
        rows, row_of_target = batch.targets.positions.unique(return_inverse=True)
        hidden = self.hidden_states(batch, audio, rows=rows)[row_of_target]
        with part("head and loss"):
            return token_logprobs(hidden, self.head_weight, batch.targets.token_ids, temperature=temperature)


def require_model_directory(directory: Path) -> None:
    """Raise a UserError unless `directory` looks like an exported model with its processor."""
    for name, content in (
        ("config.json", "a model configuration"),
        ("tokenizer_config.json", "a tokenizer"),
        ("processor_config.json", "a processor"),
    ):
        if not (directory / name).is_file():
            raise UserError(
                f"expected a model directory with {content}, but {directory / name} does not exist: "
                "give the export/ folder of a finished stage or a downloaded Hugging Face directory"
            )
