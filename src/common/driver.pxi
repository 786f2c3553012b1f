# What the drivers of convolutions share, each in its module: packed filters, and a call from its arrays to its end.

cimport numpy as cnp
from common cimport Call, View, begin_call, end_call, output, readable, view_of
from libc.string cimport memcpy, memset

from cyconv._runtime import large_output, packed, prepare

cdef enum:
    PANEL_END = 256         # bytes to spare behind packed filters: vectors are read whole


cdef struct Operands:
    # What a call is given: where its arrays lie, and how its outputs end. Of no residual, data is NULL.
    View x, out, residual
    int activation
    double low, high


cdef char *copy_bias(cnp.ndarray bias, char *to, ptrdiff_t size, ptrdiff_t times, ptrdiff_t spare) noexcept:
    """A bias of so many bytes, one after the other so many times, or zeros, and zeros to spare. Returns where they end."""
    cdef ptrdiff_t i
    memset(to, 0, times * size + spare)
    for i in range(0 if bias is None else times):
        memcpy(to + i * size, cnp.PyArray_DATA(bias), size)
    return to + times * size + spare


cdef class Panels:
    """Filters in a driver's own order, and as they were given."""
    cdef char *data
    cdef readonly Py_ssize_t nbytes
    cdef readonly bint finite
    cdef readonly object filters
    cdef cnp.ndarray memory

    cdef char *room(self, ptrdiff_t size, str op) except NULL:
        """Memory for so many bytes of them."""
        self.nbytes, self.memory = size, packed(size + PANEL_END, op)
        self.data = <char *> cnp.PyArray_DATA(self.memory)
        return self.data


cdef class Driver:
    """A Problem as the driver wants it. Immutable; `pack` and `run` may be called from many threads."""
    cdef readonly object problem, layout
    cdef readonly double flops, work  # of a direct convolution, and what is done
    cdef str op
    cdef tuple out_shape
    cdef int dtype, ndim
    cdef bint channels_last
    cdef bint finite_only    # a call whose filters are not finite is the `general` driver's
    cdef ptrdiff_t groups, cg, mg

    def __cinit__(self, problem, *_):
        self.problem, self.op, self.out_shape, self.dtype = problem, problem.op, problem.out_shape, problem.dtype
        problem = getattr(problem, "second", problem)  # of two stages
        self.flops = self.work = problem.flops
        self.ndim, self.channels_last, self.groups = problem.ndim, problem.channels_last, problem.groups
        self.cg, self.mg = problem.in_channels // self.groups, problem.out_channels // self.groups

    # ---- what each of them says itself ----

    cdef bint takes(self, const View *v) noexcept:
        """Whether outputs may lie so."""
        return True

    cdef int pack_into(self, Panels panels, cnp.ndarray w, Call *call, int isa) except -1:
        """Pack filters, for `compute` on the same ISA."""

    cdef ptrdiff_t scratch(self, int threads, int isa, Call *call) except -1:
        """The bytes of `workspace`."""

    cdef int compute(self, const Operands *o, cnp.ndarray x, filters, cnp.ndarray bias, cnp.ndarray out, int threads, int isa,
                     Call *call) except -1:
        """Outputs that there are some of, from filters that are packed or not."""

    # ---- and what is the same for all ----

    def pack(self, cnp.ndarray w, int isa):
        """The filters packed once, for `run` on the same ISA."""
        cdef Call call
        cdef Panels panels = Panels.__new__(Panels)
        begin_call(&call, self.op)
        try:
            self.pack_into(panels, w, &call, isa)
        finally:
            end_call(&call)
        panels.filters, panels.finite = w, not call.not_finite
        return panels

    def workspace(self, int threads, int isa):
        """The most bytes of scratch of a call by so many threads, packed filters apart, whatever the array's strides."""
        cdef Call call
        begin_call(&call, self.op)
        try:
            return self.scratch(threads, isa, &call)
        finally:
            end_call(&call)

    cdef int take_epilogue(self, epilogue, Operands *o) except -1:
        o.activation, o.low, o.high = epilogue
        if self.dtype == 2:
            o.low, o.high = max(o.low, -2147483648.0), min(o.high, 2147483647.0)
        return 0

    def run(self, cnp.ndarray x, filters, cnp.ndarray bias, cnp.ndarray residual, epilogue, cnp.ndarray out,
            int threads, int isa):
        """Compute the problem on x into out (made when None) and return it.

        filters are an array or packed; bias is a dense vector of the compute type; epilogue (activation, low, high).
        """
        cdef Call call
        cdef Operands o
        cdef Panels panels = <Panels> filters if isinstance(filters, Panels) else None
        given = filters if panels is None else panels.filters
        if self.finite_only and panels is not None and not panels.finite:
            return self.general.run(x, given, bias, residual, epilogue, out, threads, isa)
        if out is None:
            out = output(self.out_shape, x.dtype, large_output)
        if cnp.PyArray_SIZE(out) == 0:
            return out
        x = readable(x, self.ndim, self.channels_last, &o.x)
        if not view_of(out, self.ndim, self.channels_last, &o.out) or not self.takes(&o.out):
            out[...] = self.run(x, filters, bias, residual, epilogue, None, threads, isa)
            return out
        memset(&o.residual, 0, sizeof(View))
        if residual is not None:
            residual = readable(residual, self.ndim, self.channels_last, &o.residual)
            if not self.takes(&o.residual):
                residual = residual.copy()
                view_of(residual, self.ndim, self.channels_last, &o.residual)
        self.take_epilogue(epilogue, &o)
        begin_call(&call, self.op)
        try:
            self.compute(&o, x, filters, bias, out, threads, isa, &call)
        finally:
            end_call(&call)
        if self.finite_only and call.not_finite:
            return self.general.run(x, given, bias, residual, epilogue, out, threads, isa)
        return out
