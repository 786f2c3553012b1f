"""The declarations of src/winograd/transforms.h, for the drivers that transform, and how they cut long and strided filters."""


cdef inline ptrdiff_t first_tap(ptrdiff_t chunk, ptrdiff_t stride, ptrdiff_t r) noexcept nogil:
    """Of a chunk of r taps, every stride-th one: each phase of the input meets its own. Phases are neighbours."""
    return chunk % stride + chunk // stride * stride * r


cdef inline ptrdiff_t first_output(ptrdiff_t tile, ptrdiff_t dilation, ptrdiff_t m) noexcept nogil:
    """Of a tile of m outputs, a dilation apart: residues modulo the dilation are neighbours."""
    return tile % dilation + dilation * (tile // dilation * m)


cdef extern from "../winograd/transforms.h" nogil:
    enum: M_MAX
    ctypedef struct input_args:
        const char *const *pixels
        ptrdiff_t channels
        char *v
        ptrdiff_t xi, ahead
    ctypedef void (*input_fn)(const input_args *) noexcept nogil
    ctypedef struct output_args:
        const char *m
        ptrdiff_t xi
        int wide
        const char *bias
        int clamp
        double low, high
        char *const *out
        char *const *added
        ptrdiff_t ahead
    ctypedef int (*output_fn)(const output_args *) noexcept nogil
    ctypedef struct filter_args:
        const char *w
        ptrdiff_t step_h, step_w, ahead
        int taps_h, taps_w
        ptrdiff_t columns, width
        char *u
        ptrdiff_t xi
    ctypedef int (*filter_fn)(const filter_args *) noexcept nogil
    ctypedef struct winograd_kernels:
        input_fn input[3][2]
        output_fn output[3][M_MAX + 1][2]
        filter_fn filter[3][M_MAX + 1][2]
