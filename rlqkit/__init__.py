"""rlqkit: RLQ for clothes-changing person re-identification, from data to tables and notebooks."""

import warnings

__version__ = "0.1.0"

# Jupyter without ipywidgets falls back to a text bar, which is what a headless run wants. Said
# here because the first library that imports tqdm's notebook bars warns at once.
warnings.filterwarnings("ignore", message="IProgress not found")
# Lightning's hint wherever Slurm is installed; several processes are started by torchrun here.
warnings.filterwarnings("ignore", message="The `srun` command is available")
