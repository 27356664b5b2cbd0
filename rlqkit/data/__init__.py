"""From folders to batches: image sets, loaders, checks and exports."""
