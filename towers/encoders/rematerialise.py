"""Layers that compute their activations twice instead of keeping them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

import tensorflow as tf

from towers.encoders.base import Encoder


def rematerialise_all(encoders: Iterable[Encoder]) -> None:
    """Rematerialise the layers that each encoder names, see `Encoder.rematerialised`."""
    for encoder in encoders:
        for layer in encoder.rematerialised():
            rematerialise(layer)


def rematerialise(layer: tf.keras.layers.Layer) -> None:
    """Let a layer keep nothing but its input for its gradient (Chen et al., 2016, arXiv:1604.06174).

    In training its activations are computed once for the output and once more when the gradient arrives: a forward pass
    more, for the memory of the activations. Outputs, gradients and random numbers are those of the layer as it was.
    `tf.recompute_grad` would draw other numbers for dropout the second time, and update moving statistics twice.

    Args:
      layer: whose variables exist; its `call` takes one tensor first, and `training`. No gradient flows through its other
        arguments.

    Raises:
      ValueError: the layer draws random numbers from no generator, so that they cannot be drawn again
        (`tf.keras.backend.experimental.enable_tf_random_generator`).
    """
    plain: Callable[..., tf.Tensor] = layer.call
    states = _states(layer)
    again = threading.local()  # replicas are threads

    def call(inputs: tf.Tensor, *args: Any, training: bool = False, **kwargs: Any) -> tf.Tensor:
        if not training or getattr(again, "running", False) or not layer.trainable_weights:
            return plain(inputs, *args, training=training, **kwargs)
        before = [tf.identity(state) for state in states]

        @tf.custom_gradient
        def once(inputs: tf.Tensor) -> tuple[tf.Tensor, Callable[..., Any]]:
            output = plain(inputs, *args, training=True, **kwargs)

            def gradients(upstream: tf.Tensor, variables: list[tf.Variable]) -> Any:
                after = [tf.identity(state) for state in states]
                _assign(states, before)
                with tf.GradientTape() as tape:
                    source = _not_before(upstream, inputs)
                    tape.watch([*variables, *([source] if source.dtype.is_floating else [])])
                    again.running = True
                    try:
                        repeated = layer(source, *args, training=True, **kwargs)
                    finally:
                        again.running = False
                    # Some layers' outputs are cast behind `call`.
                    repeated = tf.cast(repeated, upstream.dtype)
                sources = [*([source] if source.dtype.is_floating else []), *variables]
                found = tape.gradient(repeated, sources, upstream, unconnected_gradients=tf.UnconnectedGradients.ZERO)
                _assign(states, after)
                return (found[0], found[1:]) if source.dtype.is_floating else (None, found)

            return output, gradients

        return once(inputs)

    layer.call = call


def _states(layer: tf.keras.layers.Layer) -> list[tf.Variable]:
    """What a call in training changes: the states of random generators, and moving statistics."""
    states = [variable for variable in layer.variables if not variable.trainable]
    for part in (layer, *layer.submodules):
        if isinstance(part, tf.keras.__internal__.layers.BaseRandomLayer):
            part._random_generator._maybe_init()  # as at the first call in training
            generator = part._random_generator._generator
            if generator is None:
                raise ValueError(f"{part.name}: has no generator of random numbers; enable_tf_random_generator() first")
            states.append(generator.state)
    return states


def _assign(states: list[tf.Variable], values: list[tf.Tensor]) -> None:
    for state, value in zip(states, values, strict=True):
        state.assign(value)


def _not_before(upstream: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
    """The value, made dependent on the gradient: else compilers would see one computation done twice, and keep its results."""
    first = tf.cast(tf.reshape(upstream, [-1])[0], tf.float32)
    never = tf.minimum(tf.abs(first), 0.0) > 1.0
    return value + tf.cast(never, value.dtype)
