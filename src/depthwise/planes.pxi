# Channels first: planes whose rows of pixels lie densely are not turned, the lanes are pixels of a row.

cdef enum:
    PLANE_BYTES = 24576       # of a plane's rows that are read together: L1 keeps them
    PLANE_LEAST = 12          # of them, whole tiles, also where L1 does not
    PLANE_UNIT = 1 << 20      # terms of a unit, about


cdef struct Planes:
    # A call: what a plane's rows of outputs have in common, and where planes are.
    plane_fn compute
    plane_args args
    View x, out
    ptrdiff_t repeat          # channels of the output for each of the input
    ptrdiff_t taps, csize
    ptrdiff_t together, parts  # planes of a unit; of one, its rows in so many
    ptrdiff_t step            # rows of outputs that are computed as one: pairs of a transposed convolution's
    ptrdiff_t band            # so many of which go together
    char *rooms               # of each thread
    ptrdiff_t room
    Call *call


cdef void run_planes(const void *task, ptrdiff_t unit, int thread) noexcept nogil:
    """Some planes of outputs, band by band."""
    cdef const Planes *p = <const Planes *> task
    cdef plane_args a = p.args
    cdef ptrdiff_t number, n, c, part = unit % p.parts, rows = ceil_div(p.out.size[1], p.step)
    cdef ptrdiff_t last = rows * (part + 1) // p.parts
    a.room = p.rooms + thread * p.room
    memset(a.room, 0, p.room)
    unit //= p.parts
    for number in range(unit * p.together, min((unit + 1) * p.together, p.out.n * p.out.c)):
        n, c = number // p.out.c, number % p.out.c
        a.x = p.x.data + n * p.x.sn + c // p.repeat * p.x.sc
        a.w = <const char *> p.args.w + c * p.csize
        if a.bias != NULL:
            a.bias = <const char *> p.args.bias + c * p.csize
        a.first = rows * part // p.parts
        while a.first < last:
            a.rows = ceil_div(last - a.first, ceil_div(last - a.first, p.band))
            a.out = p.out.data + n * p.out.sn + c * p.out.sc + a.first * p.step * p.out.s[1]
            a.half = (a.first + a.rows) * p.step > p.out.size[1]
            p.compute(&a)
            if poll_after(p.call, thread, a.rows * a.columns // 16 * p.taps):
                return
            a.first += a.rows


cdef void cut_planes(Planes *p, const Axis *h, const Axis *w, ptrdiff_t lanes) noexcept:
    """A thread's rows, padded: an odd number of cache lines each."""
    cdef ptrdiff_t row = lanes + max((w.size + w.lo) // w.stride + 1, w.out + w.taps)
    p.args.pitch = odd_lines(w.stride * row * p.csize) // p.csize
    p.band = min(h.out, max(PLANE_LEAST, (PLANE_BYTES // (p.args.pitch * p.csize) - h.taps) // h.stride + 1))
    p.room = aligned(span_of(h, p.band) * p.args.pitch * p.csize)
