"""The paper, file by file: rows, network, losses, steps, degradations, recolouring, attributes,
sampling, augmentation, training.

Where the released code has a quirk, a function takes it as an argument whose default is the
released form: that is what the golden numbers hold. A run's configuration decides (``compat``),
and decides for the clean form unless told otherwise. What names random draws has no default.
"""
