/* The kernels of the window driver in vector extensions, for one compute type T with its LEAST value and IS_NAN, and
 * the moves for its storage types. kernels.h states what each computes; isa.inc.h puts them into the ISA's table. */
#include "vector.h"
#include "move.inc.h"

#define I NAME(number)      /* an integer as wide as T, */
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

/* Which lanes of two vectors come first when the two are interleaved; half a vector on from each, those that follow. */
INLINE VI NAME(low)(void)
{
    VI lanes;
    UNROLL for (int i = 0; i < VL; i++)
        lanes[i] = i / 2 + i % 2 * VL;
    return lanes;
}

/* x > y ? x : y, lane by lane: NaN in either gives y. It is one instruction of x86, but gcc finds it only at times. */
#if defined(__x86_64__) && !defined(LARGER)
#define LARGER_f32_16 __builtin_ia32_maxps
#define LARGER_f32_32 __builtin_ia32_maxps256
#define LARGER_f32_64(x, y) __builtin_ia32_maxps512_mask(x, y, y, -1, 4)
#define LARGER_f64_16 __builtin_ia32_maxpd
#define LARGER_f64_32 __builtin_ia32_maxpd256
#define LARGER_f64_64(x, y) __builtin_ia32_maxpd512_mask(x, y, y, -1, 4)
#define LARGER_i32_16(x, y) SELECT(x > y, x, y)
#define LARGER_i32_32(x, y) SELECT(x > y, x, y)
#define LARGER_i32_64(x, y) SELECT(x > y, x, y)
#define LARGER_(tn, bytes) LARGER_##tn##_##bytes
#define LARGER(tn, bytes) LARGER_(tn, bytes)
#elif !defined(LARGER)
#define LARGER(tn, bytes) NAME(selected)
#endif
INLINE V NAME(larger)(V x, V y) { return LARGER(TN, VBYTES)(x, y); }

#define WIDE 8 /* the most vectors of lanes at a time; half of them where each has its number too */

/* The end of a tile of SPREAD. Where every second input is a lane, the taps go in pairs, which lie interleaved. */
INLINE void NAME(spread)(const window_args *a, ptrdiff_t at, ptrdiff_t to, const VI *by, const int spacing, const int p,
                         const int q)
{
    V g[WIDE];
    const VI low = NAME(low)(), high = low + VL / 2;
    UNROLL for (int i = 0; i < p * q; i++)
        g[i] = NAME(lanes)(a->by + to + i / q * a->dst_step[1] + i % q * VL * sizeof(T), spacing == SINGLE ? SINGLE : ADJACENT, 1);
    for (ptrdiff_t d = 0; d < a->taps[0]; d++)
        for (ptrdiff_t h = 0; h < a->taps[1]; h++)
            for (ptrdiff_t k = 0; k < a->taps[2]; k += spacing == ALTERNATE ? 2 : 1) {
                const I number = (I)(a->number + d * a->numbers[0] + h * a->numbers[1] + k * a->numbers[2]);
                char *dst = a->dst + at + d * a->step[0] + h * a->step[1] + k * a->step[2];
                UNROLL for (int i = 0; i < p * q; i++) {
                    T *out = (T *)(dst + i / q * a->src_step[1] + i % q * VL * a->lane_step * (ptrdiff_t)sizeof(T));
                    const V v = (V)((VM)(by[i] == number) & (VM)g[i]) + 0;
                    if (spacing == ADJACENT)
                        STORE(out, v);
                    else if (spacing == SINGLE)
                        *out = v[0];
                    else {
                        const V next = (V)((VM)(by[i] == number + (I)a->numbers[2]) & (VM)g[i]) + 0;
                        STORE(out, __builtin_shuffle(v, next, low));
                        STORE(out + VL, __builtin_shuffle(v, next, high));
                    }
                }
            }
}

/* p windows by q vectors of lanes, all taps, in registers. `at` is the offset into src (and CHOSEN's by), `to` that into
 * dst (and FIRST's by), `lane` the first lane. */
INLINE void NAME(tile)(const window_args *a, ptrdiff_t at, ptrdiff_t to, ptrdiff_t lane, const int reduction,
                       const int spacing, const int p, const int q)
{
    const int located = reduction == FIRST || reduction == SUMMIT || reduction == SPREAD, sums = reduction == TOTAL || reduction == CHOSEN;
    const ptrdiff_t window = a->src_step[1], vector = VL * a->lane_step * (ptrdiff_t)sizeof(T);
    const T sign = (T)a->sign;
    const char *weights = a->weights + a->weight_lane * lane * (ptrdiff_t)sizeof(T);
    V acc[WIDE];
    VI by[WIDE];
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
                        acc[i] = spacing == ADJACENT ? NAME(larger)(x, acc[i]) : SELECT(x > acc[i], x, acc[i]);
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
    if (reduction == SPREAD) {
        NAME(spread)(a, at, to, by, spacing, p, q);
        return;
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
    const int wide = reduction == MAXIMUM || reduction == TOTAL ? WIDE : WIDE / 2;
    const ptrdiff_t lane = a.lane_step * (ptrdiff_t)sizeof(T), size = sizeof(T), spare = (VL - a.lanes) * size;
    /* Windows of fewer lanes than a vector may be computed in whole vectors, each of which overwrites what the one before
     * it left behind its last lane: all but the last of a row. */
    ptrdiff_t whole = a.lanes < VL ? 0 : a.count[1];
    if (spacing == ADJACENT && reduction != SPREAD && spare > 0 && a.dst_step[1] == a.lanes * size && a.src_step[1] >= a.dst_step[1])
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
#define WINDOWS(reduction) WINDOW(reduction, ANY) WINDOW(reduction, ADJACENT) WINDOW(reduction, ALTERNATE)
WINDOWS(MAXIMUM)
WINDOWS(TOTAL)
WINDOWS(FIRST)
WINDOWS(SUMMIT)
WINDOW(SPREAD, ADJACENT)
WINDOW(SPREAD, ALTERNATE)
WINDOW(CHOSEN, ADJACENT)

/* ---- row by row ----------------------------------------------------------------------------------------------- */

/* q vectors of what taps[0] x taps[1] inputs become; in bytes but for lane_step. */
INLINE void NAME(taps)(V *acc, const char *src, const ptrdiff_t *taps, const ptrdiff_t *step, const int reduction,
                       const int spacing, ptrdiff_t lane_step, const int q)
{
    const ptrdiff_t vector = VL * lane_step * (ptrdiff_t)sizeof(T);
    if (taps[0] * taps[1] > 0)
        UNROLL for (int i = 0; i < q; i++)
            acc[i] = NAME(lanes)(src + i * vector, spacing, lane_step);
    for (ptrdiff_t d = 0; d < taps[0]; d++)
        for (ptrdiff_t h = d == 0; h < taps[1]; h++)
            UNROLL for (int i = 0; i < q; i++) {
                const V x = NAME(lanes)(src + d * step[0] + h * step[1] + i * vector, spacing, lane_step);
                if (reduction == TOTAL)
                    acc[i] += x;
                else
                    acc[i] = SELECT(IS_NAN(acc[i]), acc[i], NAME(larger)(acc[i], x));
            }
}

/* Rows of n lanes of that, next to each other in dst; divided by `by` if there is one: by a vector of it, or a number for
 * each lane (by_step 1). Where src is `roomy`, there is something to read for 2*VL lanes more behind a row of it and `by`. */
typedef struct {
    char *dst;
    const char *src;
    ptrdiff_t rows, dst_step, src_step, n, taps[2], step[2];
    const T *by;
    ptrdiff_t by_step, lane_step;
    int roomy;
} NAME(lines);

INLINE void NAME(vectors)(const NAME(lines) *a, T *dst, const char *src, const T *by, const ptrdiff_t *taps,
                          const int reduction, const int spacing, const int q)
{
    V acc[4];
    NAME(taps)(acc, src, taps, a->step, reduction, spacing, spacing == ANY ? a->lane_step : spacing == ALTERNATE ? 2 : 1, q);
    UNROLL for (int i = 0; i < q; i++)
        STORE(dst + i * VL, by ? acc[i] / LOAD(by + i * VL * a->by_step) : acc[i]);
}

INLINE void NAME(lines_of)(const NAME(lines) *a, const ptrdiff_t *taps, const int reduction, const int spacing)
{
    const ptrdiff_t size = a->lane_step * (ptrdiff_t)sizeof(T), n = a->n;
    T kept[VL];
    for (ptrdiff_t r = 0; r < a->rows; r++) {
        const char *src = a->src + r * a->src_step;
        T *dst = (T *)(a->dst + r * a->dst_step);
        ptrdiff_t j = 0;
        for (; j + 4 * VL <= n; j += 4 * VL)
            NAME(vectors)(a, dst + j, src + j * size, a->by ? a->by + j * a->by_step : NULL, taps, reduction, spacing, 4);
        for (; n >= 2 * VL && j + VL < n; j += 2 * VL) {
            j = j + 2 * VL > n ? n - 2 * VL : j; /* what overlaps is done twice */
            NAME(vectors)(a, dst + j, src + j * size, a->by ? a->by + j * a->by_step : NULL, taps, reduction, spacing, 2);
        }
        for (; n >= VL && j < n; j += VL) {
            j = j + VL > n ? n - VL : j;
            NAME(vectors)(a, dst + j, src + j * size, a->by ? a->by + j * a->by_step : NULL, taps, reduction, spacing, 1);
        }
        if (n < VL && a->roomy) {
            NAME(vectors)(a, kept, src, a->by, taps, reduction, spacing, 1);
            memcpy(dst, kept, n * sizeof(T));
        } else
            for (; j < n; j++) {
                NAME(vectors)(a, kept, src + j * size, NULL, taps, reduction, SINGLE, 1);
                dst[j] = a->by ? kept[0] / a->by[j * a->by_step] : kept[0];
            }
    }
}

#define LINES(reduction, spacing)                                                                                      \
    static __attribute__((noinline)) void NAME(lines_##reduction##_##spacing)(const NAME(lines) *a)                    \
    {                                                                                                                  \
        const ptrdiff_t one[2] = {1, 1}, two[2] = {1, 2}, three[2] = {1, 3};                                           \
        if (a->taps[0] == 1 && a->taps[1] == 1)                                                                        \
            NAME(lines_of)(a, one, reduction, spacing);                                                                \
        else if (a->taps[0] == 1 && a->taps[1] == 2)                                                                   \
            NAME(lines_of)(a, two, reduction, spacing);                                                                \
        else if (a->taps[0] == 1 && a->taps[1] == 3)                                                                   \
            NAME(lines_of)(a, three, reduction, spacing);                                                              \
        else                                                                                                           \
            NAME(lines_of)(a, a->taps, reduction, spacing);                                                            \
    }
LINES(MAXIMUM, ANY)
LINES(MAXIMUM, ADJACENT)
LINES(MAXIMUM, ALTERNATE)
LINES(TOTAL, ANY)
LINES(TOTAL, ADJACENT)
LINES(TOTAL, ALTERNATE)

INLINE void NAME(reduce_lines)(const NAME(lines) *a, const int reduction)
{
    if (a->lane_step == 1)
        reduction == TOTAL ? NAME(lines_TOTAL_ADJACENT)(a) : NAME(lines_MAXIMUM_ADJACENT)(a);
    else if (a->lane_step == 2)
        reduction == TOTAL ? NAME(lines_TOTAL_ALTERNATE)(a) : NAME(lines_MAXIMUM_ALTERNATE)(a);
    else
        reduction == TOTAL ? NAME(lines_TOTAL_ANY)(a) : NAME(lines_MAXIMUM_ANY)(a);
}

#define ROW_BLOCK 4096 /* bytes of outputs between the two steps: L1 has room for them and their input */

/* The columns [first, end) that some positions' taps meet; both 0 where there are none. */
INLINE void NAME(columns)(const rows_args *a, ptrdiff_t positions, ptrdiff_t *first, ptrdiff_t *end)
{
    *first = PTRDIFF_MAX, *end = PTRDIFF_MIN;
    for (ptrdiff_t p = a->start; p < a->start + positions && p < a->start + a->phases; p++) {
        const ptrdiff_t q = a->phases == 1 ? p : p / a->phases;
        const job_axis *w = a->jobs + (p - q * a->phases);
        const ptrdiff_t at = q * w->stride - w->lo, more = (a->start + positions - 1 - p) / a->phases;
        const ptrdiff_t to = at + more * w->stride + (w->taps - 1) * w->dilation + 1;
        if (w->taps) {
            *first = at < *first ? at : *first;
            *end = to > *end ? to : *end;
        }
    }
    if (*first > *end)
        *first = *end = 0;
}

/* Lines of n outputs in turns from two jobs, whose inputs are next to each other. */
static __attribute__((noinline)) void NAME(pairs)(const NAME(lines) *a)
{
    const VI low = NAME(low)(), high = low + VL / 2;
    for (ptrdiff_t r = 0; r < a->rows; r++)
        for (ptrdiff_t j = 0; j < a->n; j += 2 * VL) {
            j = j + 2 * VL > a->n && a->n >= 2 * VL && a->n % 2 == 0 ? a->n - 2 * VL : j;
            const int whole = j + 2 * VL <= a->n;
            V acc[2] = {{0}, {0}};
            T kept[2 * VL], *dst = (T *)(a->dst + r * a->dst_step) + j, *out = whole ? dst : kept;
            UNROLL for (int i = 0; i < 2; i++)
                NAME(taps)(acc + i, a[i].src + r * a->src_step + j / 2 * sizeof(T), a[i].taps, a[i].step, TOTAL, ADJACENT, 1, 1);
            STORE(out, __builtin_shuffle(acc[0], acc[1], low));
            STORE(out + VL, __builtin_shuffle(acc[0], acc[1], high));
            if (!whole)
                memcpy(dst, kept, (a->n - j) * sizeof(T));
        }
}

/* Positions [p, end) of some rows of outputs, from rows in scratch, where column 0 would be at `row`. by: see lines. */
INLINE void NAME(along)(const rows_args *a, ptrdiff_t p, ptrdiff_t end, ptrdiff_t rows, const T *row, ptrdiff_t pitch, int roomy,
                        char *dst, const T *by, const int reduction)
{
    const ptrdiff_t size = sizeof(T), dense = a->lanes * size, out_step = a->phases * a->position, last = p + a->phases;
    const int in_pairs = reduction == TOTAL && a->phases == 2 && a->position == size && a->lanes == 1 && end - p > 1 && roomy;
    NAME(lines) both[2], *l = both;
    for (dst += p * a->position; p < end && p < last; p++, dst += a->position) {
        const ptrdiff_t q = a->phases == 1 ? p : p / a->phases, n = a->phases == 1 ? end - p : (end - p - 1) / a->phases + 1;
        const job_axis *w = a->jobs + (p - q * a->phases);
        *l = (NAME(lines)){.dst = dst, .src = (const char *)(row + (q * w->stride - w->lo) * a->lanes), .rows = rows,
                           .dst_step = a->dst_step[1], .src_step = pitch * size, .n = n * a->lanes, .taps = {1, w->taps},
                           .step = {0, w->dilation * dense}, .by = by, .by_step = a->lanes == 1 && a->position == size, .lane_step = a->lanes == 1 ? w->stride : 1,
                           .roomy = roomy && (a->lanes > 1 || w->stride <= 2)};
        if (in_pairs) {
            l++;
            continue;
        }
        if (w->taps > 0 && (out_step == dense && w->stride == 1 || a->lanes == 1 && out_step == size)) {
            NAME(reduce_lines)(l, reduction);
            continue;
        }
        l->rows = n, l->n = a->lanes, l->dst_step = out_step, l->src_step = w->stride * dense; /* pixel by pixel */
        for (ptrdiff_t j = 0; j < rows; j++, l->dst += a->dst_step[1], l->src += pitch * size)
            if (w->taps > 0)
                NAME(reduce_lines)(l, reduction);
            else
                for (ptrdiff_t i = 0; i < n; i++)
                    memset(l->dst + i * out_step, 0, dense);
    }
    if (in_pairs) {
        both[0].n = end - (last - 2);
        NAME(pairs)(both);
    }
}

INLINE void NAME(rows)(const rows_args *a, const int reduction)
{
    const ptrdiff_t lanes = a->lanes, size = lanes * (ptrdiff_t)sizeof(T), width = a->jobs->size;
    const double fill = reduction == TOTAL ? 0 : LEAST;
    ptrdiff_t first, end, left, right, at, last;
    NAME(columns)(a, a->positions, &first, &end);
    left = first < 0 ? (end < 0 ? end : 0) : first;
    right = end > width ? (first > width ? first : width) : end;
    if (a->taps[0] * a->taps[1] == 0 || left >= right)
        left = right = end;
    const int whole = a->src != a->dst && a->taps[0] * a->taps[1] == 1 && left == first && right == end && a->column == size;
    const ptrdiff_t pitch = (end - first) * lanes + 2 * VL, block = whole ? a->positions : 1 + ROW_BLOCK / size;
    T *const by = reduction == TOTAL && a->divisor > 0 ? (T *)a->row + a->together * pitch : NULL;
    const int each = lanes == 1 && a->position == size; /* a divisor for each output, or one at a time */
    ptrdiff_t k0, k1;
    if (by) /* for lanes that nobody asked for */
        NAME(fill)(by + a->positions, 2 * VL, 1);
    for (ptrdiff_t p = a->start; by && each && p < a->start + a->positions; p = at) {
        at = stretch_of(a->counts, p, a->start + a->positions, 0, a->counts->taps, &k0, &k1);
        NAME(fill)(by + p - a->start, at - p, k1 > k0 ? a->divisor * (k1 - k0) : 1);
    }
    T *const row = (T *)a->row - first * lanes;
    for (ptrdiff_t j = 0; j < a->together && j < a->count[1]; j++) {
        NAME(fill)(row + j * pitch + first * lanes, (left - first) * lanes, fill);
        NAME(fill)(row + j * pitch + right * lanes, (end - right) * lanes + 2 * VL, fill);
    }
    for (ptrdiff_t i = 0, rows; i < a->count[0]; i++)
        for (ptrdiff_t j0 = 0; j0 < a->count[1]; j0 += rows) {
            const char *src = a->src + i * a->src_step[0] + j0 * a->src_step[1];
            char *dst = a->dst + i * a->dst_step[0] + j0 * a->dst_step[1];
            ptrdiff_t done = left, next;
            rows = j0 + a->together < a->count[1] ? a->together : a->count[1] - j0;
            for (ptrdiff_t p = 0; p < a->positions; p = next) {
                next = p + block < a->positions ? p + block : a->positions;
                last = right;
                if (by && !each) {
                    next = stretch_of(a->counts, a->start + p, a->start + next, 0, a->counts->taps, &k0, &k1) - a->start;
                    NAME(fill)(by, VL, k1 > k0 ? a->divisor * (k1 - k0) : 1);
                }
                if (next < a->positions)
                    NAME(columns)(a, next, &at, &last);
                last = last < right ? last : right;
                if (whole) {
                    NAME(along)(a, a->start + p, a->start + next, rows, (const T *)src, a->src_step[1] / (ptrdiff_t)sizeof(T), a->spare, dst,
                                by && each ? by + p : by, reduction);
                    continue;
                }
                if (last > done && a->column == size) {
                    NAME(reduce_lines)(&(NAME(lines)){.dst = (char *)(row + done * lanes), .src = src + done * size, .rows = rows,
                                         .dst_step = pitch * sizeof(T), .src_step = a->src_step[1], .n = (last - done) * lanes,
                                         .taps = {a->taps[0], a->taps[1]}, .step = {a->step[0], a->step[1]}, .lane_step = 1},
                                       reduction);
                } else if (last > done)
                    for (ptrdiff_t j = 0; j < rows; j++)
                        NAME(reduce_lines)(&(NAME(lines)){.dst = (char *)(row + j * pitch + done * lanes),
                                             .src = src + j * a->src_step[1] + done * a->column, .rows = last - done,
                                             .dst_step = size, .src_step = a->column, .n = lanes,
                                             .taps = {a->taps[0], a->taps[1]}, .step = {a->step[0], a->step[1]}, .lane_step = 1},
                                           reduction);
                done = last > done ? last : done;
                NAME(along)(a, a->start + p, a->start + next, rows, row, pitch, 1, dst, by && each ? by + p : by, reduction);
            }
        }
}
static void NAME(rows_MAXIMUM)(const rows_args *a) { NAME(rows)(a, MAXIMUM); }
static void NAME(rows_TOTAL)(const rows_args *a) { NAME(rows)(a, TOTAL); }

/* ---- what else happens to rows -------------------------------------------------------------------------------- */

/* Blocks of VL x VL in registers; at the ends they overlap. Interleaving the first half of the rows with the second
 * turns the index (row, column) by one bit, log2(VL) times. */
static void NAME(transpose)(char *dst, ptrdiff_t dp, const char *src, ptrdiff_t sp, ptrdiff_t ni, ptrdiff_t nj)
{
    const VI low = NAME(low)(), high = low + VL / 2;
    if (ni < VL || nj < VL)
        for (ptrdiff_t i = 0; i < ni; i++)
            for (ptrdiff_t j = 0; j < nj; j++)
                ((T *)(dst + i * dp))[j] = ((const T *)(src + j * sp))[i];
    else
        for (ptrdiff_t j0 = 0; j0 < nj; j0 += VL)
            for (ptrdiff_t i0 = 0; i0 < ni; i0 += VL) {
                const ptrdiff_t i = i0 + VL > ni ? ni - VL : i0, j = j0 + VL > nj ? nj - VL : j0;
                V a[VL], b[VL];
                UNROLL for (int k = 0; k < VL; k++)
                    a[k] = LOAD((const T *)(src + (j + k) * sp) + i);
                UNROLL for (int turn = 1; turn < VL; turn *= 2) {
                    UNROLL for (int k = 0; k < VL / 2; k++) {
                        b[2 * k] = __builtin_shuffle(a[k], a[k + VL / 2], low);
                        b[2 * k + 1] = __builtin_shuffle(a[k], a[k + VL / 2], high);
                    }
                    UNROLL for (int k = 0; k < VL; k++)
                        a[k] = b[k];
                }
                UNROLL for (int k = 0; k < VL; k++)
                    STORE((T *)(dst + (i + k) * dp) + j, a[k]);
            }
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
