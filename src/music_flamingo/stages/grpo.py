"""Group relative policy optimisation.

Sample a group of answers per question, reinforce those better than the group's mean.

Where this differs from the paper (arXiv:2511.10289, section 3.4), or the paper is silent:
1. The questions of one song share its audio tokens, and the completions of a question share the question's: one
   encoding and one prefill per song in the rollout, one forward and backward per row in the update.
2. beta, epsilon, temperature and completion length are not given there: they are the recipe's.
3. At the first update after a rollout the trainer's log-probabilities must equal the rollout's, up to rounding; a
   difference stops the run.

Input   `music_flamingo.batch.PackedBatch` of prompts
Trains  whatever `freeze` does not name; the reference is the model the stage started from
Logs    train/loss, train/reward, train/rewards/<name>{,_std,_zero_spread}, train/completion_tokens{,_max},
        train/cut_share, train/clip_share, train/entropy, train/kl, train/rollout_difference, train/listening_gap
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from music_flamingo.batch import PackedBatch
from music_flamingo.errors import UserError
from music_flamingo.losses import GRPOLoss, PolicyLoss, group_advantages, kl_penalty
from music_flamingo.models import MusicLanguageModel
from music_flamingo.models.lora import only_adapters_train, without_adapters
from music_flamingo.rewards import Reference, WeightedReward, combined_reward
from music_flamingo.rollout import Completion, SamplingParameters
from music_flamingo.rollout.rows import on_other_songs, with_completions
from music_flamingo.stages.answering import AnsweringModule, EvaluationPass
from music_flamingo.stages.optimization import CosineSchedule, OptimizerCallable, Schedule
from music_flamingo.step_parts import part
from music_flamingo.strategies.context_parallel import ContextParallel
from music_flamingo.strategies.dividing import DividingStrategy

ZERO_SPREAD = 1e-6
"""Standard deviation below which all rewards of a group count as equal."""

ROLLOUT_TOLERANCES = {"32-true": 1e-3, "bf16-mixed": 1.0}
"""Nats, by trainer.precision. Rounding depends on what is computed together: of 2,100 tokens of a trained tiny model it
moved one by 0.12 in bfloat16, and all by 0.002 on average; hearing another song moved them by 6.6 and 0.3."""


@dataclass(frozen=True)
class _Rollout:
    """What was sampled, as the updates need it.

    Attributes:
        row: prompts with their completions.
        features: (A, D) of the frozen encoder; None when it trains too.
        logprobs: (T,) when sampled.
        advantages: (B G,).
        sequence_index: (T,) completion of each token.
        weight: of its loss among those of other rows and ranks.
    """

    row: PackedBatch
    features: Tensor | None
    logprobs: Tensor
    advantages: Tensor
    sequence_index: Tensor
    weight: float


class GRPOModule(AnsweringModule):
    """GRPO with clipped ratios and an optional penalty for leaving the reference model.

    Args:
        model: the policy.
        optimizer: called with the trainable parameters.
        rewards: what is reinforced, each with its weight.
        sampling: of the rollouts; `num_generations` is the group size.
        policy_loss: the objective (GRPO, Dr. GRPO or DAPO).
        beta: weight of the KL penalty; 0 keeps no reference model.
        normalize_std: divide advantages by their group's standard deviation; False with Dr. GRPO.
        num_updates: optimizer steps per rollout.
        rows_per_step: rows that are sampled, on each rank, before an optimizer step is taken on all of them.
        gradient_clip: largest gradient norm.
        rollout_tolerance: largest difference of log-probabilities between rollout and trainer at the first update, in
            nats; None takes 1e-3 for trainer.precision 32-true and 1 for bf16-mixed.
        listening_every: steps between two measurements of the listening gap; 0 never measures it.
        freeze: regular expressions over parameter names.
        schedule: of the learning rate.
        evaluation: how `music-flamingo test` lets the model answer.

    Raises:
        UserError: no rewards, or a group of fewer than two.
    """

    def __init__(
        self,
        model: MusicLanguageModel,
        optimizer: OptimizerCallable,
        rewards: Sequence[WeightedReward],
        sampling: SamplingParameters = SamplingParameters(num_generations=5),  # noqa: B008  frozen
        policy_loss: PolicyLoss = GRPOLoss(),  # noqa: B008  frozen
        beta: float = 0.0,
        normalize_std: bool = True,
        num_updates: int = 1,
        rows_per_step: int = 1,
        gradient_clip: float = 1.0,
        rollout_tolerance: float | None = None,
        listening_every: int = 20,
        freeze: Sequence[str] = (),
        schedule: Schedule = CosineSchedule(),  # noqa: B008  holds one number
        evaluation: Sequence[EvaluationPass] = (),
    ) -> None:
        super().__init__(model, optimizer, freeze, schedule, evaluation, rewards)
        if not rewards:
            raise UserError("model.rewards: expected at least one reward, got none: name them in the recipe")
        if sampling.num_generations <= 1:
            raise UserError(
                f"model.sampling.num_generations: expected a group of at least 2, got {sampling.num_generations}"
            )
        self.automatic_optimization = False
        self.sampling = sampling
        self.policy_loss = policy_loss
        self.beta = beta
        self.normalize_std = normalize_std
        self.num_updates = num_updates
        self.rows_per_step = rows_per_step
        self.gradient_clip = gradient_clip
        self.rollout_tolerance = rollout_tolerance
        self.listening_every = listening_every
        self._rollouts: list[_Rollout] = []
        # Where adapters alone train, the model without them is the reference, and needs no memory.
        # In a list, so that the reference is neither trained nor written into checkpoints.
        self._reference = [_frozen_copy(model)] if beta and not only_adapters_train(model.network) else []

    def configure_model(self) -> None:
        super().configure_model()
        if isinstance(self.trainer.strategy, DividingStrategy) and self._reference:
            self.trainer.strategy.divide(self._reference[0])

    def on_fit_start(self) -> None:
        super().on_fit_start()
        self.eval()  # rollout and update are to be the same policy: dropout would tell them apart

    def training_step(self, batch: PackedBatch, batch_idx: int) -> None:
        features = self._features(batch)
        completions = self._rollout(batch, features)
        rewards = self._rewards(batch, completions)  # (B, G) per reward, NaN where it abstains
        total = self._total(rewards)  # (B, G)
        advantages = group_advantages(total, normalize_std=self.normalize_std).flatten().to(self.device)  # (B G,)
        row, sequence_index = with_completions(batch, completions, self.model.audio_token_id)
        old_logprobs = torch.cat([c.logprobs for c in completions])  # (T,)
        self._log_rollout(completions, rewards, total)
        weight = 0.0 if batch.idle else self.policy_loss.weight(len(completions), len(old_logprobs))
        self._rollouts.append(
            _Rollout(row.to(self.device), features, old_logprobs, advantages, sequence_index.to(self.device), weight)
        )
        if len(self._rollouts) < self.rows_per_step:
            return
        self._learn(self._rollouts)
        self._rollouts = []
        if self.listening_every and self.global_step % self.listening_every < self.num_updates:
            self._log_listening_gap(batch, total)

    def _features(self, batch: PackedBatch) -> Tensor | None:
        """(A, D) encoder outputs, computed once for rollout and updates; None when the encoder trains too."""
        tower = self.model.network.model.audio_tower
        if batch.audio is None or any(p.requires_grad for p in tower.parameters()):
            return None
        with torch.no_grad():
            return self.model.audio_features(batch.audio)

    def _embeddings(self, batch: PackedBatch, features: Tensor | None) -> Tensor | None:
        """(A, D') audio embeddings of a row."""
        if batch.audio is None:
            return None
        return self.model.encode_audio(batch) if features is None else self.model.project(features, batch)

    def _rollout(self, batch: PackedBatch, features: Tensor | None) -> list[Completion]:
        """B G completions, a prompt's G next to each other."""
        with torch.no_grad(), self.whole_weights(), part("rollout"):
            completions = self.sample(batch, self.sampling, self._embeddings(batch, features))
        if not isinstance(self.trainer.strategy, ContextParallel):
            return completions
        # Ranks that share a row have drawn from the same numbers, but a device may round another way.
        agreed = self.trainer.strategy.of_first([each.to("cpu") for each in completions])
        return [each.to(self.device) for each in agreed]

    @part("rewards")
    def _rewards(self, batch: PackedBatch, completions: Sequence[Completion]) -> dict[str, Tensor]:
        """(B, G) of each reward, NaN where it abstains."""
        scores: dict[str, list[float]] = {weighted.reward.name: [] for weighted in self.rewards}
        references: dict[int, Reference] = {}
        for completion in completions:
            example = batch.examples[completion.prompt]
            if completion.prompt not in references:
                references[completion.prompt] = Reference.from_conversation(example["conversation"], example["custom"])
            text = self.chat.decode(completion.token_ids)
            for weighted in self.rewards:
                score = weighted.reward(text, references[completion.prompt])
                scores[weighted.reward.name].append(float("nan") if score is None else score)
        group = len(completions) // len(references)
        return {name: torch.tensor(values).view(-1, group) for name, values in scores.items()}

    def _total(self, rewards: dict[str, Tensor]) -> Tensor:
        """(B, G) weighted sum of the rewards that apply."""
        weights = {weighted.reward.name: weighted.weight for weighted in self.rewards}
        names = list(rewards)
        flat = torch.stack([rewards[name].flatten() for name in names], 1).tolist()
        totals = [
            combined_reward({n: None if v != v else v for n, v in zip(names, row, strict=True)}, weights)  # noqa: PLR0124
            for row in flat
        ]
        return torch.tensor(totals).view_as(rewards[names[0]])

    def _reference_logprobs(self, rollout: "_Rollout") -> Tensor | None:
        """(T,) log-probabilities under the reference model, which the updates do not change; None without a penalty."""
        if not self.beta:
            return None
        with torch.no_grad(), part("reference"), self._reference_model() as reference:
            # A frozen encoder is the reference's too.
            temperature = self.sampling.temperature or 1.0
            return reference.target_logprobs(rollout.row, rollout.features, temperature=temperature)[0]

    @contextmanager
    def _reference_model(self) -> Iterator[MusicLanguageModel]:
        """The model that the stage started from."""
        if self._reference:
            yield self._reference[0].to(self.device)
        else:
            with without_adapters(self.model.network):
                yield self.model

    def _learn(self, rollouts: Sequence["_Rollout"]) -> None:
        """Optimizer steps on what was sampled; ranks and rows count by what the loss is a mean over."""
        trainer: Any = self.trainer  # Lightning does not declare the attribute
        weight = torch.tensor(sum(rollout.weight for rollout in rollouts), device=self.device)
        mean_weight = trainer.strategy.reduce(weight, reduce_op="mean").clamp(min=1e-9)
        references = [self._reference_logprobs(rollout) for rollout in rollouts]
        for update in range(self.num_updates):
            with part("update"):
                self._optimizer.zero_grad()
                for rollout, reference_logprobs in zip(rollouts, references, strict=True):
                    loss = self._loss(rollout, reference_logprobs, first=update == 0)
                    self.manual_backward(loss * rollout.weight / mean_weight)
                self._step()

    def _loss(self, rollout: "_Rollout", reference_logprobs: Tensor | None, *, first: bool) -> Tensor:
        """Of one row."""
        temperature = self.sampling.temperature or 1.0
        logprobs, entropy = self.model.target_logprobs(rollout.row, rollout.features, temperature=temperature)
        if first:
            self._check_rollout(logprobs.detach(), rollout.logprobs)
        loss, terms = self.policy_loss(logprobs, rollout.logprobs, rollout.advantages, rollout.sequence_index)
        if reference_logprobs is not None:
            penalty = kl_penalty(logprobs, reference_logprobs, rollout.sequence_index)
            loss = loss + self.beta * penalty
            self.log("train/kl", penalty.detach(), batch_size=1)
        values = {
            "train/loss": loss.detach(),
            "train/entropy": entropy.mean(),
            "train/clip_share": terms.clipped_share,
        }
        self.log_dict(values, batch_size=1)
        return loss

    @property
    def _optimizer(self) -> Any:
        return self.optimizers()

    def _step(self) -> None:
        torch.nn.utils.clip_grad_norm_([p for p in self.model.parameters() if p.grad is not None], self.gradient_clip)
        self._optimizer.step()
        self.lr_schedulers().step()  # type: ignore[union-attr]

    def _check_rollout(self, logprobs: Tensor, old_logprobs: Tensor) -> None:
        difference = float((logprobs - old_logprobs).abs().max())
        self.log("train/rollout_difference", difference, batch_size=1)
        tolerance = self.rollout_tolerance
        if tolerance is None:
            tolerance = ROLLOUT_TOLERANCES[self.trainer.precision]
        if not difference <= tolerance:
            raise RuntimeError(
                f"rollout and trainer disagree on the same tokens by {difference:.2e} nats at step {self.global_step}, "
                f"more than rollout_tolerance={tolerance:g}: they do not run the same model on the same "
                "audio"
            )

    def _log_rollout(self, completions: Sequence[Completion], rewards: dict[str, Tensor], total: Tensor) -> None:
        lengths = torch.tensor([float(len(c.token_ids)) for c in completions])
        self.log("train/reward", total.nanmean(), batch_size=1, prog_bar=True)
        self.log("train/completion_tokens", lengths.mean(), batch_size=1)
        self.log("train/completion_tokens_max", lengths.max(), batch_size=1)
        self.log("train/cut_share", sum(not c.finished for c in completions) / len(completions), batch_size=1)
        for name, values in {**{f"rewards/{n}": v for n, v in rewards.items()}, "reward": total}.items():
            scored = values[~values.isnan().any(1)]
            if not len(scored):
                continue
            self.log(f"train/{name}_std", scored.std(1).mean(), batch_size=1)
            self.log(f"train/{name}_zero_spread", (scored.std(1) < ZERO_SPREAD).float().mean(), batch_size=1)
            if name != "reward":
                self.log(f"train/{name}", scored.mean(), batch_size=1)

    @part("listening gap")
    def _log_listening_gap(self, batch: PackedBatch, total: Tensor) -> None:
        """Mean reward on each question's own song minus that on another song."""
        other = on_other_songs(batch, self.model.audio_token_id)
        sampling = SamplingParameters(self.sampling.max_new_tokens, self.sampling.temperature)
        with self.whole_weights():
            completions = self.sample(other, sampling)
        deaf = self._total(self._rewards(batch, completions))
        self.log("train/listening_gap", total.nanmean() - deaf.nanmean(), batch_size=1)

    def validation_step(self, batch: PackedBatch, batch_idx: int) -> None:
        completions = self.sample(batch, SamplingParameters(self.sampling.max_new_tokens, self.sampling.temperature))
        rewards = self._rewards(batch, completions)
        self.log("val/reward", self._total(rewards).nanmean(), batch_size=len(completions), sync_dist=True)
        for name, values in rewards.items():
            if not values.isnan().all():
                self.log(f"val/rewards/{name}", values.nanmean(), batch_size=len(completions), sync_dist=True)


def _frozen_copy(model: MusicLanguageModel) -> MusicLanguageModel:
    return copy.deepcopy(model).requires_grad_(False).eval()
