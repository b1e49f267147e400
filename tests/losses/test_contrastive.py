import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from music_flamingo.losses import (
    GatheredCaptions,
    compositional_contrastive_loss,
    gathered_captions,
)

from .contrastive_ranks import CLIPS, SHARES, Towers, gradients, joined_batch


def test_equal_embeddings_cost_the_logarithm_of_the_batch() -> None:
    clips = torch.ones(4, 3) / math.sqrt(3)
    assert compositional_contrastive_loss(clips, clips[:, None]).item() == pytest.approx(math.log(4))


def test_orthogonal_pairs_cost_what_the_temperature_says() -> None:
    # Similarities 1 and 0 over temperature 1/2: -log(e^2 / (e^2 + 1)).
    loss = compositional_contrastive_loss(torch.eye(2), torch.eye(2)[:, None], temperature=0.5)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-2)))


def test_each_clip_is_compared_with_all_captions() -> None:
    audio, text = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    # First clip: similarities (1, 1); second: (0, 0). Both cost log 2; the other direction would not.
    assert compositional_contrastive_loss(audio, text[:, None], None, 1.0).item() == pytest.approx(math.log(2))
    assert compositional_contrastive_loss(text, audio[:, None], None, 1.0).item() != pytest.approx(math.log(2))


def unit(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    vectors = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return normalize(vectors, dim=-1).to(dtype)


def by_definition(audio: Tensor, positives: Tensor, negatives: Tensor | None, temperature: float, offset: int) -> float:
    """The printed formula, one exponential after the other."""

    def s(u: Tensor, v: Tensor) -> float:
        return math.exp(float(u @ v) / temperature)

    total = 0.0
    for i, clip in enumerate(audio):
        sums = [sum(s(caption, clip) for caption in captions) for captions in positives]
        wrong = 0.0 if negatives is None else sum(s(text, clip) for group in negatives[i] for text in group)
        total -= math.log(sums[offset + i] / (wrong + sum(sums)))
    return total / len(audio)


@pytest.mark.parametrize("offset", [0, 3])
@pytest.mark.parametrize("num_negatives", [None, 1, 3])
@pytest.mark.parametrize("num_positives", [1, 3])
def test_the_loss_is_the_printed_formula(num_positives: int, num_negatives: int | None, offset: int) -> None:
    audio, positives = unit(4, 6, seed=1), unit(7, num_positives, 6, seed=2)
    negatives = None if num_negatives is None else unit(4, num_positives, num_negatives, 6, seed=3)
    loss = compositional_contrastive_loss(audio, positives, negatives, 0.3, offset)
    assert loss.dtype == torch.float64
    assert loss.item() == pytest.approx(by_definition(audio, positives, negatives, 0.3, offset), rel=1e-12)


def test_two_captions_and_their_negatives_by_hand() -> None:
    # One clip (1, 0). Captions at cosine 1 and 0, negatives at 0, 0, -1, -1; temperature 1:
    # -log((e + 1) / (e + 1 + 1 + 1 + 1/e + 1/e))
    audio = torch.tensor([[1.0, 0.0]])
    positives = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    negatives = torch.tensor([[[[0.0, 1.0], [0.0, -1.0]], [[-1.0, 0.0], [-1.0, 0.0]]]])
    expected = -math.log((math.e + 1) / (math.e + 3 + 2 / math.e))
    assert compositional_contrastive_loss(audio, positives, negatives, 1.0).item() == pytest.approx(expected)


def test_negatives_count_only_against_their_own_clip() -> None:
    audio, positives, negatives = unit(2, 5), unit(2, 3, 5, seed=1), unit(2, 3, 2, 5, seed=2)
    one_by_one = [
        compositional_contrastive_loss(audio[i : i + 1], positives, negatives[i : i + 1], 0.1, offset=i)
        for i in range(2)
    ]
    both = compositional_contrastive_loss(audio, positives, negatives, 0.1)
    torch.testing.assert_close(both, torch.stack(one_by_one).mean())
    swapped = compositional_contrastive_loss(audio, positives, negatives.flip(0), 0.1)
    assert swapped.item() != pytest.approx(both.item())


def test_one_caption_without_negatives_is_the_loss_of_clip() -> None:
    audio, text = unit(6, 8), unit(6, 8, seed=1)
    loss = compositional_contrastive_loss(audio, text[:, None], temperature=0.05)
    torch.testing.assert_close(loss, cross_entropy(audio @ text.T / 0.05, torch.arange(6)))


def test_nothing_overflows_at_the_lowest_temperature() -> None:
    # Opposite to its own captions and equal to the other's: 2 / 0.01 + log 2 nats, and exp(200) is no float32.
    audio = torch.tensor([[1.0, 0.0], [-1.0, 0.0]]).requires_grad_()
    positives = torch.stack([-audio.detach(), -audio.detach()], dim=1)
    negatives = audio.detach()[:, None, None].expand(2, 2, 1, 2)
    loss = compositional_contrastive_loss(audio, positives, negatives, 0.01)
    assert loss.item() == pytest.approx(200 + math.log(2), rel=1e-6)
    loss.backward()
    assert audio.grad is not None
    assert audio.grad.isfinite().all()


def test_gradients_are_those_of_small_steps() -> None:
    audio, positives, negatives = unit(3, 4), unit(5, 2, 4, seed=1), unit(3, 2, 2, 4, seed=2)
    inputs = [each.requires_grad_() for each in (audio, positives, negatives, torch.tensor(0.2, dtype=torch.float64))]
    assert torch.autograd.gradcheck(lambda *each: compositional_contrastive_loss(*each, offset=2), inputs)


def test_autocast_does_not_round_the_similarities() -> None:
    audio, positives, negatives = (unit(*shape, dtype=torch.float32) for shape in ((8, 16), (8, 3, 16), (8, 3, 3, 16)))
    expected = compositional_contrastive_loss(audio, positives, negatives, 0.01)
    with torch.autocast("cpu", torch.bfloat16):
        assert compositional_contrastive_loss(audio, positives, negatives, 0.01) == expected
    half = compositional_contrastive_loss(audio.bfloat16(), positives.bfloat16(), None, 0.01)
    assert half.dtype == torch.float32


@pytest.mark.parametrize(
    ("audio", "positives", "negatives", "offset", "message"),
    [
        ((2, 3), (2, 3), None, 0, r"expected audio \(B, D\) and positives \(C, P, D\), got \(2, 3\), \(2, 3\)"),
        ((2, 3), (2, 1, 4), None, 0, r"got \(2, 3\), \(2, 1, 4\)"),
        ((2, 3), (2, 2, 3), (2, 1, 1, 3), 0, r"negatives \(B, P, N, D\) = \(2, 2, N, 3\), got \(2, 1, 1, 3\)"),
        ((2, 3), (2, 2, 3), (2, 2, 3), 0, r"got \(2, 2, 3\)"),
        ((2, 3), (3, 1, 3), None, 2, "2 clips from 2 on have no captions among those of 3 clips"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(
    audio: tuple[int, ...], positives: tuple[int, ...], negatives: tuple[int, ...] | None, offset: int, message: str
) -> None:
    given = None if negatives is None else torch.ones(negatives)
    with pytest.raises(ValueError, match=message):
        compositional_contrastive_loss(torch.ones(audio), torch.ones(positives), given, offset=offset)


def test_a_temperature_below_zero_is_refused_with_negatives_too() -> None:
    with pytest.raises(ValueError, match=r"temperature must be above 0, not -0\.1"):
        compositional_contrastive_loss(torch.ones(1, 2), torch.ones(1, 1, 2), temperature=-0.1)


@pytest.mark.parametrize("num_ranks", [None, 1, 3])
def test_captions_are_gathered_in_the_order_of_ranks(num_ranks: int | None) -> None:
    captions = torch.arange(12.0).reshape(2, 3, 2)

    def all_gather(tensor: Tensor) -> Tensor:
        """As Lightning's: without an axis for ranks where there is one process."""
        shift = 100 * tensor.is_floating_point()  # every rank counts alike
        return tensor if num_ranks is None else torch.stack([tensor + shift * rank for rank in range(num_ranks)])

    rank = (num_ranks or 1) - 1
    everyone, offset, num_clips = gathered_captions(captions, all_gather, rank)
    assert everyone.shape == (2 * (num_ranks or 1), 3, 2)
    assert torch.equal(everyone[offset : offset + 2], captions + 100 * rank)
    assert num_clips == 2


def test_what_a_rank_with_fewer_clips_is_padded_with_is_no_caption() -> None:
    everyones = [unit(2, 3, 4), unit(0, 3, 4), unit(3, 3, 4, seed=1)]
    counts = torch.tensor([[len(each)] for each in everyones])

    def all_gather(tensor: Tensor) -> list[Tensor]:
        if not tensor.is_floating_point():
            return list(counts)
        padding = torch.full((3, 3, 4), torch.nan, dtype=tensor.dtype)
        return [torch.cat([each, padding])[: len(tensor)] for each in everyones]

    for rank, offset in enumerate((0, 2, 2)):
        gathered = gathered_captions(everyones[rank], all_gather, rank)
        assert torch.equal(gathered.positives, torch.cat(everyones))
        assert gathered.offset == offset
        assert gathered.num_clips == pytest.approx(5 / 3)


def test_a_rank_without_clips_costs_nothing_and_has_a_gradient_of_zeros() -> None:
    audio, everyone = unit(0, 4).requires_grad_(), unit(5, 2, 4).requires_grad_()
    loss = compositional_contrastive_loss(audio, everyone, unit(0, 2, 3, 4), 0.1, offset=5, num_clips=2.5)
    loss.backward()
    assert loss == 0
    assert everyone.grad is not None
    assert not everyone.grad.any()


def test_two_processes_have_the_gradient_of_one_on_the_joined_batch(tmp_path: Path) -> None:
    script = [sys.executable, str(Path(__file__).with_name("contrastive_ranks.py")), str(tmp_path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    ranks = [subprocess.Popen([*script, str(rank)], env=environment, stderr=subprocess.PIPE) for rank in range(2)]
    try:
        for process in ranks:
            _, complaints = process.communicate(timeout=120)
            assert process.returncode == 0, complaints.decode()
    finally:
        for process in ranks:
            process.kill()
    expected = gradients(Towers(), joined_batch(), lambda captions: GatheredCaptions(captions, 0, CLIPS))
    assert len(expected) == 5
    ways = [f"{gather}{share}{rank}" for gather in ("torch", "lightning") for share in SHARES for rank in range(2)]
    for written in ways:
        found = load_file(tmp_path / f"{written}.safetensors")
        assert found.keys() == expected.keys()
        for name, gradient in expected.items():
            torch.testing.assert_close(found[name], gradient, rtol=1e-10, atol=1e-12)
