"""rlqkit: RLQ for clothes-changing person re-identification, from data to tables and notebooks."""

__version__ = "0.1.0"
