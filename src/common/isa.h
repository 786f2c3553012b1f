/* The registry of instruction sets: one line each, in ascending order of preference.
 * X(name, detected on this CPU and enabled by its operating system, what else the caller gives) */
#pragma once

#if defined(__x86_64__)
#define ISA_LIST(X, ...)                                                                                               \
    X(baseline, 1, __VA_ARGS__)                                                                                        \
    X(avx2, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c"),         \
      __VA_ARGS__)                                                                                                     \
    X(avx512,                                                                                                          \
      __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") && \
          __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("f16c"),                                        \
      __VA_ARGS__)
#else
#define ISA_LIST(X, ...) X(baseline, 1, __VA_ARGS__)
#endif

/* Storage types, in the order of every kernel table; the last two are computed in float32. */
enum dtype { F32, F64, I32, F16, BF16, DTYPES };

#define COMPUTE_TYPES 3
static inline int compute_type(int dtype) { return dtype >= F16 ? F32 : dtype; }
static inline int storage_bytes(int dtype) { return dtype == F64 ? 8 : dtype >= F16 ? 2 : 4; }
static inline int compute_bytes(int dtype) { return dtype == F64 ? 8 : 4; }

/* A type of kernel tables: one for every ISA and compute type, and those of an ISA by its place in the registry. */
#define DECLARE_TABLE(isa, detected, type) extern const type type##_##isa[COMPUTE_TYPES];
#define TABLE_ROW(isa, detected, type) type##_##isa,
#define KERNEL_TABLES(type)                                                                                            \
    ISA_LIST(DECLARE_TABLE, type)                                                                                      \
    static inline const type *type##_of(int isa)                                                                       \
    {                                                                                                                  \
        static const type *const tables[] = {ISA_LIST(TABLE_ROW, type)};                                               \
        return tables[isa];                                                                                            \
    }
/* What an ISA file defines under a name: its own, and its table. */
#define WITH_ISA_(name, isa) name##_##isa
#define WITH_ISA(name, isa) WITH_ISA_(name, isa)
#define TABLE(type) const type WITH_ISA(type, ISA)[COMPUTE_TYPES]
