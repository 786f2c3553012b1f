/* The kernels of the window driver in vector extensions, for one compute type T. kernels.h states what each computes;
 * isa.inc.h puts them into the ISA's table. */
#define LEAST ((T)LEAST_OF(T))
#define IS_NAN(x) ((x) != (x))

#define I NAME(number) /* an integer as wide as T; VI is a vector of them */
typedef __typeof__(__builtin_choose_expr(sizeof(T) == 8, (int64_t)0, (int32_t)0)) I;
typedef I NAME(unaligned_number) __attribute__((vector_size(VBYTES), aligned(sizeof(I)), may_alias));
#define LOAD_NUMBERS(p) ((VI) * (const NAME(unaligned_number) *)(p))
#define STORE_NUMBERS(p, v) (*(NAME(unaligned_number) *)(p) = (v))

/* ---- windows -------------------------------------------------------------------------------------------------- */

/* Calls one of three functions, for how a's lanes lie. */
#define BY_SPACING(f, a)                                                                                               \
    ((a)->lane_step == 1 ? NAME(f##_ADJACENT)(a) : (a)->lane_step == 2 ? NAME(f##_ALTERNATE)(a) : NAME(f##_ANY)(a))
#define SINGLE SPACINGS /* one lane, in all places of the vector: what is narrower than a vector goes lane by lane */

INLINE V NAME(lanes)(const char *p, const int spacing, ptrdiff_t step)
{
    const T *x = (const T *)p;
    T some[VL];
    VI even;
    if (spacing == ADJACENT)
        return LOAD(x);
    if (spacing == SINGLE)
        return *x - (V){0}; /* minus keeps -0 */
    if (spacing == ALTERNATE) {
    /* The second load overlaps the first by one: it ends with the last lane, not behind it. */
    UNROLL for (int i = 0; i < VL; i++)
            even[i] = i < VL / 2 ? 2 * i : 2 * i + 1;
        return __builtin_shuffle(LOAD(x), LOAD(x + VL - 1), even);
    }
    for (int i = 0; i < VL; i++)
        some[i] = x[i * step];
    return LOAD(some);
}

/* x > y ? x : y, lane by lane: NaN in either gives y. It is one instruction of x86, but gcc finds it only at times. */
#if defined(__x86_64__) && !defined(LARGER)
#define LARGER_f32_16 __builtin_ia32_maxps
#define LARGER_f32_32 __builtin_ia32_maxps256
#define LARGER_f32_64(x, y) __builtin_ia32_maxps512_mask(x, y, y, -1, 4)
#define LARGER_f64_16 __builtin_ia32_maxpd
#define LARGER_f64_32 __builtin_ia32_maxpd256
#define LARGER_f64_64(x, y) __builtin_ia32_maxpd512_mask(x, y, y, -1, 4)
#define LARGER_i32_16 NAME(selected)
#define LARGER_i32_32 NAME(selected)
#define LARGER_i32_64 NAME(selected)
#define LARGER_(tn, bytes) LARGER_##tn##_##bytes
#define LARGER(tn, bytes) LARGER_(tn, bytes)
#elif !defined(LARGER)
#define LARGER(tn, bytes) NAME(selected)
#endif
INLINE V NAME(selected)(V x, V y) { return SELECT(x > y, x, y); }
INLINE V NAME(larger)(V x, V y) { return LARGER(TN, VBYTES)(x, y); }

/* Whether a lane of a mask is set. */
#if VBYTES == 64
#define ANY_LANE(mask) (__builtin_ia32_cvtd2mask512((NAME(ints))(mask)) != 0)
#elif defined(__x86_64__) && VBYTES == 32
#define ANY_LANE(mask) (__builtin_ia32_movmskps256((NAME(floats))(mask)) != 0)
#elif defined(__x86_64__)
#define ANY_LANE(mask) (__builtin_ia32_movmskps((NAME(floats))(mask)) != 0)
#else
#define ANY_LANE(mask) NAME(any_lane)(mask)
INLINE int NAME(any_lane)(VM mask)
{
    int any = 0;
    for (int i = 0; i < VL; i++)
        any |= mask[i] != 0;
    return any;
}
#endif
typedef int NAME(ints) __attribute__((vector_size(VBYTES)));
typedef long long NAME(longs) __attribute__((vector_size(VBYTES)));
typedef float NAME(floats) __attribute__((vector_size(VBYTES)));

/* MAXIMUM or TOTAL of what there is and one more. */
INLINE V NAME(combined)(V acc, V x, const int reduction)
{
    return reduction == TOTAL ? acc + x : SELECT(IS_NAN(acc), acc, NAME(larger)(acc, x));
}

#define WIDE 8 /* the most vectors of lanes at a time; half of them where each has its number too */

/* p windows by q vectors of lanes, all taps, in registers. `at` is the offset into src, `to` that into dst and
 * by, `lane` the first lane. */
INLINE void NAME(tile)(const window_args *a, ptrdiff_t at, ptrdiff_t to, ptrdiff_t lane, const int reduction,
                       const int spacing, const int p, const int q)
{
    const int located = reduction == FIRST || reduction == SUMMIT;
    const ptrdiff_t window = a->src_step[1], vector = VL * a->lane_step * (ptrdiff_t)sizeof(T);
    const T sign = (T)a->sign;
    const char *weights = a->weights + a->weight_lane * lane * (ptrdiff_t)sizeof(T);
    V acc[WIDE];
    VI by[WIDE];
    UNROLL for (int i = 0; i < p * q; i++) {
        acc[i] = (V){0} + (reduction == TOTAL ? 0 : LEAST);
        by[i] = (VI){0} + (I)a->number;
    }
    if (a->accumulate)
        UNROLL for (int i = 0; i < p * q; i++) {
            acc[i] = LOAD((const T *)(a->dst + to + i / q * a->dst_step[1]) + i % q * VL);
            if (reduction == SUMMIT)
                acc[i] *= sign;
            if (located && a->by)
                by[i] = LOAD_NUMBERS((const I *)(a->by + to + i / q * a->dst_step[1]) + i % q * VL);
        }
    const int by_columns = (reduction == MAXIMUM || reduction == TOTAL) && a->by_columns;
    for (ptrdiff_t k = 0; by_columns && a->taps[0] * a->taps[1] > 0 && k < a->taps[2]; k++) {
        V column[WIDE];
        for (ptrdiff_t d = 0; d < a->taps[0]; d++)
            for (ptrdiff_t h = 0; h < a->taps[1]; h++)
                UNROLL for (int i = 0; i < p * q; i++) {
                    const char *x = a->src + at + d * a->step[0] + h * a->step[1] + k * a->step[2] + i / q * window + i % q * vector;
                    column[i] = d + h == 0 ? NAME(lanes)(x, spacing, a->lane_step)
                                           : NAME(combined)(column[i], NAME(lanes)(x, spacing, a->lane_step), reduction);
                }
        UNROLL for (int i = 0; i < p * q; i++)
            acc[i] = k == 0 ? column[i] : NAME(combined)(acc[i], column[i], reduction);
    }
    for (ptrdiff_t d = 0; !by_columns && d < a->taps[0]; d++)
        for (ptrdiff_t h = 0; h < a->taps[1]; h++) {
            ptrdiff_t from = at + d * a->step[0] + h * a->step[1];
            const char *w = weights + d * a->weight_step[0] + h * a->weight_step[1];
            I number = (I)(a->number + d * a->numbers[0] + h * a->numbers[1]);
            for (ptrdiff_t k = 0; k < a->taps[2]; k++) {
                UNROLL for (int i = 0; i < p * q; i++) {
                    const ptrdiff_t offset = from + i / q * window + i % q * vector;
                    V x = NAME(lanes)(a->src + offset, spacing, a->lane_step);
                    if (reduction == SUMMIT) {
                        V weight = NAME(lanes)(w, SINGLE, 0);
                        if (a->weight_lane)
                            weight = NAME(lanes)(w + i % q * VL * sizeof(T), spacing == SINGLE ? SINGLE : ADJACENT, 1);
                        x = x * sign + weight;
                    }
                    if (reduction == MAXIMUM) {
                        acc[i] = spacing == ADJACENT ? NAME(larger)(x, acc[i]) : SELECT(x > acc[i], x, acc[i]);
                        acc[i] = SELECT(IS_NAN(x), x, acc[i]);
                    } else if (located) {
                        const VM better = ~(x <= acc[i]) & ~IS_NAN(acc[i]);
                        acc[i] = SELECT(better, x, acc[i]);
                        by[i] = (VI)((better & (VM)((VI){0} + number)) | (~better & (VM)by[i]));
                    } else
                        acc[i] += x;
                }
                from += a->step[2];
                w += a->weight_step[2];
                number += (I)a->numbers[2];
            }
        }
    if (by_columns && reduction == TOTAL && a->outside)
        UNROLL for (int i = 0; i < p * q; i++)
            acc[i] += 0;
    UNROLL for (int i = 0; i < p * q; i++) {
        T *dst = (T *)(a->dst + to + i / q * a->dst_step[1]) + i % q * VL;
        I *number = (I *)(a->by + to + i / q * a->dst_step[1]) + i % q * VL;
        V v = reduction == SUMMIT ? acc[i] * sign : acc[i];
        if (reduction == TOTAL && a->divisor != 1)
            v /= (T)a->divisor;
        if (spacing == SINGLE) {
            if (a->dst)
                *dst = v[0];
            if (located && a->by)
                *number = by[i][0];
        } else {
            if (a->dst)
                STORE(dst, v);
            if (located && a->by)
                STORE_NUMBERS(number, by[i]);
        }
    }
}

#include "columns.inc.h"

INLINE void NAME(windows)(const window_args *args, const int reduction, const int spacing)
{
    window_args a = *args;
    if (spacing == ADJACENT && (reduction == MAXIMUM ? NAME(slides_MAXIMUM)(args) : reduction == TOTAL && NAME(slides_TOTAL)(args)))
        return;
    if (spacing == ADJACENT && a.src_step[1] == a.dst_step[1] && a.dst_step[1] == a.lanes * (ptrdiff_t)sizeof(T) &&
        !a.weight_lane) {
        a.lanes *= a.count[1]; /* one long row */
        a.count[1] = 1;
    }
    const int wide = WIDE / 2;
    const ptrdiff_t lane = a.lane_step * (ptrdiff_t)sizeof(T), size = sizeof(T), spare = (VL - a.lanes) * size;
    /* Windows of fewer lanes than a vector may be computed in whole vectors, each of which overwrites what the one before
     * it left behind its last lane: all but the last of a row. */
    ptrdiff_t whole = a.lanes < VL ? 0 : a.count[1];
    if (spacing == ADJACENT && spare > 0 && a.dst_step[1] == a.lanes * size && a.src_step[1] >= a.dst_step[1])
        whole = a.count[1] - (spare + a.dst_step[1] - 1) / a.dst_step[1];
    for (ptrdiff_t r = 0; r < a.count[0]; r++) {
        int p;
        for (ptrdiff_t c = 0; c < a.count[1]; c += p) {
            const ptrdiff_t at = r * a.src_step[0] + c * a.src_step[1], to = r * a.dst_step[0] + c * a.dst_step[1];
            ptrdiff_t j = 0, next;
            p = spacing == ADJACENT && a.lanes < wide * VL && c + 4 <= whole ? 4 : 1;
            if (c >= whole)
                for (; j < a.lanes; j++)
                    NAME(tile)(&a, at + j * lane, to + j * size, j, reduction, SINGLE, 1, 1);
            for (; j < a.lanes; j = next) {
                next = j + wide * VL <= a.lanes && spacing != ANY && p == 1 ? j + wide * VL : j + VL;
                if (next > a.lanes && j) /* the last vector overlaps the one before */
                    j = a.lanes - VL;
                if (spacing == ADJACENT && p == 4)
                    NAME(tile)(&a, at + j * lane, to + j * size, j, reduction, spacing, 4, 1);
                else if (spacing != ANY && next == j + wide * VL)
                    NAME(tile)(&a, at + j * lane, to + j * size, j, reduction, spacing, 1, wide);
                else
                    NAME(tile)(&a, at + j * lane, to + j * size, j, reduction, spacing, 1, 1);
            }
        }
    }
}

#define WINDOW(reduction, spacing)                                                                                     \
    static void NAME(reduction##_##spacing)(const window_args *a) { NAME(windows)(a, reduction, spacing); }
#define WINDOWS(reduction)                                                                                             \
    WINDOW(reduction, ANY)                                                                                             \
    WINDOW(reduction, ADJACENT)                                                                                        \
    WINDOW(reduction, ALTERNATE)                                                                                       \
    static void NAME(windows_##reduction)(const window_args *a) { BY_SPACING(reduction, a); }
WINDOWS(MAXIMUM)
WINDOWS(TOTAL)
WINDOWS(FIRST)
WINDOWS(SUMMIT)

#include "rows.inc.h"
#include "route.inc.h"
#include "lrn.inc.h"

/* ---- what else happens to rows -------------------------------------------------------------------------------- */

static void NAME(tally)(void *totals, const void *by, const void *x, ptrdiff_t pitch, ptrdiff_t ni, ptrdiff_t nj)
{
    for (ptrdiff_t i = 0; i < ni; i++)
        for (ptrdiff_t j = 0; j < nj; j++) {
            const I number = ((const I *)by)[i * pitch + j];
            if (number >= 0)
                ((T *)totals)[number * pitch + j] += ((const T *)x)[i * pitch + j];
        }
}

static void NAME(positions)(char *dst, ptrdiff_t si, ptrdiff_t sj, int size, const void *by, ptrdiff_t pitch, ptrdiff_t ni,
                            ptrdiff_t nj, int64_t base, int64_t gi, int64_t gj, int64_t none)
{
    for (ptrdiff_t i = 0; i < ni; i++) {
        const I *number = (const I *)by + i * pitch;
        char *out = dst + i * si;
        int64_t start = base + i * gi;
        if (size == 8)
            for (ptrdiff_t j = 0; j < nj; j++)
                *(int64_t *)(out + j * sj) = number[j] < 0 ? none : start + j * gj + number[j];
        else
            for (ptrdiff_t j = 0; j < nj; j++)
                *(int32_t *)(out + j * sj) = (int32_t)(number[j] < 0 ? none : start + j * gj + number[j]);
    }
}

/* As gather (move.inc.h), the other way: blocks of 16 x 16 where neither side's steps are those of the other. */
#define SCATTER(S)                                                                                                     \
    static void NAME(scatter_##S)(char *dst, ptrdiff_t si, ptrdiff_t sj, const void *src, ptrdiff_t pitch,             \
                                  ptrdiff_t step, ptrdiff_t ni, ptrdiff_t nj)                                          \
    {                                                                                                                  \
        const T *x = (const T *)src;                                                                                   \
        if (sj == sizeof(S) && step == 1) {                                                                            \
            for (ptrdiff_t i = 0; i < ni; i++)                                                                         \
                for (ptrdiff_t j = 0; j < nj; j++)                                                                     \
                    STORE_##S((S *)(dst + i * si) + j, x[i * pitch + j]);                                              \
            return;                                                                                                    \
        }                                                                                                              \
        if (__builtin_types_compatible_p(S, T) && step == 1 && si == sizeof(T) && ni >= VL && nj >= VL) {              \
            NAME(transposed)((T *)dst, sj / (ptrdiff_t)sizeof(T), (const char *)x, nj, ni, pitch * sizeof(T));         \
            return;                                                                                                    \
        }                                                                                                              \
        for (ptrdiff_t i0 = 0; i0 < ni; i0 += 16)                                                                      \
            for (ptrdiff_t j0 = 0; j0 < nj; j0 += 16)                                                                  \
                for (ptrdiff_t j = j0; j < nj && j < j0 + 16; j++)                                                     \
                    for (ptrdiff_t i = i0; i < ni && i < i0 + 16; i++)                                                 \
                        STORE_##S(dst + i * si + j * sj, x[i * pitch + j * step]);                                     \
    }
