"""serving: the SavedModel contract, the signatures, the embedded server and the client.

Light on purpose: the client must start without TensorFlow. `tfrecs` is imported for its guard, which makes
whatever imports TensorFlow later import it with the Keras that the rest of Triptych needs.
"""

import tfrecs as tfrecs
