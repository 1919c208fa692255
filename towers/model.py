"""The base of models that are trained: a `tfrs.Model` whose steps are traced as they are written."""

from __future__ import annotations

import tensorflow as tf
import tensorflow_recommenders as tfrs


class Model(tfrs.Model):
    """A `tfrs.Model` whose steps AutoGraph leaves alone.

    Our models say control flow with TensorFlow's ops. To rewrite every function that a step reaches takes much
    of the time before the first step, and AutoGraph trails new versions of Python.
    """

    train_step = tf.autograph.experimental.do_not_convert(tfrs.Model.train_step)
    test_step = tf.autograph.experimental.do_not_convert(tfrs.Model.test_step)
