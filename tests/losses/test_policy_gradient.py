import math

import pytest
import torch
from torch import Tensor

from music_flamingo.errors import UserError
from music_flamingo.losses import (
    DAPOLoss,
    DrGRPOLoss,
    GRPOLoss,
    PolicyLoss,
    clipped_objective,
    group_advantages,
    kl_penalty,
    kl_per_token,
)

NAN = math.nan


class TestGroupAdvantages:
    def test_are_rewards_less_their_mean_over_their_deviation(self) -> None:
        # Mean 2, sample deviation 1.
        assert group_advantages(torch.tensor([[1.0, 2.0, 3.0]])).tolist() == [[-1.0, 0.0, 1.0]]

    def test_without_deviation_are_rewards_less_their_mean(self) -> None:
        advantages = group_advantages(torch.tensor([[0.0, 0.0, 3.0], [1.0, 2.0, 6.0]]), normalize_std=False)
        assert advantages.tolist() == [[-1.0, -1.0, 2.0], [-2.0, -1.0, 3.0]]

    def test_of_a_group_of_equal_rewards_are_zero(self) -> None:
        assert group_advantages(torch.full((2, 5), 0.1)).tolist() == [[0.0] * 5] * 2

    def test_leave_abstentions_out(self) -> None:
        advantages = group_advantages(torch.tensor([[1.0, NAN, 3.0, 2.0]]))
        torch.testing.assert_close(advantages, torch.tensor([[-1.0, 0.0, 1.0, 0.0]]))

    @pytest.mark.parametrize("rewards", [[NAN, NAN, NAN], [NAN, 2.0, NAN]])
    def test_need_two_rewards(self, rewards: list[float]) -> None:
        assert group_advantages(torch.tensor([rewards])).tolist() == [[0.0, 0.0, 0.0]]

    def test_do_not_depend_on_scale_and_offset(self) -> None:
        rewards = torch.rand(4, 5, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(group_advantages(7 * rewards - 3), group_advantages(rewards))

    def test_follow_a_permutation_of_the_group(self) -> None:
        rewards, order = torch.tensor([[0.5, 1.0, 0.0, 2.0]]), [2, 0, 3, 1]
        torch.testing.assert_close(group_advantages(rewards[:, order]), group_advantages(rewards)[:, order])

    @pytest.mark.parametrize("shape", [(3, 1), (3,), (0, 0)])
    def test_refuse_a_group_of_one(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(ValueError, match="G >= 2: a group of one has no baseline"):
            group_advantages(torch.zeros(shape))


class TestClippedObjective:
    def test_takes_the_smaller_of_both_products(self) -> None:
        ratios = torch.tensor([1.5, 1.5, 0.5, 0.5, 1.0])
        advantages = torch.tensor([2.0, -2.0, 2.0, -2.0, 3.0])
        objective, terms = clipped_objective(ratios.log(), torch.zeros(5), advantages, epsilon=0.2)
        torch.testing.assert_close(objective, torch.tensor([2.4, -3.0, 1.0, -1.6, 3.0]))
        assert terms.clipped_share.item() == pytest.approx(2 / 5)
        assert terms.mean_ratio.item() == pytest.approx(1.0)
        logs = [math.log(1.5), math.log(1.5), math.log(0.5), math.log(0.5), 0.0]
        assert terms.approx_kl.item() == pytest.approx((5.0 - 5 - sum(logs)) / 5)

    def test_clips_higher_upwards(self) -> None:
        ratio = torch.tensor([1.25]).log()
        objective, terms = clipped_objective(ratio, torch.zeros(1), torch.ones(1), epsilon=0.2, epsilon_high=0.28)
        assert objective.item() == pytest.approx(1.25)
        assert terms.clipped_share.item() == 0.0

    def test_stays_finite_for_probabilities_that_left_float32(self) -> None:
        objective, _ = clipped_objective(
            torch.tensor([0.0, 0.0]), torch.tensor([-200.0, -200.0]), torch.tensor([0.0, -1.0]), epsilon=0.2
        )
        assert objective.isfinite().all()
        assert objective[0] == 0.0


# Three completions of 1, 3 and 2 tokens.
SEQUENCE_INDEX = torch.tensor([0, 1, 1, 1, 2, 2])
VALUES = torch.tensor([6.0, 1.0, 2.0, 3.0, 4.0, 8.0])


@pytest.mark.parametrize(
    ("loss", "average"),
    [
        (GRPOLoss(), (6 + 2 + 6) / 3),
        (DrGRPOLoss(max_completion_length=4), 24 / (3 * 4)),
        (DAPOLoss(), 24 / 6),
    ],
)
def test_each_loss_averages_in_its_own_way(loss: PolicyLoss, average: float) -> None:
    assert loss.average(VALUES, SEQUENCE_INDEX, 3).item() == pytest.approx(average)


def test_a_completion_without_tokens_counts_as_zero() -> None:
    assert GRPOLoss().average(VALUES, SEQUENCE_INDEX, 4).item() == pytest.approx((6 + 2 + 6) / 4)


def test_at_the_first_update_the_loss_is_minus_the_mean_advantage() -> None:
    logprobs = torch.randn(6, generator=torch.Generator().manual_seed(0))
    advantages = torch.tensor([1.0, -2.0, 3.0])
    loss, terms = GRPOLoss()(logprobs, logprobs.clone(), advantages, SEQUENCE_INDEX)
    assert loss.item() == pytest.approx(-2 / 3)
    assert terms.mean_ratio.item() == 1.0
    assert (terms.clipped_share.item(), terms.approx_kl.item()) == (0.0, 0.0)


def test_the_order_of_the_tokens_does_not_matter() -> None:
    logprobs, old, advantages, index = ragged_example(torch.Generator().manual_seed(1))
    order = torch.randperm(len(index))
    for loss in (GRPOLoss(), DrGRPOLoss(max_completion_length=9), DAPOLoss()):
        torch.testing.assert_close(
            loss(logprobs[order], old[order], advantages, index[order])[0],
            loss(logprobs, old, advantages, index)[0],
        )


def ragged_example(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    lengths = torch.randint(1, 9, (6,), generator=generator)
    index = torch.repeat_interleave(torch.arange(6), lengths)
    old = -torch.rand(len(index), generator=generator)
    logprobs = old + 0.4 * torch.randn(len(index), generator=generator)
    return logprobs.requires_grad_(), old, torch.randn(6, generator=generator), index


def padded_loss(kind: str, logprobs: Tensor, old: Tensor, advantages: Tensor, index: Tensor) -> Tensor:
    """The same losses the long way round, token by token on a padded (B*G, T) rectangle."""
    num_sequences, num_tokens = len(advantages), int(torch.bincount(index).max())
    mask, ratio = torch.zeros(num_sequences, num_tokens), torch.ones(num_sequences, num_tokens)
    filled = [0] * num_sequences
    for token, sequence in enumerate(index.tolist()):
        mask[sequence, filled[sequence]] = 1
        ratio = ratio.index_put(
            (torch.tensor(sequence), torch.tensor(filled[sequence])), torch.exp(logprobs[token] - old[token])
        )
        filled[sequence] += 1
    high = 0.28 if kind == "dapo" else 0.2
    both = torch.stack([ratio * advantages[:, None], ratio.clip(0.8, 1 + high) * advantages[:, None]])
    objective = both.min(dim=0).values * mask
    if kind == "grpo":
        return -(objective.sum(1) / mask.sum(1)).mean()
    return -objective.sum() / (mask.sum() if kind == "dapo" else num_sequences * 9)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("kind", "loss"),
    [("grpo", GRPOLoss()), ("dr_grpo", DrGRPOLoss(max_completion_length=9)), ("dapo", DAPOLoss())],
)
def test_value_and_gradient_equal_those_on_a_padded_rectangle(kind: str, loss: PolicyLoss, seed: int) -> None:
    logprobs, old, advantages, index = ragged_example(torch.Generator().manual_seed(seed))
    expected = padded_loss(kind, logprobs, old, advantages, index)
    actual, terms = loss(logprobs, old, advantages, index)
    torch.testing.assert_close(actual, expected)
    torch.testing.assert_close(*(torch.autograd.grad(value, logprobs)[0] for value in (actual, expected)))
    assert 0.0 < terms.clipped_share.item() < 1.0


def test_clipped_tokens_have_no_gradient() -> None:
    logprobs = torch.tensor([2.0, 0.0], requires_grad=True)
    GRPOLoss()(logprobs, torch.zeros(2), torch.ones(1), torch.zeros(2, dtype=torch.long))[0].backward()
    assert logprobs.grad.tolist() == [0.0, -0.5]


def test_half_precision_is_computed_in_float32() -> None:
    logprobs = torch.tensor([-1.0, -2.0], dtype=torch.bfloat16)
    loss, _ = GRPOLoss()(logprobs, logprobs, torch.ones(1), torch.zeros(2, dtype=torch.long))
    assert loss.dtype == torch.float32


@pytest.mark.parametrize("loss", [GRPOLoss(), DrGRPOLoss(max_completion_length=9), DAPOLoss()])
def test_no_tokens_give_no_loss(loss: PolicyLoss) -> None:
    empty = torch.zeros(0, requires_grad=True)
    value, terms = loss(empty, empty, torch.zeros(3), torch.zeros(0, dtype=torch.long))
    assert value.item() == 0.0
    assert terms.mean_ratio.item() == 0.0


def test_kl_is_the_k3_estimator() -> None:
    # ref/new probability 2: 2 - 1 - ln 2; 1/2: 1/2 - 1 + ln 2; equal: 0.
    ref = torch.tensor([2.0, 0.5, 1.0]).log()
    expected = torch.tensor([1 - math.log(2), math.log(2) - 0.5, 0.0])
    torch.testing.assert_close(kl_per_token(torch.zeros(3), ref), expected)


def test_kl_penalty_averages_as_grpo_does() -> None:
    ref = torch.tensor([2.0, 2.0, 0.5]).log()
    penalty = kl_penalty(torch.zeros(3), ref, torch.tensor([0, 1, 1]))
    high, low = 1 - math.log(2), math.log(2) - 0.5
    assert penalty.item() == pytest.approx((high + (high + low) / 2) / 2)


def test_kl_penalty_does_not_count_completions_without_tokens() -> None:
    ref = torch.tensor([2.0, 2.0]).log()
    assert kl_penalty(torch.zeros(2), ref, torch.tensor([1, 3])).item() == pytest.approx(1 - math.log(2))


def test_kl_penalty_pulls_towards_the_reference() -> None:
    logprobs = torch.tensor([-1.0], requires_grad=True)
    kl_penalty(logprobs, torch.tensor([-2.0]), torch.tensor([0])).backward()
    assert logprobs.grad.item() > 0


@pytest.mark.parametrize(("epsilon", "epsilon_high"), [(0.0, None), (1.0, None), (-0.1, None), (0.2, 0.0)])
def test_an_empty_clipping_range_is_refused(epsilon: float, epsilon_high: float | None) -> None:
    with pytest.raises(UserError, match="GRPOLoss: epsilon must lie between 0 and 1 and epsilon_high above 0"):
        GRPOLoss(epsilon=epsilon, epsilon_high=epsilon_high)


def test_a_completion_length_of_zero_is_refused() -> None:
    with pytest.raises(UserError, match="max_completion_length must be 1 or more, not 0"):
        DrGRPOLoss(max_completion_length=0)


@pytest.mark.parametrize(
    ("old", "advantages", "index"), [((5,), (3,), (6,)), ((6,), (1, 3), (6,)), ((6,), (3,), (2, 3))]
)
def test_vectors_that_do_not_fit_are_refused(old, advantages, index) -> None:
    with pytest.raises(ValueError, match=r"expected vectors: logprobs, old_logprobs and sequence_index \(L,\)"):
        GRPOLoss()(torch.zeros(6), torch.zeros(old), torch.zeros(advantages), torch.zeros(index, dtype=torch.long))


def test_a_recipe_names_the_loss() -> None:
    from jsonargparse import ArgumentParser  # noqa: PLC0415  needed here alone

    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--loss", type=PolicyLoss)
    recipe = {"class_path": "music_flamingo.losses.DrGRPOLoss", "init_args": {"max_completion_length": 40}}
    loss = parser.instantiate(parser.parse_object({"loss": recipe})).loss
    assert loss == DrGRPOLoss(epsilon=0.2, max_completion_length=40)
