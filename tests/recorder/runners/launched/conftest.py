"""The fakes of ltx-pipelines."""

from tests.recorder.runners.lightricks.conftest import loop_api, stage_api

__all__ = ["loop_api", "stage_api"]
