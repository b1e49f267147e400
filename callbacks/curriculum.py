"""Short and easy songs first."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lightning import Callback, LightningModule, Trainer

from music_flamingo.errors import UserError
from music_flamingo.logged_steps import is_logged_step


@dataclass(frozen=True)
class Lesson:
    """From `from_step` on, only these songs are let in.

    Args:
        from_step: optimizer step at which the lesson begins.
        max_duration: seconds of the longest song; None for any.
        max_difficulty: largest `difficulty` of a cut; None for any.
    """

    from_step: int = 0
    max_duration: float | None = None
    max_difficulty: float | None = None


class Curriculum(Callback):
    """Sets the data module's limits on duration and difficulty as training goes on.

    Logs curriculum/max_duration, curriculum/max_difficulty (when limited) and curriculum/skipped, the cuts kept out so
    far.

    Args:
        lessons: in order; the first begins at step 0.

    Raises:
        UserError: lessons out of order.
    """

    def __init__(self, lessons: Sequence[Lesson]) -> None:
        steps = [lesson.from_step for lesson in lessons]
        if not steps or steps[0] != 0 or steps != sorted(set(steps)):
            raise UserError(f"Curriculum.lessons: from_step must begin at 0 and rise, got {steps}")
        self.lessons = tuple(lessons)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        # By the number of the row: rows are made ahead, and would else follow the lesson of a step before theirs.
        steps_per_row = getattr(pl_module, "num_updates", 1) / trainer.accumulate_grad_batches
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        data.curriculum = lambda row: self.limits_at(int(row * steps_per_row))

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if not is_logged_step(trainer):
            return
        limits = {f"curriculum/{name}": limit for name, limit in self.limits_at(trainer.global_step).items()}
        skipped = float(trainer.datamodule.skipped_by_curriculum)  # type: ignore[attr-defined]
        pl_module.log_dict({**limits, "curriculum/skipped": skipped}, batch_size=1)

    def limits_at(self, step: int) -> dict[str, float]:
        """Of the lesson in force at an optimizer step."""
        lesson = max((lesson for lesson in self.lessons if lesson.from_step <= step), key=lambda each: each.from_step)
        limits = {"max_duration": lesson.max_duration, "max_difficulty": lesson.max_difficulty}
        return {name: limit for name, limit in limits.items() if limit is not None}
