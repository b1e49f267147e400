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


def test_a_temperature_flattens_the_prediction() -> None:
    hidden, weight = torch.tensor([[2.0]]), torch.tensor([[1.0], [0.0]])
    logprobs, _ = token_logprobs(hidden, weight, torch.tensor([0]), temperature=2.0)
    torch.testing.assert_close(logprobs, torch.tensor([1.0, 0.0]).log_softmax(0)[:1])


def test_no_targets_give_no_logprobs() -> None:
    logprobs, entropies = token_logprobs(torch.zeros(0, 3), torch.zeros(5, 3), torch.zeros(0, dtype=torch.int64))
    assert logprobs.shape == entropies.shape == (0,)
