"""The declarations of src/gemm/kernels.h for the drivers that use its tiles."""

from common cimport ceil_div
from move cimport fill_fn, finish_fn, gather_fn, pack_fn

cdef extern from "../gemm/kernels.h" nogil:
    enum: TILE_ROWS, NARROW, FEW_VECTORS
    ctypedef struct tile_args:
        const char *const *a
        ptrdiff_t a_step
        const ptrdiff_t *offset
        ptrdiff_t runs, run, column
        const char *b
        ptrdiff_t ldb
        char *const *out
        const char *bias
        ptrdiff_t bias_row
        char *const *added
        int clamp
        double low, high
        int accumulate, spare
        ptrdiff_t tiles, pixel, out_pixel, added_pixel, blocks, panel
        int ahead
        const char *later
        ptrdiff_t later_step
    ctypedef void (*tile_fn)(const tile_args *) noexcept nogil
    ctypedef struct add_args:
        void *sum
        const void *term
        ptrdiff_t ni, si, ti, nj, sj, tj, n
    ctypedef void (*add_fn)(const add_args *) noexcept nogil
    ctypedef struct conv_kernels:
        int lanes
        int rows[3]
        tile_fn gemm[3][15]
        tile_fn broad[5][3]
        tile_fn depthwise[3][15]
        tile_fn along[3][15]
        tile_fn narrow[5]
        add_fn add
        fill_fn fill
        gather_fn gather[5]
        pack_fn pack[5]
        finish_fn finish[5]
    const conv_kernels *conv_kernels_of(int isa)

# How the drivers but _gemm have that function: its module alone has the kernels.
ctypedef const conv_kernels *(*conv_kernels_fn)(int isa) noexcept nogil


cdef inline int spare_bytes(const conv_kernels *k, ptrdiff_t taken, int wide, int csize) noexcept nogil:
    """The `spare` of a tile that takes so many of its columns; -1 where it cannot store just these: AVX-512 can store any."""
    cdef ptrdiff_t vector = k.lanes * csize, spare = wide * vector - taken * csize
    return <int> spare if spare == 0 or 2 * spare == vector or 4 * spare == 3 * vector or vector == 64 else -1


cdef inline int tile_size(ptrdiff_t rows, int full) noexcept nogil:
    """The rows of the smallest tile that holds so many: 8, though two vectors wide it may be a full one of fewer."""
    return full if rows > 8 else 8 if rows > 4 else 4 if rows > 2 else <int> rows


cdef inline int tile_rows(ptrdiff_t left, int full) noexcept nogil:
    """How many of the rows that are left the next tile takes: 8 where tiles of 8 and 4 take less than a full one and the
    rest, as fewer than 4 take as long as 4."""
    if 8 < full and 8 < left < 2 * full - 3 and 4 * ceil_div(left, 4) < full + 4 * max(0, ceil_div(left - full, 4)):
        return 8
    return <int> min(left, full)
