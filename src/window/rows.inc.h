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
            NAME(zip)(out, acc[0], acc[1]);
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

/* ---- rows of planes --------------------------------------------------------------------------------------------- */

/* What VL outputs find in the columns from q on, of B rows of windows: in the first column of each, and, for S of 2, in
 * the second, too, unless only the first output's is wanted (`one`). Columns outside are what fills them. */
INLINE void NAME(halves)(V half[2][2], V *all, const window_args *a, const char *src, ptrdiff_t q, const int inside,
                         const int one, const int reduction, const int S, const int R, const int B)
{
    const VI even = 2 * NAME(lane_numbers)();
    const ptrdiff_t width = a->jobs->size;
    V column[2][2];
#define SOME(some, first, end)                                                                                       \
    NAME(column)(column[i], all, src + q * (ptrdiff_t)sizeof(T), a->taps, a->step, reduction, S, R, B, 1, some, first, end)
    for (int i = 0; i < (S == 2 && !one ? 2 : 1); i++, q += VL)
        if (inside)
            SOME(0, 0, VL);
        else {
            const int first = q >= 0 ? 0 : q > -VL ? (int)-q : VL;
            SOME(1, first, q >= width ? first : width - q < VL ? (int)(width - q) : VL);
        }
#undef SOME
    UNROLL for (int b = 0; b < B; b++) {
        half[0][b] = S == 1 ? column[0][b] : __builtin_shuffle(column[0][b], column[one ? 0 : 1][b], even);
        if (S == 2 && !one)
            half[1][b] = __builtin_shuffle(column[0][b], column[1][b], even + 1);
    }
}

/* VL outputs of B rows, or what is left of n, from what is known of their columns, and the next ones. */
INLINE void NAME(plane_step)(const window_args *a, V now[2][2], V *all, const char *src, ptrdiff_t q, char *dst, const T *by,
                             ptrdiff_t n, const int inside, const int reduction, const int K, const int S, const int R, const int B)
{
    const VI numbers = NAME(lane_numbers)();
    V next[2][2];
    if (inside || n > VL)
        NAME(halves)(next, all, a, src, q, inside, 0, reduction, S, R, B);
    else if (K > S)
        NAME(halves)(next, all, a, src, q, 0, 1, reduction, S, R, B);
    UNROLL for (int b = 0; b < B; b++) {
        V acc = now[0][b];
        UNROLL for (int k = 1; k < K; k++) {
            const V x = k < S ? now[k][b] : (V)__builtin_shuffle(now[k % S][b], next[k % S][b], numbers + k / S);
            acc = COMBINE(acc, x);
        }
        if (by)
            acc /= LOAD(by);
        T *out = (T *)(dst + b * a->dst_step[1]);
        if (inside || n >= VL)
            STORE(out, acc);
        else
            NAME(store_first)(out, acc, n);
        UNROLL for (int i = 0; i < S; i++)
            now[i][b] = next[i][b];
    }
}

/* B rows of outputs, from planes of the input: the rows of taps become vectors of columns, and these, shifted, outputs. */
INLINE void NAME(plane_row)(const window_args *a, V *all, const char *src, char *dst, const T *by, const int reduction,
                            const int K, const int S, const int R, const int B)
{
    const ptrdiff_t n = a->positions, wide = S * VL;
    ptrdiff_t q = a->start * S - a->jobs->lo, p = 0, inside = a->jobs->size - q;
    V now[2][2];
    if (q >= 0 && inside >= wide)
        NAME(halves)(now, all, a, src, q, 1, 0, reduction, S, R, B);
    else
        NAME(halves)(now, all, a, src, q, 0, 0, reduction, S, R, B);
    inside = q + wide < 0 ? 0 : (inside / S < n ? inside / S : n) - 2 * VL + 1; /* of the first outputs, the next columns */
    for (q += wide; p < inside; p += VL, q += wide)
        NAME(plane_step)(a, now, all, src, q, dst + p * sizeof(T), by ? by + p : NULL, n - p, 1, reduction, K, S, R, B);
    for (; p < n; p += VL, q += wide)
        NAME(plane_step)(a, now, all, src, q, dst + p * sizeof(T), by ? by + p : NULL, n - p, 0, reduction, K, S, R, B);
}

/* All rows; whether there was no NaN for a maximum to lose. */
INLINE int NAME(planes_of)(const window_args *a, const T *by, const int reduction, const int K, const int S, const int R, const int follow)
{
    V all = {0};
    for (ptrdiff_t i = 0; i < a->count[0]; i++)
        for (ptrdiff_t j = 0, rows; j < a->count[1]; j += rows) {
            const char *src = a->src + i * a->src_step[0] + j * a->src_step[1];
            char *dst = a->dst + i * a->dst_step[0] + j * a->dst_step[1];
            rows = R && S < K && follow && j + 2 <= a->count[1] ? 2 : 1;
            if (R && S < K && rows == 2)
                NAME(plane_row)(a, &all, src, dst, by, reduction, K, S, R, 2);
            else
                NAME(plane_row)(a, &all, src, dst, by, reduction, K, S, R, 1);
        }
    return reduction == TOTAL || !ANY_LANE(IS_NAN(all));
}

/* Whether they are made so; else nothing, or not all, is done. */
INLINE int NAME(planes)(const window_args *args, const T *by, const int reduction)
{
    const window_args a = *args;
    const JobAxis *w = a.jobs;
    const int rows = a.taps[0] == 1 ? (int)a.taps[1] : 0, follow = a.src_step[1] == w->stride * a.step[1];
#define PLANES(k, s, r)                                                                                                \
    if (w->taps == k && w->stride == s && (r == 0 || rows == r))                                                       \
        return NAME(planes_of)(&a, by, reduction, k, s, r, follow);
    if (a.phases != 1 || a.lanes != 1 || a.column != sizeof(T) || a.position != sizeof(T) || w->dilation != 1 ||
        a.taps[0] * a.taps[1] == 0)
        return 0;
    PLANES(2, 2, 2)
    PLANES(3, 2, 3)
    PLANES(3, 1, 3)
    PLANES(2, 2, 1)
    PLANES(3, 2, 1)
    PLANES(3, 1, 1)
    PLANES(2, 2, 0)
    PLANES(3, 2, 0)
    PLANES(3, 1, 0)
    PLANES(2, 1, 0)
#undef PLANES
    return 0;
}
static __attribute__((noinline)) int NAME(planes_MAXIMUM)(const window_args *a, const T *by) { return NAME(planes)(a, by, MAXIMUM); }
static __attribute__((noinline)) int NAME(planes_TOTAL)(const window_args *a, const T *by) { return NAME(planes)(a, by, TOTAL); }

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
