"""What a rollout is: sampling parameters in, completions with their log-probabilities out."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from music_flamingo.batch import PackedBatch
from music_flamingo.models.music_language_model import MusicLanguageModel


@dataclass(frozen=True)
class SamplingParameters:
    """How completions are drawn.

    Args:
        max_new_tokens: a completion longer than this is cut.
        temperature: logits are divided by it; 0 takes the likeliest token.
        num_generations: completions per prompt.
    """

    max_new_tokens: int = 96
    temperature: float = 1.0
    num_generations: int = 1

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1 or self.num_generations < 1 or self.temperature < 0:
            raise ValueError(
                f"max_new_tokens and num_generations must be at least 1 and temperature at least 0, got {self}"
            )


@dataclass(frozen=True)
class Completion:
    """One sampled answer.

    Args:
        prompt: segment of the batch it continues.
        token_ids: (length,), with the token that ends the turn if it was reached.
        logprobs: (length,) float32, at the sampling temperature (at 1 for temperature 0).
        entropies: (length,) float32, in nats.
        finished: False when it was cut at `max_new_tokens`.
    """

    prompt: int
    token_ids: Tensor
    logprobs: Tensor
    entropies: Tensor
    finished: bool

    def to(self, device: torch.device | str) -> "Completion":
        ids, logprobs, entropies = (each.to(device) for each in (self.token_ids, self.logprobs, self.entropies))
        return Completion(self.prompt, ids, logprobs, entropies, self.finished)


class RolloutEngine(Protocol):
    """Draws completions for the prompts of a batch."""

    def sample(
        self,
        model: MusicLanguageModel,
        batch: PackedBatch,
        audio: Tensor | None,
        sampling: SamplingParameters,
        end_of_turn: int,
        generator: torch.Generator | None = None,
    ) -> list[Completion]:
        """Completions of every prompt of `batch`, the `num_generations` of a prompt next to each other.

        Args:
            model: whose weights are used; it is not changed.
            batch: a row whose childless segments are prompts.
            audio: (A, D') embeddings of the row's audio.
            sampling: how to draw.
            end_of_turn: token id that ends a completion.
            generator: source of randomness, torch's default when None.

        Raises:
            UserError: a prompt with `max_new_tokens` more is longer than the language model's positions.
        """
        ...


def draw(logits: Tensor, temperature: float, generator: torch.Generator | None) -> tuple[Tensor, Tensor, Tensor]:
    """Next tokens (B,), their log-probabilities (B,) and the entropies (B,) of (B, V) logits.

    One uniform number per row is looked up in the row's cumulative distribution: `torch.multinomial` draws one per row
    and token, which took a third of a rollout's time on a CPU.
    """
    logprobs = (logits.float() / (temperature or 1.0)).log_softmax(-1)
    probabilities = logprobs.exp()
    if temperature == 0:
        tokens = logits.argmax(-1)
    else:
        cumulative = probabilities.cumsum(-1)
        uniform = torch.rand(len(logits), 1, generator=generator, device=logits.device)
        # Scaled by the last sum, which rounding leaves a little off 1, so that no token beyond the last is drawn.
        tokens = torch.searchsorted(cumulative, uniform * cumulative[:, -1:], right=True)[:, 0]
        tokens = tokens.clamp(max=logits.shape[-1] - 1)
    return tokens, logprobs.gather(-1, tokens[:, None])[:, 0], -(probabilities * logprobs).sum(-1)
