"""The paper: from the rows of its ablation to one training, top to bottom."""
