"""Figures that are composed of many parts, by subject."""
