"""AdamW with a learning rate of its own for some variables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf


class ScaledAdamW(tf.keras.optimizers.AdamW):
    """AdamW (Loshchilov and Hutter, 2019, arXiv:1711.05101) whose step is scaled for each variable.

    Encoders that are deep, or start from pretrained weights, take smaller steps than the towers above them (Howard
    and Ruder, 2018, arXiv:1801.06146, "discriminative fine-tuning").

    Args:
      scale: variable -> factor on the learning rate; called once for each, when the optimizer is built.
      kwargs: of `tf.keras.optimizers.AdamW`.
    """

    def __init__(self, *args: Any, scale: Callable[[tf.Variable], float], **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._scale = scale
        self._factors: list[float] = []

    def build(self, var_list: Sequence[tf.Variable]) -> None:
        self._factors = [float(self._scale(variable)) for variable in var_list]
        super().build(var_list)

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable) -> None:
        factor = self._factors[self._index_dict[self._var_key(variable)]]
        if factor == 1.0:
            super().update_step(gradient, variable)
            return
        before = tf.identity(variable)
        super().update_step(gradient, variable)
        variable.assign(before + factor * (variable - before))
