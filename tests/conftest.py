"""What every test runs with."""

import os

import torch
from hypothesis import settings

# Without a GPU, Triton kernels run in Triton's interpreter, which is chosen before anything imports triton.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

# The same examples on every run and machine, however slow, and nothing kept on disk between runs.
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")
