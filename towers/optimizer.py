"""AdamW with a learning rate of its own for some variables, updates of single rows for tables, and a loss scale."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import tensorflow as tf


class LossScale(tf.Module):
    """What the loss of a float16 model is multiplied by, so that small gradients do not vanish (Micikevicius et al., 2018,
    arXiv:1710.03740).

    Halved, to at least 1, by a step whose gradients are not finite, which changes no weight; doubled after `growth_steps`
    finite ones in a row: as that of `tf.keras.mixed_precision.LossScaleOptimizer`, which would make the gradient of a table
    as large as the table to look for what is not finite.

    Args:
      initial: the scale of the first step.
      growth_steps: finite steps before it is doubled.
    """

    def __init__(self, initial: float = 2.0**15, growth_steps: int = 2000):
        super().__init__()
        self.growth_steps = growth_steps
        # Every replica has the same values.
        same = {"trainable": False, "aggregation": tf.VariableAggregation.ONLY_FIRST_REPLICA}
        self.scale = tf.Variable(initial, dtype=tf.float32, name="loss_scale", **same)
        self.good_steps = tf.Variable(0, dtype=tf.int64, name="good_steps", **same)

    @property
    def value(self) -> tf.Tensor:
        """The scale, float []."""
        return tf.convert_to_tensor(self.scale)

    def unscaled(self, gradients: Sequence[Any]) -> list[Any]:
        """Divide the gradients of a scaled loss by the scale."""
        return [None if one is None else _with_values(one, _values(one) / self.value) for one in gradients]

    def update(self, finite: tf.Tensor) -> None:
        """Adapt the scale after a step whose gradients, of all replicas, were finite or not: bool []."""
        none = tf.constant(0, tf.int64)
        good = tf.where(finite, self.good_steps + 1, none)
        grows = good >= self.growth_steps
        larger, smaller = 2.0 * self.scale, tf.maximum(self.scale / 2.0, 1.0)
        grown = tf.where(grows & tf.math.is_finite(larger), larger, self.scale)
        self.scale.assign(tf.where(finite, grown, smaller))
        self.good_steps.assign(tf.where(grows, none, good))


def loss_scale_for(precision: str) -> LossScale | None:
    """The loss scale of a precision: float16 alone has so few exponents that it needs one."""
    return LossScale() if precision == "mixed_float16" else None


class _Variables:
    """Keeps a strategy from taking variables apart into those of each replica."""

    def __init__(self, variables: Sequence[tf.Variable]):
        self.variables = variables


def _values(gradient: tf.Tensor | tf.IndexedSlices) -> tf.Tensor:
    return gradient.values if isinstance(gradient, tf.IndexedSlices) else gradient


def _with_values(gradient: tf.Tensor | tf.IndexedSlices, values: tf.Tensor) -> tf.Tensor | tf.IndexedSlices:
    if isinstance(gradient, tf.IndexedSlices):
        return tf.IndexedSlices(values, gradient.indices, gradient.dense_shape)
    return values


class ScaledAdamW(tf.keras.optimizers.AdamW):
    """AdamW (Loshchilov and Hutter, 2019, arXiv:1711.05101) whose step is scaled for each variable.

    Encoders that are deep, or start from pretrained weights, take smaller steps than the towers above them (Howard
    and Ruder, 2018, arXiv:1801.06146, "discriminative fine-tuning").

    Of a table, a step costs what its rows cost: only the rows of its gradient, their moments and their averages are read
    and written ("lazy Adam"). A step must gather different rows of it, the same ones on every replica; what is gathered
    several times must have no gradient. Gradients of all other gathered variables are made dense, so that no step has a
    shape that depends on its data.

    Args:
      scale: variable -> factor on the learning rate; called once for each, when the optimizer is built.
      tables: variables [N, ...] that are updated by rows.
      loss_scale: that the gradients' loss was multiplied by; a step whose gradients are not finite is then left out. None:
        there is no scale, and every step counts.
      kwargs: of `tf.keras.optimizers.AdamW`.
    """

    def __init__(
        self,
        *args: Any,
        scale: Callable[[tf.Variable], float],
        tables: Iterable[tf.Variable] = (),
        loss_scale: LossScale | None = None,
        **kwargs: Any,
    ):
        super().__init__(*args, **kwargs)
        self.loss_scale = loss_scale
        self._scale = scale
        self._factors: list[float] = []
        self._tables = {self._var_key(table) for table in tables}
        self._averaged_until: dict[Any, tf.Variable] = {}

    def build(self, var_list: Sequence[tf.Variable]) -> None:
        self._factors = [float(self._scale(variable)) for variable in var_list]
        super().build(var_list)
        for variable in var_list:
            key = self._var_key(variable)
            if self.use_ema and key in self._tables and key not in self._averaged_until:
                # The step up to which the average of each row is known; since then the row has not changed.
                until = self.add_variable([variable.shape[0]], tf.int64, name="averaged_until")
                self._averaged_until[key] = until

    def aggregate_gradients(self, grads_and_vars: Iterable[tuple[Any, tf.Variable]]) -> list[tuple[Any, tf.Variable]]:
        """Sum gradients over replicas; those of tables row by row, as every replica has gathered the same ones."""
        dense, rows = [], []
        for gradient, variable in grads_and_vars:
            of_table = self._var_key(variable) in self._tables and gradient is not None
            rows.append(gradient.indices if of_table else None)
            if isinstance(gradient, tf.IndexedSlices):
                gradient = gradient.values if of_table else tf.convert_to_tensor(gradient)
            dense.append((gradient, variable))
        return [
            (gradient if index is None else tf.IndexedSlices(gradient, index, tf.shape(variable)), variable)
            for (gradient, variable), index in zip(super().aggregate_gradients(dense), rows, strict=True)
        ]

    def apply_gradients(
        self,
        grads_and_vars: Iterable[tuple[Any, tf.Variable]],
        name: str | None = None,
        skip_gradients_aggregation: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Take a step. With a loss scale the gradients must be unscaled, and a step that is left out counts as one.

        Arguments as of `tf.keras.optimizers.Optimizer.apply_gradients`.
        """
        if self.loss_scale is None or skip_gradients_aggregation:
            return super().apply_gradients(grads_and_vars, name, skip_gradients_aggregation, **kwargs)
        with tf.init_scope():
            pairs = list(grads_and_vars)
            self.build([variable for _, variable in pairs])
        # Summed over replicas first: then all of them see what one of them has.
        pairs = self.aggregate_gradients([pair for pair in pairs if pair[0] is not None])
        gradients, variables = [gradient for gradient, _ in pairs], _Variables([variable for _, variable in pairs])
        if tf.__internal__.distribute.strategy_supports_no_merge_call():
            self._apply_finite(gradients, lambda: self._apply(gradients, variables))
            return self.iterations

        def of_all_replicas(strategy: tf.distribute.Strategy, gradients: Any, variables: _Variables) -> None:
            every = strategy.extended.call_for_each_replica
            local = [strategy.experimental_local_results(gradient)[0] for gradient in gradients]
            self._apply_finite(local, lambda: every(self._apply, args=(gradients, variables)))

        # A condition within a replica cannot hold what takes all replicas.
        tf.distribute.get_replica_context().merge_call(of_all_replicas, args=(gradients, variables))
        return self.iterations

    def _apply_finite(self, gradients: Sequence[Any], apply: Callable[[], Any]) -> None:
        """Call `apply` where all gradients are finite, and update the loss scale."""
        assert self.loss_scale is not None
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(_values(gradient))) for gradient in gradients])

        def taken() -> None:
            apply()

        def left_out() -> None:
            self.iterations.assign_add(1)

        tf.cond(finite, taken, left_out)
        self.loss_scale.update(finite)

    def _apply(self, gradients: Sequence[Any], variables: _Variables) -> None:
        self.apply_gradients(zip(gradients, variables.variables, strict=True), skip_gradients_aggregation=True)

    def update_step(self, gradient: tf.Tensor | tf.IndexedSlices, variable: tf.Variable) -> None:
        factor = self._factors[self._index_dict[self._var_key(variable)]]
        if isinstance(gradient, tf.IndexedSlices):
            self._update_rows(gradient, variable, factor)
        elif factor == 1.0:
            super().update_step(gradient, variable)
        else:
            before = tf.identity(variable)
            super().update_step(gradient, variable)
            variable.assign(before + factor * (variable - before))

    def _update_rows(self, gradient: tf.IndexedSlices, table: tf.Variable, factor: float) -> None:
        key, rows = self._var_key(table), gradient.indices
        step, rate = tf.cast(self.iterations + 1, table.dtype), tf.cast(self.learning_rate, table.dtype)
        momentums, velocities = (slots[self._index_dict[key]] for slots in (self._momentums, self._velocities))
        momentum = self.beta_1 * tf.gather(momentums, rows) + (1 - self.beta_1) * gradient.values
        velocity = self.beta_2 * tf.gather(velocities, rows) + (1 - self.beta_2) * tf.square(gradient.values)
        corrected = rate * tf.sqrt(1 - self.beta_2**step) / (1 - self.beta_1**step)
        before = tf.gather(table, rows)
        decay = rate * self.weight_decay * before if self.weight_decay else 0.0
        after = before - factor * (corrected * momentum / (tf.sqrt(velocity) + self.epsilon) + decay)
        updates = [(momentums, momentum), (velocities, velocity), (table, after)]
        if self.use_ema:
            averages, until = self._model_variables_moving_average[self._index_dict[key]], self._averaged_until[key]
            average = self._caught_up(tf.gather(averages, rows), before, tf.gather(until, rows))
            average = self.ema_momentum * average + (1 - self.ema_momentum) * after
            updates += [(averages, average), (until, tf.fill(tf.shape(rows), self.iterations + 1))]
        for variable, value in updates:
            variable.scatter_update(tf.IndexedSlices(value, rows))

    def _caught_up(self, average: tf.Tensor, value: tf.Tensor, until: tf.Tensor) -> tf.Tensor:
        """Averages [R, ...] as they are at this step, of rows that have been `value` since the step `until`, int64 [R]."""
        idle = tf.cast(self.iterations - until, average.dtype)
        remaining = tf.reshape(self.ema_momentum**idle, [-1] + [1] * (average.shape.rank - 1))
        return value + remaining * (average - value)

    def _deduplicate_sparse_grad(self, grads: Any) -> Any:
        return grads  # rows are different, see the class

    def _apply_weight_decay(self, variables: Iterable[tf.Variable]) -> None:
        if self.weight_decay:
            super()._apply_weight_decay([row for row in variables if self._var_key(row) not in self._tables])

    def _update_model_variables_moving_average(self, var_list: Iterable[tf.Variable]) -> None:
        super()._update_model_variables_moving_average(
            [variable for variable in var_list if self._var_key(variable) not in self._tables]
        )

    def _overwrite_model_variables_with_average_value(self, var_list: Sequence[tf.Variable]) -> None:
        for variable in var_list:
            if self._var_key(variable) in self._averaged_until:
                self._distribution_strategy.extended.update(variable, self._catch_up)
        super()._overwrite_model_variables_with_average_value(var_list)

    def _catch_up(self, table: tf.Variable) -> None:
        key = self._var_key(table)
        averages, until = self._model_variables_moving_average[self._index_dict[key]], self._averaged_until[key]
        averages.assign(self._caught_up(averages, table, until))
        until.assign(tf.fill(tf.shape(until), self.iterations))
