"""Mistakes such as a machine makes that writes training data: it misses, it errs at random, it errs by habit.

MF-Think's chains were written by a language model and fact-checked by the model that they then train, so
habits of that model pass the check. Songbook's truth is exact; to study how GRPO repairs such data, this
noise is put on the chains and captions of the warm-up, and on nothing that is evaluated.

Source: Music Flamingo, section 2 (MF-Think: chains with more than 30 % wrong steps are discarded).
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from music_flamingo.corpora.songbook.distractors import wrong_values
from music_flamingo.corpora.songbook.vocabulary import CHANGES, INSTRUMENTS
from music_flamingo.errors import UserError

_ENTRY_FIELDS = ("first_instrument", "last_instrument")
_FACT_FIELDS = (
    "genre",
    "instruments",
    "drums",
    "texture",
    "structure",
    "tempo",
    "bpm",
    "key",
    "meter",
    "chord",
    "change",
)


@dataclass
class MachineNoise:
    """Noise on observations and caption facts, the same whenever seed, key and field are the same.

    Hence a chain and a caption of one key state alike what both name: instruments, texture, drums, tempo and
    change.

    Args:
        missing: probability that a step or fact is left out.
        wrong: probability that it has a random wrong value.
        systematic: instrument -> instrument it is taken for by habit.
        habit: probability that the habit wins where a step is neither missing nor wrong.
        max_wrong_steps: share of randomly wrong steps above which a chain is dropped. Systematic mistakes do
            not count, as the checker makes them too.
        seed: another seed makes other mistakes.

    Raises:
        UserError: a probability outside [0, 1], or a name in `systematic` that no instrument has.
    """

    missing: float = 0.10
    wrong: float = 0.15
    systematic: dict[str, str] = field(default_factory=lambda: {"oboe": "flute", "marimba": "piano"})
    max_wrong_steps: float = 0.30
    seed: int = 0
    habit: float = 1.0
    _counts: Counter[str] = field(default_factory=Counter, init=False, repr=False, compare=False)
    _counted: set[tuple[str, str]] = field(default_factory=set, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check every argument."""
        for name in ("missing", "wrong", "max_wrong_steps", "habit"):
            _check_probability(name, getattr(self, name))
        _check_probability("missing + wrong", self.missing + self.wrong)
        for name in (*self.systematic, *self.systematic.values()):
            if name not in INSTRUMENTS:
                raise UserError(
                    f"MachineNoise.systematic: expected instruments of {', '.join(INSTRUMENTS)}, got {name!r}"
                )

    def observations(self, observations: Sequence[Mapping[str, Any]], *, key: str) -> list[dict[str, Any]] | None:
        """The chain as the machine writes it; None where the checker drops it.

        Args:
            observations: as `observe` notes them; times are never wrong.
            key: names the chain, for example by cut and conversation id.
        """
        tally: Counter[str] = Counter(chains=1)
        chain = []
        for observation in observations:
            value = self._said(observation["field"], observation["value"], key, tally)
            if value is not None:
                chain.append({**observation, "value": value})
        dropped = self._is_dropped(chain, tally)
        self._count("chain", key, tally)
        return None if dropped else chain

    def facts(self, facts: Mapping[str, str], *, key: str) -> dict[str, str]:
        """The facts of a caption as the machine states them; none is dropped as a whole.

        Raises:
            UserError: a fact that captions do not have.
        """
        tally: Counter[str] = Counter(captions=1)
        said = {}
        for name, value in facts.items():
            if name not in _FACT_FIELDS:
                raise UserError(f"facts: expected fields of {', '.join(_FACT_FIELDS)}, got {name!r}")
            heard = (
                self._said_instruments(value, key, tally)
                if name == "instruments"
                else self._said(name, value, key, tally)
            )
            if heard:
                said[name] = heard
        self._count("caption", key, tally)
        return said

    def report(self) -> dict[str, int]:
        """How much was spoilt, each key counted once.

        chains, dropped_chains (empty_chains of them had no step left), captions; and, over chains and
        captions before any chain is dropped: said (steps and facts offered), missing, wrong, systematic.
        """
        names = (
            "chains",
            "dropped_chains",
            "empty_chains",
            "captions",
            "said",
            "missing",
            "wrong",
            "systematic",
        )
        return {name: self._counts[name] for name in names}

    def _is_dropped(self, chain: list[dict[str, Any]], tally: Counter[str]) -> bool:
        if not chain:
            tally.update(dropped_chains=1, empty_chains=1)
            return True
        dropped = tally["wrong"] > self.max_wrong_steps * len(chain)
        tally.update(dropped_chains=int(dropped))
        return dropped

    def _said_instruments(self, value: str, key: str, tally: Counter[str]) -> str:
        """First and last instrument as the chain of the same key names them; "" when all are left out."""
        instruments = value.split(", ")
        fields = [_ENTRY_FIELDS[0], *instruments[1:-1], _ENTRY_FIELDS[1]][: len(instruments)]
        said = [self._said(name, instrument, key, tally) for name, instrument in zip(fields, instruments, strict=True)]
        return ", ".join(dict.fromkeys(name for name in said if name is not None))

    def _said(self, name: str, value: str, key: str, tally: Counter[str]) -> str | None:
        """The value as stated, or None when it is left out."""
        digest = hashlib.sha256(f"{self.seed}\0{key}\0{name}".encode()).digest()
        rng = random.Random(int.from_bytes(digest[:8], "big"))
        tally["said"] += 1
        draw = rng.random()
        if draw < self.missing:
            tally["missing"] += 1
            return None
        by_habit = self.habit >= 1.0 or rng.random() < self.habit
        heard = self.systematic.get(value, value) if by_habit else value
        mistaken = self._mistaken(name, value, rng) if draw < self.missing + self.wrong else None
        if mistaken is not None:
            tally["wrong"] += 1
            return mistaken
        tally["systematic"] += int(heard != value)
        return heard

    def _mistaken(self, name: str, value: str, rng: random.Random) -> str | None:
        """A random wrong value that the habits leave as it is; None where there is no other."""
        if value in INSTRUMENTS:
            heard = {self.systematic.get(other, other) for other in INSTRUMENTS}
            others = sorted(heard - {value, self.systematic.get(value, value)})
            return rng.choice(others) if others else None
        if name == "change":
            return rng.choice([other for other in CHANGES if other != value])
        if name == "steady":
            return None  # a change would need a time
        field_name = "sections" if name == "structure" else name
        return wrong_values(field_name, value, 1, rng)[0]

    def _count(self, kind: str, key: str, tally: Counter[str]) -> None:
        if (kind, key) not in self._counted:
            self._counted.add((kind, key))
            self._counts.update(tally)


def _check_probability(name: str, value: float) -> None:
    if not 0.0 <= value <= 1.0:
        raise UserError(f"MachineNoise.{name}: expected a number from 0 to 1, got {value}")
