"""The published data sets: how each lies on disk and what its authors say of it."""
