/* Maxima and sums of overlapping windows, row by row of outputs (kernels.h: window_args). The order of a sum is that of
 * the rows of taps in each column, then that of the columns. Part of kernels.inc.h. */

/* q vectors of what taps[0] x taps[1] inputs become; in bytes but for lane_step. */
INLINE void
NAME(taps)(V *acc, const char *src, const ptrdiff_t *taps, const ptrdiff_t *step, const int reduction,
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
                acc[i] = NAME(combined)(acc[i], x, reduction);
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
        if (n < VL && a->roomy) { /* the rows that follow overwrite what lies behind one */
            const int whole = a->dst_step == n * (ptrdiff_t)sizeof(T) && (a->rows - r) * n >= VL;
            NAME(vectors)(a, whole ? dst : kept, src, a->by, taps, reduction, spacing, 1);
            if (!whole)
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
    reduction == TOTAL ? BY_SPACING(lines_TOTAL, a) : BY_SPACING(lines_MAXIMUM, a);
}

#define ROW_BLOCK 4096 /* bytes of outputs between the two steps: L1 has room for them and their input */

/* The columns [first, end) that some positions' taps meet; both 0 where there are none. */
INLINE void NAME(columns)(const window_args *a, ptrdiff_t positions, ptrdiff_t *first, ptrdiff_t *end)
{
    *first = PTRDIFF_MAX, *end = PTRDIFF_MIN;
    for (ptrdiff_t p = a->start; p < a->start + positions && p < a->start + a->phases; p++) {
        const ptrdiff_t q = a->phases == 1 ? p : p / a->phases;
        const JobAxis *w = a->jobs + (p - q * a->phases);
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
    for (ptrdiff_t r = 0; r < a->rows; r++)
        for (ptrdiff_t j = 0; j < a->n; j += 2 * VL) {
            j = j + 2 * VL > a->n && a->n >= 2 * VL && a->n % 2 == 0 ? a->n - 2 * VL : j;
            const int whole = j + 2 * VL <= a->n;
            V acc[2] = {{0}, {0}};
            T kept[2 * VL], *dst = (T *)(a->dst + r * a->dst_step) + j, *out = whole ? dst : kept;
            UNROLL for (int i = 0; i < 2; i++)
                NAME(taps)(acc + i, a[i].src + r * a->src_step + j / 2 * sizeof(T), a[i].taps, a[i].step, TOTAL, ADJACENT, 1, 1);
            NAME(in_turns)(out, acc[0], acc[1]);
            if (!whole)
                memcpy(dst, kept, (a->n - j) * sizeof(T));
        }
}

/* Positions [p, end) of some rows of outputs, from rows in scratch, where column 0 would be at `row`. by: see lines. */
INLINE void NAME(along)(const window_args *a, ptrdiff_t p, ptrdiff_t end, ptrdiff_t rows, const T *row, ptrdiff_t pitch, int roomy,
                        char *dst, const T *by, const int reduction)
{
    const ptrdiff_t size = sizeof(T), dense = a->lanes * size, out_step = a->phases * a->position, last = p + a->phases;
    const int in_pairs = reduction == TOTAL && a->phases == 2 && a->position == size && a->lanes == 1 && end - p > 1 && roomy;
    NAME(lines) both[2], *l = both;
    for (dst += p * a->position; p < end && p < last; p++, dst += a->position) {
        const ptrdiff_t q = a->phases == 1 ? p : p / a->phases, n = a->phases == 1 ? end - p : (end - p - 1) / a->phases + 1;
        const JobAxis *w = a->jobs + (p - q * a->phases);
        *l = (NAME(lines)){.dst = dst, .src = (const char *)(row + (q * w->stride - w->lo) * a->lanes), .rows = rows,
                           .dst_step = a->dst_step[1], .src_step = pitch * size, .n = n * a->lanes, .taps = {1, w->taps},
                           .step = {0, w->dilation * dense}, .by = by, .by_step = a->lanes == 1 && a->position == size, .lane_step = a->lanes == 1 ? w->stride : 1,
                           .roomy = roomy && (a->lanes > 1 || w->stride <= 2)};
        if (in_pairs) {
            l++;
            continue;
        }
        if (w->taps > 0 && ((out_step == dense && w->stride == 1) || (a->lanes == 1 && out_step == size))) {
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

INLINE void NAME(rows)(const window_args *a, const int reduction)
{
    const ptrdiff_t lanes = a->lanes, size = lanes * (ptrdiff_t)sizeof(T), width = a->jobs->size;
    const double fill = reduction == TOTAL ? 0 : LEAST;
    ptrdiff_t first, end, left, right, at, last;
    NAME(columns)(a, a->positions, &first, &end);
    left = first < 0 ? (end < 0 ? end : 0) : first;
    right = end > width ? (first > width ? first : width) : end;
    if (a->taps[0] * a->taps[1] == 0 || left >= right)
        left = right = end;
    const int joined = a->column == size; /* columns are next to each other */
    /* One row of taps, all inside: that is the row, unless it is divided in place. */
    const int whole = joined && a->src != a->dst && a->taps[0] * a->taps[1] == 1 && left == first && right == end;
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
    if (reduction == TOTAL ? NAME(planes_TOTAL)(a, by) : NAME(planes_MAXIMUM)(a, by))
        return;
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
                for (ptrdiff_t j = 0; j < (joined ? 1 : rows) && last > done; j++) {
                    const NAME(lines) columns = {.dst = (char *)(row + j * pitch + done * lanes),
                                                 .src = src + j * a->src_step[1] + done * a->column,
                                                 .rows = joined ? rows : last - done,
                                                 .dst_step = joined ? pitch * (ptrdiff_t)sizeof(T) : size,
                                                 .src_step = joined ? a->src_step[1] : a->column,
                                                 .n = joined ? (last - done) * lanes : lanes,
                                                 .taps = {a->taps[0], a->taps[1]},
                                                 .step = {a->step[0], a->step[1]},
                                                 .lane_step = 1};
                    NAME(reduce_lines)(&columns, reduction);
                }
                done = last > done ? last : done;
                NAME(along)(a, a->start + p, a->start + next, rows, row, pitch, 1, dst, by && each ? by + p : by, reduction);
            }
        }
}
static void NAME(rows_MAXIMUM)(const window_args *a) { NAME(rows)(a, MAXIMUM); }
static void NAME(rows_TOTAL)(const window_args *a) { NAME(rows)(a, TOTAL); }
