"""Wardrobe, the embedded data set's own house: how it is drawn, audited and calibrated."""
