"""Generator of the embedded synthetic data set "Wardrobe".

People are rendered from a parametric body (anny) that is dressed, walked and photographed by
small functions: ``people`` and ``wardrobe`` draw who someone is and what they wear, ``gait`` how
they move, ``garments`` turns that into meshes, ``camera``, ``scene``, ``lighting`` and ``raster``
turn meshes into pictures, and ``generate`` writes a whole data set.

The generator needs the extra ``render``; users of the shipped images do not.
"""
