/* The registry of instruction sets: one line each, in ascending order of preference.
 * X(name, detected on this CPU and enabled by its operating system) */
#pragma once

#if defined(__x86_64__)
#define ISA_LIST(X)                                                                                                    \
    X(baseline, 1)                                                                                                     \
    X(avx2, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c"))         \
    X(avx512, __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&                               \
                  __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&                          \
                  __builtin_cpu_supports("f16c"))
#else
#define ISA_LIST(X) X(baseline, 1)
#endif

/* Storage types, in the order of every kernel table; the last two are computed in float32. */
enum dtype { F32, F64, I32, F16, BF16, DTYPES };

#define COMPUTE_TYPES 3
static inline int compute_type(int dtype) { return dtype >= F16 ? F32 : dtype; }
static inline int storage_bytes(int dtype) { return dtype == F64 ? 8 : dtype >= F16 ? 2 : 4; }
static inline int compute_bytes(int dtype) { return dtype == F64 ? 8 : 4; }
