"""The workbench: a library that a training loop calls, never a framework that calls the loop."""

from accord.run.account import MEASURED, Share, speed, where_time_went
from accord.run.average import Average
from accord.run.checkpoint import BrokenCheckpoint, newest, read_state, write_state
from accord.run.log import Log, read_log
from accord.run.optimiser import OptimiserConfig, Schedule, make_optimiser
from accord.run.ranks import RankLost
from accord.run.run import NonFinite, Run
from accord.run.settings import RunConfig, seed_of

__all__ = [
    "MEASURED",
    "Average",
    "BrokenCheckpoint",
    "Log",
    "NonFinite",
    "OptimiserConfig",
    "RankLost",
    "Run",
    "RunConfig",
    "Schedule",
    "Share",
    "make_optimiser",
    "newest",
    "read_log",
    "read_state",
    "seed_of",
    "speed",
    "where_time_went",
    "write_state",
]
