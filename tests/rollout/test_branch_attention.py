import torch

from music_flamingo.batch import PrefixTree
from music_flamingo.models.attention import TreeAttention
from music_flamingo.rollout import SamplingParameters
from music_flamingo.rollout.branch_attention import BranchAttention, RecordingAttention

HEADS, KV_HEADS, WIDTH, SCALING = 6, 2, 4, 0.4
# Three questions on a song of five tokens, one below an earlier turn on a song of three, and a prompt without a song.
TREE = PrefixTree(parents=(-1, 0, 0, 0, -1, 4, 5, -1), lengths=(5, 2, 4, 1, 3, 2, 2, 3))
PROMPTS = [1, 2, 3, 6, 7]
SAMPLING = SamplingParameters(max_new_tokens=4, num_generations=2)


def attended(query, keys, values):
    """(H, D) by the definition of attention, for one token that sees all of `keys` (H', n, D)."""
    groups = HEADS // KV_HEADS
    weights = (query[:, None] * keys.repeat_interleave(groups, 0)).sum(-1).mul(SCALING).softmax(-1)
    return (weights[..., None] * values.repeat_interleave(groups, 0)).sum(1)


def test_each_branch_sees_its_song_its_prompt_and_itself_also_after_others_have_ended() -> None:
    draw = torch.Generator().manual_seed(0)
    row_key, row_value = (torch.randn(KV_HEADS, TREE.num_tokens, WIDTH, generator=draw) for _ in range(2))
    prefill = RecordingAttention(TreeAttention(TREE))
    prefill(0, torch.randn(HEADS, TREE.num_tokens, WIDTH, generator=draw), row_key, row_value, SCALING)
    cache = BranchAttention(prefill, TREE, PROMPTS, SAMPLING)
    assert cache.next_positions.tolist() == [7, 7, 9, 9, 6, 6, 7, 7, 3, 3]

    branches = [(prompt, member) for prompt in PROMPTS for member in range(2)]
    own: dict[tuple[int, int], list[tuple[torch.Tensor, torch.Tensor]]] = {branch: [] for branch in branches}
    for step, kept in enumerate([None, [0, 2, 3, 4], None, [1, 3]]):
        if kept is not None:
            cache.keep(torch.tensor(kept))
            branches = [branches[2 * place + member] for place in kept for member in range(2)]
        cache.step = step
        query = torch.randn(HEADS, len(branches), WIDTH, generator=draw)
        key, value = (torch.randn(KV_HEADS, len(branches), WIDTH, generator=draw) for _ in range(2))
        output = cache(0, query, key, value, SCALING)
        for number, branch in enumerate(branches):
            own[branch].append((key[:, number], value[:, number]))
            seen = TREE.row_positions(branch[0])
            keys = torch.cat([row_key[:, seen], torch.stack([k for k, _ in own[branch]], 1)], 1)
            values = torch.cat([row_value[:, seen], torch.stack([v for _, v in own[branch]], 1)], 1)
            torch.testing.assert_close(output[:, number], attended(query[:, number], keys, values))
    assert branches == [(3, 0), (3, 1), (7, 0), (7, 1)]
