"""The allowed value that was probably meant. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from typing import Any

MEANT: Mapping[str, tuple[str, ...]] = {
    "unet": ("ptychopinn_cnn",),
    "cnn": ("ptychopinn_cnn",),
    "resnet": ("lean",),
    "transformer": ("vit",),
    "cosine": ("WarmupCosine", "cosine"),
    "cosineannealinglr": ("WarmupCosine",),
    "constant": ("Default",),
    "none": ("Default", "none"),
    "exponentiallr": ("Exponential",),
    "plateau": ("ReduceLROnPlateau",),
    "wsd": ("WarmupStableDecay",),
    "fp32": ("32-true",),
    "float32": ("32-true",),
    "single": ("32-true",),
    "64": ("64-true",),
    "fp64": ("64-true",),
    "double": ("64-true",),
    "float64": ("64-true",),
    "16": ("16-mixed",),
    "fp16": ("16-mixed",),
    "half": ("16-mixed",),
    "bf16": ("bf16-mixed",),
    "gaussian": ("amplitude",),
    "mse": ("amplitude",),
    "mae": ("amplitude",),
    "epie": ("pie",),
    "rpie": ("pie",),
    "adam": ("adam", "gradient"),
    "autodiff": ("gradient",),
    "ml": ("lsqml", "gradient"),
    "intensity": ("counts",),
    "fraunhofer": ("far_field",),
    "fresnel": ("near_field",),
    "tb": ("tensorboard",),
    "nvidia": ("gpu",),
}
"""Words of other programs for values, in lower case, and what may be meant here."""


def nearest(value: Any, choices: Collection[Any]) -> str | None:
    """Find the choice that is nearest to a word; None where none is.

    Parameters
    ----------
    value
        What was given, of any type.
    choices
        What is allowed.
    """
    words = {choice.lower(): choice for choice in choices if isinstance(choice, str)}
    given = str(value).lower()
    if given in words or value is None:
        return words.get(given)
    meant = next((one for one in MEANT.get(given, ()) if one in words.values()), None)
    if meant is not None:
        return meant
    holding = [choice for word, choice in words.items() if len(given) > 1 and given in word]
    if len(holding) == 1:
        return holding[0]
    found = difflib.get_close_matches(given, words, n=1, cutoff=0.6)
    return words[found[0]] if found else None
