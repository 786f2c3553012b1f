"""What the drivers share at run time: ISA detection, OpenMP's teams and their cures, the FMA peak."""

cimport openmp
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

cdef extern from "runtime.h" nogil:
    int isa_detected(int isa)
    const char *isa_name(int isa)
    int isa_count()
    double fma_flops(int isa, long steps)
    int threads_probe(int wanted)
    void threads_forget()


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


cdef double now() noexcept nogil:
    cdef timespec t
    clock_gettime(CLOCK_MONOTONIC, &t)
    return t.tv_sec + 1e-9 * t.tv_nsec


def fma_peak(double seconds, int isa):
    """GFLOP/s of one thread in a loop of independent float32 FMAs: the best of short runs within `seconds`."""
    if not 0 <= isa < isa_count() or not isa_detected(isa):
        raise ValueError(f"fma_peak: isa must name one that this CPU has, not {isa}")
    cdef double best = 0, end = now() + seconds, start, flops
    with nogil:
        while now() < end:
            start = now()
            flops = fma_flops(isa, 20000)
            best = max(best, flops / (now() - start) / 1e9)
    return best
