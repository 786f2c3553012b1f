"""The declarations of src/common/move.h, and a box of input gathered by its kernels."""

from common cimport View, map_index


cdef extern from "move.h" nogil:
    enum: NONE, CLAMP
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


cdef struct Gathering:
    # How some channels are gathered: `repeat` times each, and a pixel every `pitch` elements.
    gather_fn gather
    fill_fn fill
    int mode, csize
    double constant
    ptrdiff_t channels, repeat, pitch


cdef inline void gather_box(const Gathering *g, const View *x, const char *src, ptrdiff_t images,
                            const ptrdiff_t *first, const ptrdiff_t *step, const ptrdiff_t *extent,
                            char *row) noexcept nogil:
    """Positions first + j*step, j < extent, of every axis, [n][d][h][w][channels], padding in place; src is where the
    first image has its first channel."""
    cdef ptrdiff_t n, d, h, w, at, id, ih, iw, inside, pitch = g.pitch * g.csize
    cdef const char *line
    for n in range(images):
        for d in range(extent[0]):
            id = map_index(first[0] + d * step[0], x.size[0], g.mode)
            for h in range(extent[1]):
                ih = map_index(first[1] + h * step[1], x.size[1], g.mode)
                if id < 0 or ih < 0:
                    g.fill(row, extent[2] * g.pitch, g.constant)
                    row += extent[2] * pitch
                    continue
                line = src + n * x.sn + id * x.s[0] + ih * x.s[1]
                w = 0
                while w < extent[2]:
                    at = first[2] + w * step[2]
                    iw = map_index(at, x.size[2], g.mode)
                    inside = 1
                    if 0 <= at < x.size[2]:
                        inside = min((x.size[2] - 1 - at) // step[2] + 1, extent[2] - w)
                    if iw < 0:
                        g.fill(row, g.pitch, g.constant)
                    else:
                        g.gather(row, g.pitch, g.repeat, line + iw * x.s[2], inside, step[2] * x.s[2], g.channels, x.sc)
                    w += inside
                    row += inside * pitch
