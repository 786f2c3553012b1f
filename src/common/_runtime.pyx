"""What the drivers share at run time: ISA detection, OpenMP's teams and their cures, the FMA peak."""

from contextvars import ContextVar

import numpy as np

cimport numpy as cnp
cimport openmp
from cpython.contextvars cimport get_value
from libc.string cimport strcpy
from common cimport kept_memory, now, output

cdef extern from "Python.h":
    object PyCapsule_New(void *pointer, const char *name, void *destructor)

cdef extern from "numpy/arrayobject.h":
    ctypedef struct PyDataMemAllocator:
        void *ctx
        void *(*malloc)(void *, size_t)
        void *(*calloc)(void *, size_t, size_t)
        void *(*realloc)(void *, void *, size_t)
        void (*free)(void *, void *, size_t)
    ctypedef struct PyDataMem_Handler:
        char name[127]
        unsigned char version
        PyDataMemAllocator allocator
    object PyDataMem_SetHandler(object handler)

cdef extern from "outputs.h":
    void *output_malloc(void *, size_t)
    void *output_calloc(void *, size_t, size_t)
    void *output_realloc(void *, void *, size_t)
    void output_free(void *, void *, size_t)

cdef extern from "team.h":
    enum: _MOST_THREADS "MOST_THREADS"

cdef extern from "runtime.h" nogil:
    int isa_detected(int isa)
    const char *isa_name(int isa)
    int isa_count()
    double fma_flops(int isa, long steps)
    int threads_probe(int wanted)
    void threads_forget()


cnp.import_array()

MOST_THREADS = _MOST_THREADS  # of a team


def common_code(x, f):
    """The place in DTYPES of two ndarrays of one type that kernels can read as they are; else -1, and Python will say."""
    cdef int number
    if type(x) is not cnp.ndarray or type(f) is not cnp.ndarray:
        return -1
    if not cnp.PyArray_ISBEHAVED_RO(<cnp.ndarray> x) or not cnp.PyArray_ISBEHAVED_RO(<cnp.ndarray> f):
        return -1
    number = cnp.PyArray_TYPE(<cnp.ndarray> x)
    if number != cnp.PyArray_TYPE(<cnp.ndarray> f):
        return -1
    return 0 if number == cnp.NPY_FLOAT32 else 1 if number == cnp.NPY_FLOAT64 else 2 if number == cnp.NPY_INT32 else -1


cdef bint alike(x, tuple shape, dtype):
    """Whether x is an ndarray of that shape and very dtype, whose elements lie where kernels may read them."""
    cdef int i
    if type(x) is not cnp.ndarray:
        return False
    if (<object> cnp.PyArray_DESCR(<cnp.ndarray> x) is not dtype or cnp.PyArray_NDIM(<cnp.ndarray> x) != len(shape)
            or not cnp.PyArray_ISALIGNED(<cnp.ndarray> x)):
        return False
    for i in range(cnp.PyArray_NDIM(<cnp.ndarray> x)):
        if cnp.PyArray_DIMS(<cnp.ndarray> x)[i] != <Py_ssize_t> shape[i]:
            return False
    return True


cdef class Settings:
    """What is in force for calls that do not say it themselves, where a plan reads it without entering a Python function.

    Of a thread or task (`_here`, context variables) first, then of the process; _threads, _isa and _plan set them.
    """
    cdef public int isa, environment_threads, machine_threads
    cdef public object threads, algorithm
    cdef readonly object threads_here, algorithm_here
    cdef public bint openmp_rules
    cdef readonly int openmp_at_import

    def __cinit__(self):
        self.threads_here = ContextVar("cyconv_threads", default=None)
        self.algorithm_here = ContextVar("cyconv_algorithm", default=None)
        self.openmp_at_import = openmp.omp_get_max_threads()

    cpdef int num_threads(self):
        """The team of a call without num_threads, in the order that `get_num_threads` documents."""
        cdef int omp
        threads = get_value(self.threads_here)
        threads = self.threads if threads is None else threads
        if threads is not None:
            return threads
        if self.environment_threads:
            return self.environment_threads
        omp = openmp.omp_get_max_threads()
        return omp if self.openmp_rules or omp != self.openmp_at_import else self.machine_threads

    cpdef forced_algorithm(self):
        """The algorithm that is used wherever it accepts a problem, if there is one."""
        name = get_value(self.algorithm_here) or self.algorithm
        return None if name == "auto" else name


cdef Settings SETTINGS = Settings()
settings = SETTINGS


cdef bint like_last(tuple last, x, out, residual):
    """Whether these are an input like that of a plan's last call, and an output for it that is no part of the others."""
    if not last or not alike(x, <tuple> last[0], last[1]):
        return False
    if residual is not None and not alike(residual, <tuple> last[4], last[1]):
        return False
    return out is None or (alike(out, <tuple> last[4], last[1])
                           and cnp.PyArray_ISWRITEABLE(<cnp.ndarray> out) and apart(<cnp.ndarray> out, x, residual))


cdef class Quick:
    """What calls a plan: at once where the input is like the last one and the other arrays fit it, else through `_call`.
    A tiny problem takes less time than Python needs to enter a function and look at its arguments."""
    cdef public tuple _last
    cdef public object _threads

    def __call__(self, x, out=None, *, residual=None, num_threads=None):
        """The op on x."""
        cdef tuple last = self._last
        if num_threads is None and like_last(last, x, out, residual):
            if SETTINGS.isa == <int> last[2] and SETTINGS.forced_algorithm() == last[3]:
                threads = SETTINGS.num_threads() if self._threads is None else self._threads
                try:
                    return last[5](x, last[6], last[7], residual, last[8], out, threads, last[2])
                except MemoryError:
                    pass  # _call says which op had too little
        return self._call(x, out, residual, num_threads)


cdef PyDataMem_Handler HANDLER
strcpy(HANDLER.name, "cyconv outputs")
HANDLER.version, HANDLER.allocator.ctx = 1, NULL
HANDLER.allocator.malloc, HANDLER.allocator.calloc = output_malloc, output_calloc
HANDLER.allocator.realloc, HANDLER.allocator.free = output_realloc, output_free
cdef object OUTPUTS = PyCapsule_New(&HANDLER, "mem_handler", NULL)


def large_output(shape, dtype):
    """An array for a large output, from memory that an earlier one gave back if there is any (src/common/outputs.h)."""
    before = PyDataMem_SetHandler(OUTPUTS)
    try:
        return np.empty(shape, dtype)
    finally:
        PyDataMem_SetHandler(before)


def empty(tuple shape, cnp.dtype dtype):
    """An array for an output of any size."""
    return output(shape, dtype, large_output)


cdef enum:
    SLAB_BYTES = 16 << 20
    SLAB_LEAST = 1 << 16

cdef cnp.ndarray slab = None   # what plans' filters are put into, one behind the other,
cdef Py_ssize_t slab_used = 0  # and as far as it is full


def packed(Py_ssize_t size, str op):
    """Memory for the packed filters of a plan: an array of bytes that starts a cache line.

    Filters lie together in large slabs, which have huge pages where the system gives them on request: of small pages, most
    have left the TLB when a network comes to a layer again (Inception v3: 6 % of the time). A slab lives as long as a plan
    in it.
    """
    global slab, slab_used
    cdef Py_ssize_t start
    cdef cnp.ndarray whole
    if not SLAB_LEAST <= size < SLAB_BYTES // 4:
        return kept_memory(size, op, "packed filters", large_output)
    if slab is None or slab_used + size > SLAB_BYTES:
        fresh = kept_memory(SLAB_BYTES, op, "packed filters", large_output)
        slab, slab_used = fresh, 0  # others may have run meanwhile, but not from here to the last line,
    whole, start = slab, slab_used
    slab_used += (size + 63) // 64 * 64
    return whole[start:start + size]  # which makes objects, so that others may run, by a finalizer


cdef void bounds(cnp.ndarray a, char **low, char **high) noexcept:
    """The bytes from the first of an array to behind its last."""
    cdef int i
    cdef cnp.npy_intp reach
    low[0] = high[0] = <char *> cnp.PyArray_DATA(a)
    if cnp.PyArray_SIZE(a) == 0:
        return
    high[0] += cnp.PyArray_ITEMSIZE(a)
    for i in range(cnp.PyArray_NDIM(a)):
        reach = (cnp.PyArray_DIMS(a)[i] - 1) * cnp.PyArray_STRIDES(a)[i]
        if reach > 0:
            high[0] += reach
        else:
            low[0] += reach


def apart(cnp.ndarray target not None, *others):
    """Whether no byte between a target's first and last can belong to another of the arrays; what is not one is skipped."""
    cdef char *low
    cdef char *high
    cdef char *first
    cdef char *last
    bounds(target, &low, &high)
    for a in others:
        if isinstance(a, cnp.ndarray):
            bounds(<cnp.ndarray> a, &first, &last)
            if low < high and first < last and first < high and low < last:
                return False
    return True


def isas():
    """(name, detected) of every ISA in the registry, in ascending order of preference."""
    return [(isa_name(i).decode(), bool(isa_detected(i))) for i in range(isa_count())]


def omp_max_threads():
    """What OpenMP would use: OMP_NUM_THREADS, the affinity mask, or what threadpoolctl set."""
    return openmp.omp_get_max_threads()


def prepare(int wanted):
    """The team that can really be had: 1 inside somebody's parallel region, fewer where threads cannot be created."""
    if wanted <= 1 or openmp.omp_in_parallel():
        return 1
    return threads_probe(wanted)


def release():
    """Give OpenMP's threads back. A forked child would wait for threads that do not exist in it."""
    threads_forget()


def fma_peak(double seconds, int isa):
    """GFLOP/s of one thread in a loop of independent float32 FMAs: the best of short runs within `seconds`, or of one."""
    if not 0 <= isa < isa_count() or not isa_detected(isa):
        raise ValueError(f"fma_peak: isa must name one that this CPU has, not {isa}")
    cdef double best = 0, end = now() + seconds, start, flops
    with nogil:
        while best == 0 or now() < end:
            start = now()
            flops = fma_flops(isa, 20000)
            best = max(best, flops / (now() - start) / 1e9)
    return best
