from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from music_flamingo.callbacks import Curriculum, Lesson, ThroughputMonitor
from music_flamingo.data_modules import ConversationDataModule, DirectAnswers
from music_flamingo.errors import UserError
from tests.builders import QUESTIONS, model_directory, question_row, song, write_corpus


class Logged(dict[str, float]):
    """Stands for a LightningModule that logs."""

    model = SimpleNamespace(windows_encoded=3, windows_with_gradient=2)

    def log(self, name: str, value: float, **_: Any) -> None:
        self[name] = value

    def log_dict(self, values: dict[str, float], **_: Any) -> None:
        self.update(values)


def test_each_lesson_sets_the_limits_on_duration_and_difficulty(tmp_path: Path) -> None:
    data = ConversationDataModule(str(write_corpus(tmp_path)), str(model_directory()), DirectAnswers())
    data.setup("fit")
    curriculum = Curriculum([Lesson(0, max_duration=30, max_difficulty=1), Lesson(10)])
    connector = SimpleNamespace(should_update_logs=False)
    trainer = SimpleNamespace(datamodule=data, global_step=0, _logger_connector=connector, accumulate_grad_batches=2)
    logged = Logged()
    curriculum.setup(trainer, logged, "fit")  # type: ignore[arg-type]
    rows_of_two_steps = {
        row: [c.custom["difficulty"] for c in data.songs[0] if data.admits(c, row)] for row in (19, 20)
    }
    assert sorted(set(rows_of_two_steps[19])) == [0, 1]
    assert len(rows_of_two_steps[20]) == len(data.songs[0])
    curriculum.on_train_batch_start(trainer, logged, None, 0)  # type: ignore[arg-type]
    assert logged == {}
    connector.should_update_logs = True
    curriculum.on_train_batch_start(trainer, logged, None, 0)  # type: ignore[arg-type]
    assert logged == {"curriculum/max_duration": 30, "curriculum/max_difficulty": 1, "curriculum/skipped": 0.0}


@pytest.mark.parametrize("steps", [[], [5], [0, 10, 10], [0, 20, 10]])
def test_lessons_out_of_order_are_refused(steps: list[int]) -> None:
    with pytest.raises(UserError, match="from_step must begin at 0 and rise"):
        Curriculum([Lesson(step) for step in steps])


def test_throughput_is_audio_and_tokens_per_second_of_the_clock() -> None:
    times = iter([100.0, 104.0, 104.0])
    monitor, logged = ThroughputMonitor(every=2, clock=lambda: next(times)), Logged()
    row = question_row([song(10.0), song(6.0)], QUESTIONS[:1], answers=None)
    for step in range(3):
        monitor.on_train_batch_end(None, logged, None, row, step)  # type: ignore[arg-type]
    assert logged["throughput/audio_seconds"] == pytest.approx(2 * 16.0 / 4)
    assert logged["throughput/tokens"] == pytest.approx(2 * row.tree.num_tokens / 4)
    assert logged["throughput/encoder_windows"] == 3
    assert logged["throughput/encoder_windows_with_gradient"] == 2
    restored = ThroughputMonitor()
    restored.load_state_dict(monitor.state_dict())
    assert restored.totals["rows"] == 3
