# The declarations of kernels.h.

cdef extern from "kernels.h" nogil:
    enum: MAXIMUM, TOTAL, FIRST, SUMMIT
    ctypedef struct window_args:
        const char *src
        ptrdiff_t taps[3]
        ptrdiff_t step[3]
        ptrdiff_t count[2]
        ptrdiff_t src_step[2]
        ptrdiff_t dst_step[2]
        ptrdiff_t lanes, lane_step
        char *dst
        char *by
        ptrdiff_t number
        ptrdiff_t numbers[3]
        const char *weights
        ptrdiff_t weight_step[3]
        ptrdiff_t weight_lane
        double sign, divisor
        int accumulate, by_columns, outside
        int spare
        ptrdiff_t column
        const JobAxis *jobs
        ptrdiff_t phases, start, positions, position, together
        void *row
        const JobAxis *counts
    bint windows_slide(const JobAxis *)
    ptrdiff_t floor_div(ptrdiff_t a, ptrdiff_t b)
    ptrdiff_t stretch_of(const JobAxis *, ptrdiff_t o, ptrdiff_t end, ptrdiff_t first, ptrdiff_t last, ptrdiff_t *k0, ptrdiff_t *k1)
    ctypedef struct route_args:
        const char *src
        const char *grad
        char *dst
        ptrdiff_t taps[2]
        ptrdiff_t step[2]
        ptrdiff_t own[3][2]
        ptrdiff_t newer, columns, column_step
        const ptrdiff_t *column
        ptrdiff_t windows, src_step, grad_step, lanes, lane_step
        int fresh
        const JobAxis *along
        ptrdiff_t position
        const char *weights
        ptrdiff_t weight_step[3]
        double sign
    ptrdiff_t slide_of(const route_args *)
    ctypedef struct lrn_args:
        const void *x
        const void *dy
        const void *y
        void *out
        void *norm
        void *squares
        ptrdiff_t channels, radius
        double bias, alpha, beta
    ctypedef struct window_kernels:
        int lanes
        double least
        void (*window[4])(const window_args *) noexcept nogil
        void (*rows[2])(const window_args *) noexcept nogil
        void (*route[2])(const route_args *) noexcept nogil
        void (*route_pairs)(const route_args *) noexcept nogil
        void (*split)(void *, void *, const void *, ptrdiff_t) noexcept nogil
        void (*merge)(void *, const void *, const void *, ptrdiff_t) noexcept nogil
        void (*fill)(void *, ptrdiff_t, double) noexcept nogil
        void (*tally)(void *, const void *, const void *, ptrdiff_t, ptrdiff_t, ptrdiff_t) noexcept nogil
        void (*positions)(char *, ptrdiff_t, ptrdiff_t, int, const void *, ptrdiff_t, ptrdiff_t, ptrdiff_t, int64_t,
                          int64_t, int64_t, int64_t) noexcept nogil
        void (*lrn)(const lrn_args *) noexcept nogil
        gather_fn gather[5]
        void (*scatter[5])(char *, ptrdiff_t, ptrdiff_t, const void *, ptrdiff_t, ptrdiff_t, ptrdiff_t, ptrdiff_t) noexcept nogil
    const window_kernels *window_kernels_of(int isa)
