"""What a completion says where: the thoughts, the bridge and the answer.

A completion is read with `str.find` and `str.count` alone, so that the time is linear in its length whatever
a model under training writes.

Source: Music Flamingo (arXiv:2511.10289) section 3.3 and the MF-Think examples of its appendix, whose targets
carry "Hence, the final answer is:" between the two blocks.
"""

import re
from dataclasses import dataclass

THINK_OPEN, THINK_CLOSE = "<think>", "</think>"
ANSWER_OPEN, ANSWER_CLOSE = "<answer>", "</answer>"
TAGS = (THINK_OPEN, THINK_CLOSE, ANSWER_OPEN, ANSWER_CLOSE)

BRIDGE = "hence , the final answer is :"
"""Stands between thoughts and answer in targets, as in MF-Think's own."""

END_TOKENS = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<eos>", "</s>", "<pad>")
"""Written after a completion by some tokenizers when special tokens are kept."""

MAX_BRIDGE_CHARACTERS = 80
"""Room for a sentence such as "Hence, the final answer is:", not for an answer of its own."""

_CLOSE_THEN_ANSWER = re.compile(r"</think>\s*<answer>")
_REVERSED_END_TOKENS = re.compile(rf"(?:\s*(?:{'|'.join(re.escape(token[::-1]) for token in END_TOKENS)}))+")


@dataclass(frozen=True)
class ParsedCompletion:
    """The parts of a completion.

    Attributes:
        think: thoughts without their tags; None without exactly one closed block.
        bridge: text between the two blocks, stripped; empty where there is none.
        answer: answer without its tags; None without exactly one closed block outside the thoughts.
        well_formed: the completion is one think block, a short bridge or none, one answer block, nothing
            else.
        problem: the first thing wrong with the form; empty for a well-formed completion.
    """

    think: str | None
    bridge: str
    answer: str | None
    well_formed: bool
    problem: str


def parse_completion(text: str) -> ParsedCompletion:
    """Read the parts of a completion, as far as they are unambiguous.

    Args:
        text: what the model wrote, with or without end tokens.

    Returns:
        the parts; an ill-formed completion still gives the block that is whole.
    """
    text = strip_end_tokens(text)
    problem = _form_problem(text)
    think = _only_block(text, THINK_OPEN, THINK_CLOSE)
    answer = _answer_block(text)
    bridge = "" if problem else text[text.find(THINK_CLOSE) + len(THINK_CLOSE) : text.find(ANSWER_OPEN)].strip()
    return ParsedCompletion(think, bridge, answer, not problem, problem)


def matches_paper_format(text: str) -> bool:
    r"""Whether the whole text matches `<think>.*?</think>\s*<answer>.*?</answer>`, `.` including line breaks.

    The expression is the common reading of the paper's "regex-based" format reward. It is decided without
    running it, as its lazy groups take quadratic time on hostile text.

    Args:
        text: what the model wrote, with or without end tokens.
    """
    text = strip_end_tokens(text)
    if not text.startswith(THINK_OPEN) or not text.endswith(ANSWER_CLOSE):
        return False
    inner_end = len(text) - len(ANSWER_CLOSE)
    return _CLOSE_THEN_ANSWER.search(text, len(THINK_OPEN), inner_end) is not None


def strip_end_tokens(text: str) -> str:
    """The text without the end tokens at its end; text without end tokens stays as it is.

    Args:
        text: a decoded completion.
    """
    # Read backwards: an expression anchored at the end would be tried from every position.
    end_tokens = _REVERSED_END_TOKENS.match(text[::-1])
    return text[: len(text) - end_tokens.end()] if end_tokens else text


def _form_problem(text: str) -> str:
    """First violation of the form, in reading order; empty when there is none."""
    problem = _count_problem(text)
    if problem:
        return problem
    starts = [text.find(tag) for tag in TAGS]
    if starts != sorted(starts):
        return "the tags are nested or out of order"
    think, bridge, answer = (
        text[start + len(tag) : end].strip() for tag, start, end in zip(TAGS, starts, starts[1:], strict=False)
    )
    checks = {
        "text before <think>": not text[: starts[0]].strip(),
        "<think> is empty": bool(think),
        f"{len(bridge)} characters between the blocks, {MAX_BRIDGE_CHARACTERS} are allowed": len(bridge)
        <= MAX_BRIDGE_CHARACTERS,
        "<answer> is empty": bool(answer),
        "text after </answer>": not text[starts[3] + len(ANSWER_CLOSE) :].strip(),
    }
    return next((problem for problem, passed in checks.items() if not passed), "")


def _count_problem(text: str) -> str:
    for tag in TAGS:
        count = text.count(tag)
        if count == 0:
            return f"{tag} is missing"
        if count > 1:
            return f"{tag} occurs {count} times"
    return ""


def _only_block(text: str, opening: str, closing: str) -> str | None:
    if text.count(opening) != 1 or text.count(closing) != 1:
        return None
    start, end = text.find(opening) + len(opening), text.find(closing)
    return text[start:end].strip() if start <= end else None


def _answer_block(text: str) -> str | None:
    """The only answer, unless it stands inside the thoughts or holds a tag."""
    answer = _only_block(text, ANSWER_OPEN, ANSWER_CLOSE)
    if answer is None:
        return None
    before = text[: text.find(ANSWER_OPEN)]
    inside_thoughts = before.rfind(THINK_OPEN) > before.rfind(THINK_CLOSE)
    holds_tag = THINK_OPEN in answer or THINK_CLOSE in answer
    return None if inside_thoughts or holds_tag else answer
