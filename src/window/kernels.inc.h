/* The kernels of the window driver in vector extensions, for one compute type T with its LEAST value and IS_NAN, and the
 * moves for its storage types. kernels.h states what each computes; isa.inc.h puts them into the ISA's table. */
#include "vector.h"
#include "move.inc.h"

#define I NAME(number)     /* an integer as wide as T, */
#define VI NAME(vec_number) /* and a vector of them */
typedef __typeof__(__builtin_choose_expr(sizeof(T) == 8, (int64_t)0, (int32_t)0)) I;
typedef I VI __attribute__((vector_size(VBYTES)));
typedef I NAME(unaligned_number) __attribute__((vector_size(VBYTES), aligned(sizeof(I)), may_alias));
#define LOAD_NUMBERS(p) ((VI) * (const NAME(unaligned_number) *)(p))
#define STORE_NUMBERS(p, v) (*(NAME(unaligned_number) *)(p) = (v))

/* ---- windows -------------------------------------------------------------------------------------------------- */

#define SINGLE SPACINGS /* one lane, in all places of the vector: what is narrower than a vector goes lane by lane */

INLINE V NAME(lanes)(const char *p, const int spacing, ptrdiff_t step)
{
    const T *x = (const T *)p;
    V v;
    VI even;
    if (spacing == ADJACENT)
        return LOAD(x);
    if (spacing == ALTERNATE) {
        /* The second load overlaps the first by one: it ends with the last lane, not behind it. */
        UNROLL for (int i = 0; i < VL; i++)
            even[i] = i < VL / 2 ? 2 * i : 2 * i + 1;
        return __builtin_shuffle(LOAD(x), LOAD(x + VL - 1), even);
    }
    UNROLL for (int i = 0; i < VL; i++)
        v[i] = spacing == SINGLE ? *x : x[i * step];
    return v;
}

/* x > y ? x : y, lane by lane, which is x86's max and so compiled: NaN in either gives y. */
INLINE V NAME(larger)(V x, V y)
{
    UNROLL for (int i = 0; i < VL; i++)
        y[i] = x[i] > y[i] ? x[i] : y[i];
    return y;
}

/* p windows by q vectors of lanes, all taps, in registers. `at` is the offset into src (and CHOSEN's by), `to` that into
 * dst (and FIRST's by), `lane` the first lane. */
INLINE void NAME(tile)(const window_args *a, ptrdiff_t at, ptrdiff_t to, ptrdiff_t lane, const int reduction,
                       const int spacing, const int p, const int q)
{
    const int located = reduction == FIRST || reduction == SUMMIT, sums = reduction == TOTAL || reduction == CHOSEN;
    const ptrdiff_t window = a->src_step[1], vector = VL * a->lane_step * (ptrdiff_t)sizeof(T);
    const T sign = (T)a->sign;
    const char *weights = a->weights + a->weight_lane * lane * (ptrdiff_t)sizeof(T);
    V acc[4];
    VI by[4];
    UNROLL for (int i = 0; i < p * q; i++) {
        acc[i] = (V){0} + (sums ? 0 : LEAST);
        by[i] = (VI){0} + (I)a->number;
    }
    if (a->accumulate)
        UNROLL for (int i = 0; i < p * q; i++) {
            acc[i] = LOAD((const T *)(a->dst + to + i / q * a->dst_step[1]) + i % q * VL);
            if (located)
                by[i] = LOAD_NUMBERS((const I *)(a->by + to + i / q * a->dst_step[1]) + i % q * VL);
        }
    for (ptrdiff_t d = 0; d < a->taps[0]; d++)
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
                        acc[i] = NAME(larger)(x, acc[i]);
                        acc[i] = SELECT(IS_NAN(x), x, acc[i]);
                    } else if (located) {
                        const VM better = ~(x <= acc[i]) & ~IS_NAN(acc[i]);
                        acc[i] = SELECT(better, x, acc[i]);
                        by[i] = (VI)((better & (VM)((VI){0} + number)) | (~better & (VM)by[i]));
                    } else if (reduction == CHOSEN) {
                        const VI own = spacing == SINGLE ? (VI){0} + *(const I *)(a->by + offset)
                                                         : LOAD_NUMBERS(a->by + offset);
                        acc[i] += (V)((VM)(own == number) & (VM)x);
                    } else
                        acc[i] += x;
                }
                from += a->step[2];
                w += a->weight_step[2];
                number += (I)a->numbers[2];
            }
        }
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

INLINE void NAME(windows)(const window_args *args, const int reduction, const int spacing)
{
    window_args a = *args;
    if (spacing == ADJACENT && a.src_step[1] == a.dst_step[1] && a.dst_step[1] == a.lanes * (ptrdiff_t)sizeof(T) &&
        !a.weight_lane) {
        a.lanes *= a.count[1]; /* one long row */
        a.count[1] = 1;
    }
    const ptrdiff_t lane = a.lane_step * (ptrdiff_t)sizeof(T), size = sizeof(T);
    for (ptrdiff_t r = 0; r < a.count[0]; r++) {
        int p;
        for (ptrdiff_t c = 0; c < a.count[1]; c += p) {
            const ptrdiff_t at = r * a.src_step[0] + c * a.src_step[1], to = r * a.dst_step[0] + c * a.dst_step[1];
            ptrdiff_t j = 0, next;
            p = spacing == ADJACENT && a.lanes >= VL && a.lanes < 4 * VL && c + 4 <= a.count[1] ? 4 : 1;
            if (a.lanes < VL)
                for (; j < a.lanes; j++)
                    NAME(tile)(&a, at + j * lane, to + j * size, j, reduction, SINGLE, 1, 1);
            for (; j < a.lanes; j = next) {
                next = spacing != ANY && p == 1 && j + 4 * VL <= a.lanes ? j + 4 * VL : j + VL;
                if (next > a.lanes) /* the last vector overlaps the one before */
                    j = a.lanes - VL;
                if (spacing == ADJACENT && p == 4)
                    NAME(tile)(&a, at + j * lane, to + j * size, j, reduction, spacing, 4, 1);
                else if (spacing != ANY && next == j + 4 * VL)
                    NAME(tile)(&a, at + j * lane, to + j * size, j, reduction, spacing, 1, 4);
                else
                    NAME(tile)(&a, at + j * lane, to + j * size, j, reduction, spacing, 1, 1);
            }
        }
    }
}

#define WINDOW(reduction, spacing)                                                                                     \
    static void NAME(reduction##_##spacing)(const window_args *a) { NAME(windows)(a, reduction, spacing); }
#define WINDOWS(reduction) WINDOW(reduction, ANY) WINDOW(reduction, ADJACENT) WINDOW(reduction, ALTERNATE)
WINDOWS(MAXIMUM)
WINDOWS(TOTAL)
WINDOWS(FIRST)
WINDOWS(SUMMIT)
WINDOW(CHOSEN, ADJACENT)

/* ---- what else happens to rows -------------------------------------------------------------------------------- */

static void NAME(divide)(void *x, ptrdiff_t n, double divisor)
{
    const T by = (T)divisor;
    for (ptrdiff_t i = 0; i < n; i++)
        ((T *)x)[i] /= by;
}

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
        for (ptrdiff_t i0 = 0; i0 < ni; i0 += 16)                                                                      \
            for (ptrdiff_t j0 = 0; j0 < nj; j0 += 16)                                                                  \
                for (ptrdiff_t j = j0; j < nj && j < j0 + 16; j++)                                                     \
                    for (ptrdiff_t i = i0; i < ni && i < i0 + 16; i++)                                                 \
                        STORE_##S(dst + i * si + j * sj, x[i * pitch + j * step]);                                     \
    }
