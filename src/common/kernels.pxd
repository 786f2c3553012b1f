"""The declarations of src/gemm/kernels.h for the drivers that use its tiles."""

from move cimport fill_fn, finish_fn, gather_fn, pack_fn

cdef extern from "../gemm/kernels.h" nogil:
    enum: TILE_ROWS
    ctypedef struct tile_args:
        const char *const *a
        ptrdiff_t a_step
        const ptrdiff_t *offset
        ptrdiff_t runs, run, column
        const char *b
        ptrdiff_t ldb
        char *const *out
        const char *bias
        int clamp
        double low, high
        int accumulate
        ptrdiff_t tiles, pixel, out_pixel
    ctypedef void (*tile_fn)(const tile_args *) noexcept nogil
    ctypedef struct conv_kernels:
        int lanes
        int rows[3]
        tile_fn gemm[3][15]
        tile_fn depthwise[3][15]
        tile_fn along[3]
        fill_fn fill
        gather_fn gather[5]
        pack_fn pack[5]
        finish_fn finish[5]
    const conv_kernels *conv_kernels_of(int isa)
