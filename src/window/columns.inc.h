/* Maxima and sums of windows whose columns stay in registers, of two or three each: by channels (`slides`), where a
 * column is some vectors of lanes, and by planes (`planes`), where a vector is of columns. The order of a sum is that
 * of row by row (rows.inc.h). Part of kernels.inc.h. */

#define INTEGERS __builtin_types_compatible_p(T, int32_t) /* not often pooled: no room for them in a small wheel */
#define WORTH_A_SHIFT 9                                   /* vectors, from which on one more pays for aligned ones */
#define SLIDE_WINDOWS 8                                   /* at a time, of more lanes than those in registers */

/* Windows of a stretch again, vector by vector, where there is a NaN among their inputs. */
static __attribute__((noinline)) void NAME(again)(const window_args *a, ptrdiff_t at, ptrdiff_t to, ptrdiff_t n,
                                                  int rows, int q)
{
    for (int r = 0; r < rows; r++)
        for (ptrdiff_t c = 0; c < n; c++)
            for (int i = 0; i < q; i++)
                NAME(tile)(a, at + r * a->src_step[0] + c * a->src_step[1] + i * VBYTES,
                           to + r * a->dst_step[0] + c * a->dst_step[1] + i * VBYTES, 0, MAXIMUM, ADJACENT, 1, 1);
}

/* The lanes [first, end) of a vector in memory, and what fills the others. */
INLINE V
NAME(load_some)(const T *x, int first, int end, V fill)
{
#ifdef LOAD_SOME
    return LOAD_SOME(x, first, end, fill);
#else
    const VI numbers = NAME(lane_numbers)();
    const VM some = (numbers >= first) & (numbers < end);
#if defined(__x86_64__) && VBYTES == 32
    const V found = sizeof(T) == 4 ? (V)__builtin_ia32_maskloadps256((const void *)x, (NAME(ints))some)
                                   : (V)__builtin_ia32_maskloadpd256((const void *)x, (NAME(longs))some);
    return SELECT(some, found, fill);
#else
    for (int i = 0; i < VL; i++)
        fill[i] = some[i] ? x[i] : fill[i];
    return fill;
#endif
#endif
}

/* The first n lanes, fewer than there are. */
INLINE void NAME(store_first)(T *dst, V v, ptrdiff_t n)
{
#ifdef STORE_FIRST
    STORE_FIRST(dst, v, n);
#else
    T all[VL];
    STORE(all, v);
    NAME(copy_short)(dst, all, n);
#endif
}

#define COMBINE(x, y) (reduction == TOTAL ? x + y : NAME(larger)(x, y))

/* What B rows of windows make of their taps in a column, q vectors of lanes: of R rows each, or taps[0] x taps[1] (then
 * B is 1). `larger` may lose a NaN, so all inputs are added to *all. */
INLINE void NAME(column)(V *column, V *all, const char *src, const ptrdiff_t *taps, const ptrdiff_t *step,
                               const int reduction, const int S, const int R, const int B, const int q, const int some,
                               int first, int end)
{
#define INPUT(p)                                                                                                       \
    (some ? NAME(load_some)((const T *)(p), first, end, (V){0} + (reduction == TOTAL ? 0 : LEAST))                     \
          : (V)LOAD((const T *)(p)))
    if (R) {
        V acc = INPUT(src), next = acc, total = acc;
    UNROLL for (int h = 1; h < R + (B - 1) * S; h++) {
            const V x = INPUT(src + h * step[1]);
            acc = h < R ? COMBINE(acc, x) : acc;
            next = h > S ? COMBINE(next, x) : x;
            total += x;
        }
        column[0] = acc;
        if (B == 2)
            column[1] = next;
        *all += total;
        return;
    }
    for (ptrdiff_t d = 0; d < taps[0]; d++)
        for (ptrdiff_t h = 0; h < taps[1]; h++) {
            V total = {0};
            UNROLL for (int i = 0; i < q; i++) {
                const V x = INPUT(src + d * step[0] + h * step[1] + i * VBYTES);
                column[i] = d + h == 0 ? x : COMBINE(column[i], x);
                total = i ? total + x : x;
            }
            *all += total;
        }
#undef INPUT
}

/* B rows of windows of K columns, S from one to the next: what a column comes to stays in registers for all windows that
 * meet it. */
INLINE void NAME(slide)(const window_args *a, ptrdiff_t at, ptrdiff_t to, const ptrdiff_t n, const int reduction, const int K, const int S,
                        const int R, const int B, const int q)
{
    const ptrdiff_t taps[2] = {a->taps[0], a->taps[1]}, step[3] = {a->step[0], a->step[1], a->step[2]};
    const ptrdiff_t dst_row = a->dst_step[0], dst_step = a->dst_step[1];
    const int each = R ? 1 : q;
    const V divisor = (V){0} + (T)a->divisor;
    V column[4][3][4], all = {0}; /* of some vectors, each column, and a vector or row of windows */
    const char *src = a->src + at;
    char *dst = a->dst + to;
    UNROLL for (int i = 0; i < q; i += each)
        UNROLL for (int k = 0; k < K - S; k++)
            NAME(column)(column[i][k], &all, src + k * step[2] + i * VBYTES, taps, step, reduction, S, R, B, each, 0, 0, VL);
    for (ptrdiff_t c = 0; c < n; c++, src += S * step[2], dst += dst_step)
        UNROLL for (int i = 0; i < q; i += each) {
            UNROLL for (int k = K - S; k < K; k++)
                NAME(column)(column[i][k], &all, src + k * step[2] + i * VBYTES, taps, step, reduction, S, R, B, each, 0, 0, VL);
            UNROLL for (int j = 0; j < B * each; j++) {
                V acc = column[i][0][j];
                UNROLL for (int k = 1; k < K; k++)
                    acc = COMBINE(acc, column[i][k][j]);
                STORE((T *)(dst + (R ? j * dst_row : 0)) + (R ? i : j) * VL, reduction == TOTAL ? acc / divisor : acc);
                UNROLL for (int k = S; k < K; k++)
                    column[i][k - S][j] = column[i][k][j];
            }
        }
    if (reduction == MAXIMUM && ANY_LANE(IS_NAN(all)))
        NAME(again)(a, at, to, n, B, q);
}

/* The lanes before the first that starts a vector in memory, for each tap of each window. */
INLINE ptrdiff_t NAME(lanes_before_aligned)(const window_args *a)
{
    const ptrdiff_t steps = a->step[0] | a->step[1] | a->step[2] | a->src_step[0] | a->src_step[1];
    const ptrdiff_t before = -(uintptr_t)a->src % VBYTES;
    return steps % VBYTES || before % sizeof(T) ? 0 : before / (ptrdiff_t)sizeof(T);
}

/* All windows; `follow` where the rows of a row of windows and those of the next are as far apart as their columns. */
INLINE void NAME(slides_of)(const window_args *a, const int reduction, const int K, const int S, const int R, int follow)
{
    const int wide = VBYTES == 64 || K - S < 2 ? 4 : 2, shared = R && S < K; /* as registers have room for */
    /* Some windows at a time, where all lanes of a row do not lie one behind the other. */
    const ptrdiff_t most = a->lanes <= wide * VL ? a->count[1] : S < K ? SLIDE_WINDOWS : 1;
    const ptrdiff_t before = a->lanes > WORTH_A_SHIFT * VL ? NAME(lanes_before_aligned)(a) : 0;
    for (ptrdiff_t r = 0, rows; r < a->count[0]; r += rows) {
        rows = shared && follow && r + 2 <= a->count[0] ? 2 : 1;
        for (ptrdiff_t c = 0; c < a->count[1]; c += most)
            for (ptrdiff_t j = 0, next; j < a->lanes; j = next) {
                const ptrdiff_t n = c + most < a->count[1] ? most : a->count[1] - c, size = sizeof(T);
                const ptrdiff_t left = a->lanes - j;
                const int narrow = (j == 0 && before) || left <= (wide - 2) * VL || a->lanes < wide * VL;
                const ptrdiff_t width = narrow ? VL : wide * VL;
                next = j == 0 && before ? before : j + width; /* the second may overlap the first, the last the one before */
                if (left < width)
                    j = a->lanes - width;
                const ptrdiff_t at = r * a->src_step[0] + c * a->src_step[1] + j * size;
                const ptrdiff_t to = r * a->dst_step[0] + c * a->dst_step[1] + j * size;
                if (!narrow && shared && rows == 2)
                    NAME(slide)(a, at, to, n, reduction, K, S, R, 2, wide);
                else if (!narrow)
                    NAME(slide)(a, at, to, n, reduction, K, S, R, 1, wide);
                else if (shared && rows == 2)
                    NAME(slide)(a, at, to, n, reduction, K, S, R, 2, 1);
                else
                    NAME(slide)(a, at, to, n, reduction, K, S, R, 1, 1);
            }
    }
}

/* Windows that share columns, or of few: whether there are such, and the kernel for them. */
INLINE int NAME(slides)(const window_args *args, const int reduction)
{
    const window_args a = *args;
    const ptrdiff_t K = a.taps[2], S = a.step[2] ? a.src_step[1] / a.step[2] : 0;
    const int rows = a.taps[0] == 1 ? (int)a.taps[1] : 0, follow = a.src_step[0] == S * a.step[1];
#define SLIDE(k, s, r)                                                                                                 \
    if (K == k && S == s && rows == r)                                                                                 \
        return NAME(slides_of)(&a, reduction, k, s, r, follow), 1;
#define SLIDE_ANY(k, s)                                                                                                \
    if (K == k && S == s)                                                                                              \
        return NAME(slides_of)(&a, reduction, k, s, 0, 0), 1;
    if (INTEGERS || !a.by_columns || S * a.step[2] != a.src_step[1] || a.taps[0] * a.taps[1] == 0 || a.lanes < VL || a.count[1] < 2)
        return 0;
    SLIDE(3, 1, 3)
    SLIDE(3, 2, 3)
    SLIDE(2, 2, 2)
    SLIDE(3, 3, 3)
    SLIDE_ANY(3, 1)
    SLIDE_ANY(3, 2)
    SLIDE_ANY(2, 1)
#undef SLIDE
#undef SLIDE_ANY
    return 0;
}
static __attribute__((noinline)) int NAME(slides_MAXIMUM)(const window_args *a) { return NAME(slides)(a, MAXIMUM); }
static __attribute__((noinline)) int NAME(slides_TOTAL)(const window_args *a) { return NAME(slides)(a, TOTAL); }

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
    if (w->taps == k && w->stride == s && rows == r)                                                                   \
        return NAME(planes_of)(&a, by, reduction, k, s, r, follow);
    if (INTEGERS || VBYTES == 16 || a.phases != 1 || a.lanes != 1 || a.column != sizeof(T) || a.position != sizeof(T) || w->dilation != 1 ||
        a.taps[0] * a.taps[1] == 0)
        return 0;
    PLANES(2, 2, 2)
    PLANES(3, 2, 3)
    PLANES(3, 1, 3)
    PLANES(2, 2, 1)
    PLANES(3, 2, 1)
    PLANES(3, 1, 1)
#undef PLANES
    return 0;
}
static __attribute__((noinline)) int NAME(planes_MAXIMUM)(const window_args *a, const T *by) { return NAME(planes)(a, by, MAXIMUM); }
static __attribute__((noinline)) int NAME(planes_TOTAL)(const window_args *a, const T *by) { return NAME(planes)(a, by, TOTAL); }
