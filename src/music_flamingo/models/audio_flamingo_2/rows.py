"""Audio Flamingo 2 on packed rows: songs are heard by cross-attention, and take no place among the tokens."""

import torch
from torch import Tensor, nn

from music_flamingo.batch import AudioWindows, PackedBatch
from music_flamingo.errors import UserError
from music_flamingo.kernels import PrefixAttention
from music_flamingo.models.audio_flamingo_2.af_clap_rows import load_af_clap
from music_flamingo.models.audio_flamingo_2.model import AudioFlamingo2ForConditionalGeneration
from music_flamingo.models.audio_flamingo_2.row_audio import RowAudio
from music_flamingo.models.audio_flamingo_2.window_features import heard_tokens, kept_windows
from music_flamingo.models.encoder_cache import EncoderCache
from music_flamingo.models.model_directory import load_weights
from music_flamingo.models.music_language_model import MusicLanguageModel
from music_flamingo.step_parts import part


class AudioFlamingo2(MusicLanguageModel):
    """An Audio Flamingo 2 that reads packed rows.

    Args:
        pretrained: Hugging Face directory of the weights to start from.
        clap: directory of an AF-CLAP, whose trained encoder takes the place of the one in `pretrained`.
        encoder_cache: keeps what the frozen encoder gives; None encodes each time.
        recompute_above: tokens of a row above which the language model's feed-forward networks are computed again in
            the backward pass; None never does.
        recompute_layers_above: tokens of a row above which all of its layers is; None never does.
        attention: over packed rows; None takes the fastest on the device.

    Raises:
        UserError: `pretrained` is not a directory holding an Audio Flamingo 2 with its processor, or `clap` none
            holding an AF-CLAP with an encoder of the same sizes.
    """

    shares_rows = False

    def __init__(
        self,
        pretrained: str,
        clap: str | None = None,
        encoder_cache: EncoderCache | None = None,
        recompute_above: int | None = None,
        recompute_layers_above: int | None = None,
        attention: PrefixAttention | None = None,
    ) -> None:
        network = load_weights(AudioFlamingo2ForConditionalGeneration, pretrained)
        if clap is not None:
            _replace_encoder(network.model.audio_tower, clap, pretrained)
        super().__init__(network, recompute_above, recompute_layers_above, attention)
        self.started_from += (clap,) if clap is not None else ()
        self.encoder_cache = encoder_cache

    @property
    def audio_width(self) -> int:
        return int(self.network.config.audio_width)

    def audio_features(self, windows: AudioWindows) -> Tensor:
        """(64 W, D) AF-CLAP features of all windows, one behind the other, those of padding among them."""
        with part("audio encoder"):
            encoded = kept_windows(self.network.model.audio_tower, windows, self.encoder_cache)
        self.windows_encoded += len(windows)
        return encoded.flatten(0, 1)

    def project(self, features: Tensor, batch: PackedBatch) -> Tensor:
        """(64 W, D) audio tokens: those of a song have heard one another."""
        with part("audio transform"):
            output = torch.empty_like(features)
            rows, masks = self._rows_of_roots(batch)
            for length in {len(each) for each in rows} - {0}:
                songs = [number for number, each in enumerate(rows) if len(each) == length]
                places = torch.stack([rows[number] for number in songs])
                mask = torch.stack([masks[number] for number in songs])
                heard = self.network.model.audio_transform(features[places], mask)
                output = output.index_copy(0, places.flatten(), heard.flatten(0, 1))
            return output

    def song_embeddings(self, batch: PackedBatch) -> list[Tensor]:
        tokens = self.encode_audio(batch)
        return [tokens[rows[mask]] for rows, mask in zip(*self._rows_of_roots(batch), strict=True)]

    def embed_row(self, batch: PackedBatch, audio: Tensor | None) -> Tensor:
        return self.embed_tokens(batch.input_ids)

    def heard_audio(self, batch: PackedBatch, audio: Tensor | None) -> RowAudio | None:
        if audio is None:
            return None
        rows = [rows[mask] for rows, mask in zip(*self._rows_of_roots(batch), strict=True)]
        return RowAudio(batch, audio, rows)

    def generation_inputs(self, windows: AudioWindows) -> dict[str, Tensor]:
        return {name: each[None] for name, each in super().generation_inputs(windows).items()}

    @staticmethod
    def _rows_of_roots(batch: PackedBatch) -> tuple[list[Tensor], list[Tensor]]:
        """Of each root the places (K,) of its audio tokens among the row's, and (K,) which of them are heard."""
        if batch.audio is None:
            nothing = torch.zeros(0, dtype=torch.int64, device=batch.input_ids.device)
            return [nothing] * len(batch.window_counts), [nothing.bool()] * len(batch.window_counts)
        mask = heard_tokens(batch.audio.lengths, batch.audio.features.shape[-1])
        rows = torch.arange(mask.numel(), device=mask.device).view_as(mask)
        counts = list(batch.window_counts)
        return [r.flatten() for r in rows.split(counts)], [m.flatten() for m in mask.split(counts)]


def _replace_encoder(encoder: nn.Module, clap: str, pretrained: str) -> None:
    """Give an encoder the weights of AF-CLAP's."""
    trained, present = load_af_clap(clap).audio_tower.state_dict(), encoder.state_dict()
    shapes, expected = ({name: tuple(each.shape) for name, each in state.items()} for state in (trained, present))
    if shapes != expected:
        name = next(name for name in {**expected, **shapes} if shapes.get(name) != expected.get(name))
        raise UserError(
            f"clap: expected an encoder of the sizes in {pretrained}, {name} {expected.get(name)}, got "
            f"{shapes.get(name)} in {clap}: give an AF-CLAP of the same sizes"
        )
    encoder.load_state_dict(trained)
