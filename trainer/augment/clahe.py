"""Contrast-limited adaptive histogram equalisation, as OpenCV's `createCLAHE` does it.

Every tile has its own table from old to new grey level; a pixel takes the bilinear blend of the
tables of the four nearest tile centres. Histogram and look-up come in two kernels: counting and
gathering for the CPU, and products of two 16-wide one-hots for matrix units (a grey level is
16 * high + low, so a 256-entry table is a 16 x 16 matrix).

Source: Zuiderveld, "Contrast limited adaptive histogram equalization", Graphics Gems IV, 1994;
OpenCV modules/imgproc/src/clahe.cpp.

Shape suffixes: B batch, N picture side, T tiles a side, t tile side, P pixels, L grey levels.
"""

import numpy as np
import tensorflow as tf

from trainer.augment.config import MIN_TILE_PX
from trainer.augment.kernels import Kernels, fuse

_LEVELS = 256

# BT.601 as OpenCV rounds it. A table can jump by several levels from one to the next, so luma must
# fall on the same whole level; with 0.299, 0.587, 0.114 one pixel in seventy did not.
_LUMA_WEIGHTS = (4899 / 2**14, 9617 / 2**14, 1868 / 2**14)


def clahe(
    images: tf.Tensor,
    clip_limit: float,
    num_tiles: int,
    kernels: Kernels = "matrix",
    in_loop: bool = True,
) -> tf.Tensor:
    """Equalises the luma (Y of YCrCb) and keeps the chroma.

    Args:
      images: float32 [B, N, N, 3] in 0..255.
      clip_limit: OpenCV's `clipLimit`, > 0.
      num_tiles: T; OpenCV's `tileGridSize` is (T, T). Sides that T does not divide are reflected
        to the next multiple, as OpenCV does.
      kernels: which way to compute.
      in_loop: one tile after the other where one-hots are used. All at once takes 128 times the
        luma's memory, and no loop, which converters to mobile formats cannot translate.

    Returns:
      float32 [B, N, N, 3] in 0..255. The table sees luma rounded to whole grey levels; what
      rounding took off is added back.

    Raises:
      ValueError: pictures are not square, or smaller than twice the number of tiles.
    """
    size_px = images.shape[1]
    if size_px != images.shape[2] or size_px < MIN_TILE_PX * num_tiles:
        raise ValueError(
            f"CLAHE got {images.shape[1]} x {images.shape[2]} px for {num_tiles} tiles a side; it "
            f"needs squares with at least {MIN_TILE_PX} px a tile. Set clahe_tiles lower or "
            "image_px higher."
        )
    luma_bnn = fuse(kernels, _luma, images)
    if not in_loop:
        # Mobile formats cannot pad bytes.
        luma_bnn = tf.cast(luma_bnn, tf.int32)
    tile_pixels = _tile_px(size_px, num_tiles) ** 2
    limit = max(int(clip_limit * tile_pixels / _LEVELS), 1)
    if kernels == "gather":
        counts = _count_levels(luma_bnn, num_tiles)
    else:
        counts = _count_levels_by_one_hots(luma_bnn, num_tiles, in_loop)
    counts = fuse(kernels, _redistribute, counts, limit)
    cumulated = tf.cumsum(counts, axis=3)
    if kernels == "gather":
        # A kernel of its own: fused with the shift, each channel would look up again.
        packed = fuse(kernels, _pack_tables, cumulated, tile_pixels)
        equalized = fuse(kernels, _look_up_by_gathering, luma_bnn, packed)
    else:
        equalized = _look_up_by_one_hots(luma_bnn, _tables(cumulated, tile_pixels), in_loop)
    return fuse(kernels, _shift_luma, images, luma_bnn, equalized)


def _luma(images: tf.Tensor) -> tf.Tensor:
    luma = tf.reduce_sum(images * _LUMA_WEIGHTS, axis=3)
    return tf.cast(tf.clip_by_value(tf.floor(luma + 0.5), 0.0, 255.0), tf.uint8)


def _shift_luma(images: tf.Tensor, luma_bnn: tf.Tensor, equalized_bnn: tf.Tensor) -> tf.Tensor:
    # Y alone changes, Cr and Cb do not: all three channels move by the same amount.
    change = tf.cast(equalized_bnn, tf.float32) - tf.cast(luma_bnn, tf.float32)
    return tf.clip_by_value(images + change[..., tf.newaxis], 0.0, 255.0)


def _tile_px(size_px: int, num_tiles: int) -> int:
    return -(-size_px // num_tiles)


def _whole_tiles(luma_bnn: tf.Tensor, num_tiles: int) -> tf.Tensor:
    size_px = luma_bnn.shape[1]
    extra = num_tiles * _tile_px(size_px, num_tiles) - size_px
    # More than a reflection can give only where a tile is a pixel or two, see the check above.
    return tf.pad(luma_bnn, [[0, 0], [0, extra], [0, extra]], "REFLECT") if extra else luma_bnn


def _count_levels(luma_bnn: tf.Tensor, num_tiles: int) -> tf.Tensor:
    """Counts [B, T, T, L], float32."""
    counts = tf.raw_ops.DenseBincount(
        input=fuse("gather", _bins, luma_bnn, num_tiles),
        size=tf.shape(luma_bnn)[0] * (num_tiles**2 * _LEVELS),
        weights=tf.zeros([0], tf.float32),
    )
    return tf.reshape(counts, [-1, num_tiles, num_tiles, _LEVELS])


def _bins(luma_bnn: tf.Tensor, num_tiles: int) -> tf.Tensor:
    """Where each pixel counts among all pictures' tiles' levels: int32 [B P]."""
    whole = _whole_tiles(luma_bnn, num_tiles)
    tile = np.arange(whole.shape[1], dtype=np.int32) // _tile_px(luma_bnn.shape[1], num_tiles)
    first = (tile[:, np.newaxis] * num_tiles + tile) * _LEVELS
    picture = tf.range(tf.shape(whole)[0])[:, tf.newaxis, tf.newaxis]
    bins = tf.cast(whole, tf.int32) + first + picture * (num_tiles**2 * _LEVELS)
    return tf.reshape(bins, [-1])


def _count_levels_by_one_hots(luma_bnn: tf.Tensor, num_tiles: int, in_loop: bool) -> tf.Tensor:
    """Counts [B, T, T, L], float32, one tile of every picture at a time, or all."""
    tile_px = _tile_px(luma_bnn.shape[1], num_tiles)
    tiles = _split(_whole_tiles(luma_bnn, num_tiles), num_tiles, tile_px)

    def count(tile_bp: tf.Tensor) -> tf.Tensor:
        high, low = _one_hots(tile_bp)
        return tf.matmul(high, low, transpose_a=True)

    if in_loop:
        # Because the one-hots of a whole picture take 64 times its own memory.
        counts = tf.map_fn(count, tiles, fn_output_signature=tf.float32, parallel_iterations=1)
    else:
        counts = count(tiles)
    counts = tf.reshape(counts, [num_tiles, num_tiles, -1, _LEVELS])
    return tf.transpose(counts, [2, 0, 1, 3])


def _split(values_bnn: tf.Tensor, num_tiles: int, tile_px: int) -> tf.Tensor:
    """[B, T t, T t] as [T T, B, P]."""
    tiles = tf.reshape(values_bnn, [-1, num_tiles, tile_px, num_tiles, tile_px])
    tiles = tf.transpose(tiles, [1, 3, 0, 2, 4])
    return tf.reshape(tiles, [num_tiles**2, -1, tile_px**2])


def _one_hots(luma: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    # 0 and 1 survive any matrix unit's rounding, and products are summed in float32.
    level = tf.cast(luma, tf.int32)
    return tf.one_hot(level // 16, 16), tf.one_hot(level % 16, 16)


def _redistribute(counts: tf.Tensor, limit: int) -> tf.Tensor:
    """Cuts every bin to the limit and spreads what was cut over all bins."""
    kept = tf.minimum(counts, float(limit))
    clipped = tf.reduce_sum(counts - kept, axis=3, keepdims=True)
    everywhere = tf.floor(clipped / _LEVELS)
    residual = clipped - everywhere * _LEVELS
    # The rest goes to every step-th bin from the first on, one each.
    step = tf.maximum(tf.floor(_LEVELS / tf.maximum(residual, 1.0)), 1.0)
    level = tf.range(_LEVELS, dtype=tf.float32)
    position = tf.floor(level / step)
    extra = tf.logical_and(tf.equal(position * step, level), position < residual)
    return kept + everywhere + tf.cast(extra, tf.float32)


def _tables(cumulated: tf.Tensor, tile_pixels: int) -> tf.Tensor:
    """New grey level for each old one: whole numbers, float32 [B, T, T, L]."""
    return tf.clip_by_value(tf.round(cumulated * (255.0 / tile_pixels)), 0.0, 255.0)


def _corner_tables(tables: tf.Tensor) -> list[tf.Tensor]:
    """Tables of the four tile centres around each cell between centres, each [B, T+1, T+1, L].

    Outside of the outermost centres the nearest tile serves for both.
    """
    padded = tf.pad(tables, [[0, 0], [1, 1], [1, 1], [0, 0]], "SYMMETRIC")
    return [padded[:, :-1, :-1], padded[:, :-1, 1:], padded[:, 1:, :-1], padded[:, 1:, 1:]]


def _pack_tables(cumulated: tf.Tensor, tile_pixels: int) -> tf.Tensor:
    """The four candidates of each cell and level in one 32-bit word; int32 [B, T+1, T+1, L]."""
    tables = tf.cast(_tables(cumulated, tile_pixels), tf.int32)
    corners = _corner_tables(tables)
    return corners[0] + 2**8 * corners[1] + 2**16 * corners[2] + 2**24 * corners[3]


def _look_up_by_gathering(luma_bnn: tf.Tensor, packed: tf.Tensor) -> tf.Tensor:
    """Equalised luma, uint8 [B, N, N], with one gather instead of four."""
    size_px, num_cells = luma_bnn.shape[1], packed.shape[1]
    position = np.arange(size_px) / _tile_px(size_px, num_cells - 1) + 0.5
    cell = np.floor(position).astype(np.int32)
    far = (position - cell).astype(np.float32)
    first = (cell[:, np.newaxis] * num_cells + cell) * _LEVELS
    picture = tf.range(tf.shape(luma_bnn)[0])[:, tf.newaxis, tf.newaxis]
    index = picture * (num_cells**2 * _LEVELS) + first + tf.cast(luma_bnn, tf.int32)
    words = tf.gather(tf.reshape(packed, [-1]), index)
    corners = [
        tf.cast(tf.bitwise.bitwise_and(tf.bitwise.right_shift(words, bits), 255), tf.float32)
        for bits in (0, 8, 16, 24)
    ]
    return _blend(corners, far[:, np.newaxis], far)


def _look_up_by_one_hots(luma_bnn: tf.Tensor, tables: tf.Tensor, in_loop: bool) -> tf.Tensor:
    """Equalised luma, uint8 [B, N, N], one cell of every picture at a time, or all."""
    size_px, num_cells = luma_bnn.shape[1], tables.shape[1] + 1
    tile_px = _tile_px(size_px, num_cells - 1)
    # Cells are as large as tiles and start half a tile early: pad the picture to whole cells.
    before = tile_px - -(-tile_px // 2)
    side = num_cells * tile_px
    margin = [before, side - size_px - before]
    cells = _split(tf.pad(luma_bnn, [[0, 0], margin, margin]), num_cells, tile_px)
    corners = [
        tf.reshape(tf.transpose(corner, [1, 2, 0, 3]), [num_cells**2, -1, 16, 16])
        for corner in _corner_tables(tables)
    ]
    position = (np.arange(tile_px) - before) / tile_px - 0.5
    far = (position - np.floor(position)).astype(np.float32)
    far_y, far_x = np.repeat(far, tile_px), np.tile(far, tile_px)

    def look_up(cell: tuple[tf.Tensor, ...]) -> tf.Tensor:
        high, low = _one_hots(cell[0])
        levels = [tf.reduce_sum(tf.matmul(high, table) * low, axis=-1) for table in cell[1:]]
        return _blend(levels, far_y, far_x)

    if in_loop:
        equalized = tf.map_fn(
            look_up, (cells, *corners), fn_output_signature=tf.uint8, parallel_iterations=1
        )
    else:
        equalized = look_up((cells, *corners))
    equalized = tf.reshape(equalized, [num_cells, num_cells, -1, tile_px, tile_px])
    equalized = tf.reshape(tf.transpose(equalized, [2, 0, 3, 1, 4]), [-1, side, side])
    return equalized[:, before : before + size_px, before : before + size_px]


def _blend(corners: list[tf.Tensor], far_y: tf.Tensor, far_x: tf.Tensor) -> tf.Tensor:
    top = corners[0] * (1 - far_x) + corners[1] * far_x
    bottom = corners[2] * (1 - far_x) + corners[3] * far_x
    return tf.cast(tf.round(top * (1 - far_y) + bottom * far_y), tf.uint8)
