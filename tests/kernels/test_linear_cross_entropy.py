import torch
from torch.nn.functional import cross_entropy

from music_flamingo.kernels.linear_cross_entropy import token_logprobs


def test_chunks_give_the_cross_entropy_and_gradients_of_full_logits() -> None:
    torch.manual_seed(0)
    hidden = torch.randn(23, 7, requires_grad=True)
    weight = torch.randn(41, 7, requires_grad=True)
    ids = torch.randint(0, 41, (23,))
    ours, entropies = token_logprobs(hidden, weight, ids, chunk_rows=5)
    expected = -cross_entropy(hidden @ weight.T, ids, reduction="none")
    torch.testing.assert_close(ours, expected)
    for got, want in zip(
        torch.autograd.grad(ours.sum(), (hidden, weight)),
        torch.autograd.grad(expected.sum(), (hidden, weight)),
        strict=True,
    ):
        torch.testing.assert_close(got, want)
    expected_entropy = torch.distributions.Categorical(logits=hidden @ weight.T).entropy()
    torch.testing.assert_close(entropies, expected_entropy.detach())


def test_gradients_are_those_of_full_logits_at_any_temperature() -> None:
    torch.manual_seed(0)
    hidden = torch.randn(5, 3, requires_grad=True)
    weight = torch.randn(4, 3, requires_grad=True)
    ids, scale = torch.randint(0, 4, (5,)), torch.randn(5)
    ours, _ = token_logprobs(hidden, weight, ids, temperature=0.7, chunk_rows=2)
    expected = -cross_entropy(hidden @ weight.T / 0.7, ids, reduction="none")
    for got, want in zip(
        torch.autograd.grad((ours * scale).sum(), (hidden, weight)),
        torch.autograd.grad((expected * scale).sum(), (hidden, weight)),
        strict=True,
    ):
        torch.testing.assert_close(got, want)


def test_autocast_sets_the_precision_of_the_head_and_not_of_the_result() -> None:
    torch.manual_seed(0)
    hidden, weight = torch.randn(6, 8, requires_grad=True), torch.randn(9, 8, requires_grad=True)
    ids = torch.randint(0, 9, (6,))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours, entropies = token_logprobs(hidden, weight, ids)
    rounded = (hidden.bfloat16() @ weight.bfloat16().T).detach().float()
    torch.testing.assert_close(ours, rounded.log_softmax(-1).gather(-1, ids[:, None])[:, 0])
    torch.testing.assert_close(entropies, torch.distributions.Categorical(logits=rounded).entropy())
    ours.sum().backward()
    assert ours.dtype == hidden.grad.dtype == weight.grad.dtype == torch.float32


def test_a_temperature_flattens_the_prediction() -> None:
    hidden, weight = torch.tensor([[2.0]]), torch.tensor([[1.0], [0.0]])
    logprobs, _ = token_logprobs(hidden, weight, torch.tensor([0]), temperature=2.0)
    torch.testing.assert_close(logprobs, torch.tensor([1.0, 0.0]).log_softmax(0)[:1])


def test_no_targets_give_no_logprobs() -> None:
    logprobs, entropies = token_logprobs(torch.zeros(0, 3), torch.zeros(5, 3), torch.zeros(0, dtype=torch.int64))
    assert logprobs.shape == entropies.shape == (0,)
