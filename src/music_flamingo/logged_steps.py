"""Which training steps the logger takes values of."""

from lightning import Trainer


def is_logged_step(trainer: Trainer) -> bool:
    """Whether the logger takes the values of the step that runs.

    To hand Lightning a value at every step costs about a millisecond each, which small steps feel.
    """
    # Lightning has no public name for it; counting `global_step` would go wrong with several updates a step.
    return bool(trainer._logger_connector.should_update_logs)
