"""What is measured of a network: retrieval, intervals, collapse, severity."""
