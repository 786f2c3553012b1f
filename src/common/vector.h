/* The only macros the kernels share. An ISA file defines ISA and VBYTES; this file is included once for every
 * compute type T (suffix TN) and gives V, a vector of VL elements of T, with unaligned loads and stores. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifndef CYCONV_VECTOR_ONCE
#define CYCONV_VECTOR_ONCE
#define JOIN_(a, b, c) a##_##b##_##c
#define JOIN(a, b, c) JOIN_(a, b, c)
#define NAME(f) JOIN(f, TN, ISA)
#ifdef SANITIZED /* with every load and store checked, a copy per shape takes minutes to compile */
#define UNROLL
#define INLINE static inline
#else
#define UNROLL _Pragma("GCC unroll 64")
#define INLINE static inline __attribute__((always_inline))
#endif
/* mask ? yes : no, lane by lane; C has no ?: on vectors */
#define SELECT(mask, yes, no) ((V)(((mask) & (VM)(yes)) | (~(mask) & (VM)(no))))
/* The compiler may not work out what a stepping pointer comes to: of 36 addresses it would make 36 registers, most of
 * them in memory. */
#define STEP_BY_STEP(pointer) __asm__("" : "+r"(pointer))
/* So many bytes of anything. */
#if VBYTES > 32
typedef int ints __attribute__((vector_size(VBYTES)));
typedef long long longs __attribute__((vector_size(VBYTES)));
typedef int bytes32 __attribute__((vector_size(32), aligned(1), may_alias));
#else
typedef struct { char all[32]; } bytes32;
#endif
typedef int bytes16 __attribute__((vector_size(16), aligned(1), may_alias));
typedef int64_t bytes8 __attribute__((aligned(1), may_alias));
typedef int32_t bytes4 __attribute__((aligned(1), may_alias));
#endif

#undef V
#undef VM
#undef VU
#undef VI
#undef VL
#undef LOAD
#undef STORE
#define V NAME(vec)
#define VM NAME(vec_mask)
#define VU NAME(unaligned_vec)
#define VI NAME(vec_index) /* integers of T's size, to say which lanes a shuffle takes */
#define VL ((int)(VBYTES / sizeof(T)))
typedef T V __attribute__((vector_size(VBYTES)));
typedef T VU __attribute__((vector_size(VBYTES), aligned(sizeof(T)), may_alias));
typedef __typeof__((V){0} < (V){0}) VM;
typedef __typeof__(__builtin_choose_expr(sizeof(T) == 8, (int64_t)0, (int32_t)0)) VI
    __attribute__((vector_size(VBYTES)));
#define LOAD(p) (*(const VU *)(p))
#define STORE(p, v) (*(VU *)(p) = (v))
/* Only the first n elements, and zeros behind them, where there is an instruction for that. */
#if VBYTES == 64
#undef LOAD_SOME
#undef LOAD_FIRST
#undef STORE_FIRST
#define LANES(first, end) ((uint16_t)((1u << (end)) - (1u << (first)))) /* end <= 16 */
#define LOAD_SOME(p, first, end, fill)                                                                                 \
    (sizeof(T) == 4                                                                                                    \
         ? (V)__builtin_ia32_loaddqusi512_mask((const void *)(p), (ints)(fill), LANES(first, end))                     \
         : (V)__builtin_ia32_loaddqudi512_mask((const void *)(p), (longs)(fill), (uint8_t)LANES(first, end)))
#define LOAD_FIRST(p, n) LOAD_SOME(p, 0, n, (V){0})
#define STORE_FIRST(p, v, n)                                                                                           \
    (sizeof(T) == 4 ? __builtin_ia32_storedqusi512_mask((void *)(p), (ints)(v), LANES(0, n))                           \
                    : __builtin_ia32_storedqudi512_mask((void *)(p), (longs)(v), (uint8_t)LANES(0, n)))
#endif
