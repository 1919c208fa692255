"""tfrecs: what an item, a user and an interaction are on disk.

Raw tables and media -> records -> tf.data. numpy and TensorFlow only, no Keras.

Importing this package runs the Keras guard before anything else, so that whichever room of Triptych is
imported first, TensorFlow comes up with the Keras that TensorFlow Recommenders needs.
"""

from tfrecs._guard import require_legacy_keras

require_legacy_keras()
