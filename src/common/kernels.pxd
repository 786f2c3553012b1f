"""The declarations of src/gemm/kernels.h and src/common/move.h for the drivers."""

cdef extern from "../gemm/kernels.h" nogil:
    enum: TILE_ROWS, NONE, CLAMP
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
    ctypedef void (*gather_fn)(
        void *, ptrdiff_t, ptrdiff_t, const char *, ptrdiff_t, ptrdiff_t, ptrdiff_t, ptrdiff_t
    ) noexcept nogil
    ctypedef int (*pack_fn)(void *, ptrdiff_t, const char *, ptrdiff_t, ptrdiff_t, ptrdiff_t, ptrdiff_t) noexcept nogil
    ctypedef void (*fill_fn)(void *, ptrdiff_t, double) noexcept nogil
    ctypedef struct finish_args:
        const void *tile
        ptrdiff_t pitch
        int rows, columns
        char *const *out
        ptrdiff_t out_step
        char *const *residual
        ptrdiff_t residual_step
        const void *bias
        int activation
        double low, high
    ctypedef void (*finish_fn)(const finish_args *) noexcept nogil
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
    int compute_type(int dtype)
