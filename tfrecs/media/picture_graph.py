"""What `tf.io.decode_image` leaves undone and Pillow does: the palette of a BMP, and the orientation of a photo."""

from __future__ import annotations

import tensorflow as tf

from tfrecs.media.bytes_graph import size_of, unsigned

_MOST_SEGMENTS = 100
_EXIF_SEGMENT, _ORIENTATION = 0xE1, 0x0112


def decode_picture(file: tf.Tensor) -> tf.Tensor:
    """Decode a JPEG, PNG, GIF (its first frame) or BMP, not yet upright.

    Args:
      file: its bytes, string [].

    Returns:
      uint8 [h, w, c] of grey, grey + alpha, RGB or RGBA (c = 1, 2, 3, 4).

    Raises:
      InvalidArgumentError: when run, if it is no such file, or a compressed BMP.
    """
    pixels = tf.ensure_shape(tf.io.decode_image(file, channels=0, expand_animations=False), [None, None, None])
    is_bmp = tf.strings.substr(file, 0, 2) == b"BM"
    return tf.cond(is_bmp, lambda: _coloured(file, pixels), lambda: pixels)


def _coloured(file: tf.Tensor, pixels: tf.Tensor) -> tf.Tensor:
    """The pixels of a BMP with the colours of its palette, where it has one."""
    header, bits, compression = (unsigned(file, at, count) for at, count in ((14, 4), (28, 2), (30, 4)))
    plain = (compression == 0) | (bits != 8)
    with tf.control_dependencies([tf.debugging.Assert(plain, ["compressed BMP"])]):
        has_palette = tf.identity(bits == 8)

    def looked_up() -> tf.Tensor:
        given = unsigned(file, 46, 4)
        colours = tf.where(given == 0, tf.constant(256, tf.int64), given)
        palette = tf.io.decode_raw(tf.strings.substr(file, 14 + header, 4 * colours), tf.uint8)
        red_green_blue = tf.reshape(palette, [-1, 4])[:, 2::-1]
        return tf.gather(red_green_blue, tf.cast(pixels[..., 0], tf.int32))

    return tf.cond(has_palette, looked_up, lambda: pixels)


def upright(file: tf.Tensor, pixels: tf.Tensor) -> tf.Tensor:
    """Turn a square picture as the EXIF of its file, if that is a JPEG, says.

    Args:
      file: its bytes, string [].
      pixels: [n, n, c].
    """
    orientation = tf.cond(tf.strings.substr(file, 0, 2) == b"\xff\xd8", lambda: _orientation(file), _unknown)
    pixels = tf.where(orientation >= 5, tf.transpose(pixels, [1, 0, 2]), pixels)
    mirrored = tf.reduce_any(orientation == tf.constant([2, 3, 6, 7], tf.int64))
    pixels = tf.where(mirrored, pixels[:, ::-1], pixels)
    upside_down = tf.reduce_any(orientation == tf.constant([3, 4, 7, 8], tf.int64))
    return tf.where(upside_down, pixels[::-1], pixels)


def _orientation(file: tf.Tensor) -> tf.Tensor:
    """The orientation in the EXIF of a JPEG, 1 to 8, int64 []; 1 where there is none (CIPA DC-008, 4.6.2 and 4.6.4)."""
    size = size_of(file)

    def more(at: tf.Tensor, number: tf.Tensor, exif: tf.Tensor) -> tf.Tensor:
        return (exif == 0) & (at + 10 <= size) & (number < _MOST_SEGMENTS)

    def following(at: tf.Tensor, number: tf.Tensor, exif: tf.Tensor) -> tuple[tf.Tensor, ...]:
        marker, length = unsigned(file, at + 1, 1), unsigned(file, at + 2, 2, big_endian=True)
        is_segment = (unsigned(file, at, 1) == 0xFF) & (marker >= 0xC0) & (marker != 0xDA)  # 0xDA: the picture itself
        is_exif = is_segment & (marker == _EXIF_SEGMENT) & (tf.strings.substr(file, at + 4, 6) == b"Exif\0\0")
        return tf.where(is_segment, at + 2 + length, size), number + 1, tf.where(is_exif, at + 10, exif)

    zero = tf.constant(0, tf.int64)
    exif = tf.while_loop(more, following, (zero + 2, zero, zero))[2]
    return tf.cond((exif > 0) & (exif + 8 <= size), lambda: _in_tiff(tf.strings.substr(file, exif, size)), _unknown)


def _in_tiff(tiff: tf.Tensor) -> tf.Tensor:
    """The orientation in the first directory of a TIFF, 1 to 8; 1 where there is none."""
    big_endian = tf.strings.substr(tiff, 0, 2) == b"MM"

    def number(data: tf.Tensor, count: int) -> tf.Tensor:
        """Bytes [..., count] as numbers [...]."""
        data = tf.where(big_endian, data[..., ::-1], data)
        return tf.reduce_sum(tf.cast(data, tf.int64) * [256**place for place in range(count)], axis=-1)

    data = tf.io.decode_raw(tiff, tf.uint8)
    data = tf.concat([data, tf.zeros([14], tf.uint8)], axis=0)  # so that a directory at the end has its count
    start = tf.minimum(number(data[4:8], 4), size_of(tiff))
    count = number(data[start : start + 2], 2)
    entries = data[start + 2 :]
    count = tf.minimum(count, tf.size(entries, tf.int64) // 12)
    entries = tf.reshape(entries[: 12 * count], [-1, 12])
    values = tf.boolean_mask(number(entries[:, 8:10], 2), number(entries[:, 0:2], 2) == _ORIENTATION)
    first = tf.concat([values, [1]], axis=0)[0]
    return tf.where((first >= 1) & (first <= 8), first, _unknown())


def _unknown() -> tf.Tensor:
    return tf.constant(1, tf.int64)
