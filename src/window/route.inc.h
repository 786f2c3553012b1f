/* The gradient of maxima: each window's goes to its first maximum (kernels.h: route_args). Two passes over the taps,
 * one for the maximum and one that compares: fewer steps than to carry the number of the best tap along. Part of
 * kernels.inc.h. */

#define TURN 64 /* vectors of a row between two turns of one, so that L1 has their lines still */
#define EACH_ROW(d, h)                                                                                                 \
    for (ptrdiff_t d = 0; d < a->taps[0]; d++)                                                                         \
        for (ptrdiff_t h = 0; h < a->taps[1]; h++)
#define ROW_OF(d, h) (at + d * a->step[0] + h * a->step[1])
#define COLUMN(k) (listed ? a->column[k] : (k) * a->column_step)
#define OWN(d, h, k)                                                                                                   \
    (d >= a->own[0][0] && d < a->own[0][1] && h >= a->own[1][0] && h < a->own[1][1] && k >= a->own[2][0] &&            \
     k < a->own[2][1])
#define WEIGHT(d, h, k) (a->weights + lane + d * a->weight_step[0] + h * a->weight_step[1] + k * a->weight_step[2])
#define TAP(d, h, k, i) NAME(tap)(a, a->src + ROW_OF(d, h) + COLUMN(k), WEIGHT(d, h, k), i, weighted)

/* A window's lanes one by one, from the last to the first: where there may be NaN, or taps outside of the input. */
static __attribute__((noinline)) void NAME(route_lanes)(const route_args *a, ptrdiff_t at, const T *grad,
                                                        ptrdiff_t lane, ptrdiff_t lanes, const int weighted)
{
    const JobAxis *w = a->along;
    const int listed = a->column != NULL;
    for (ptrdiff_t i = lanes - 1; i >= 0; i--) {
        const ptrdiff_t corner = w ? (a->position + lane / (ptrdiff_t)sizeof(T) + i) * w->stride - w->lo : 0;
        ptrdiff_t found[3] = {-1, -1, -1};
        T best = LEAST;
        EACH_ROW (d, h)
            for (ptrdiff_t k = 0; k < a->columns; k++) {
                T x = ((const T *)(a->src + ROW_OF(d, h) + COLUMN(k)))[i * a->lane_step];
                if (weighted)
                    x = x * (T)a->sign + ((const T *)WEIGHT(d, h, k))[i];
                if (w && (corner + k * w->dilation < 0 || corner + k * w->dilation >= w->size))
                    continue;
                if (found[2] < 0 || (!IS_NAN((V){best})[0] && !(x <= best))) {
                    best = x;
                    found[0] = d, found[1] = h, found[2] = k;
                }
            }
        EACH_ROW (d, h)
            for (ptrdiff_t k = 0; k < a->columns; k++) {
                T *dst = (T *)(a->dst + ROW_OF(d, h) + COLUMN(k)) + i * a->lane_step;
                if (!OWN(d, h, k))
                    continue;
                if (d == found[0] && h == found[1] && k == found[2])
                    *dst = a->fresh ? grad[i] + 0 : *dst + grad[i];
                else if (a->fresh)
                    *dst = 0;
            }
    }
}

/* clang-format off */
/* The value of a tap. */
INLINE V NAME(tap)(const route_args *a, const char *x, const char *w, int i, const int weighted)
{
    const V v = LOAD((const T *)x + i * VL);
    return weighted ? v * (T)a->sign + LOAD((const T *)w + i * VL) : v;
}

/* Of a vector, the lanes before so many. (gcc 12 fails to compare 64 bits where SSE2 is all there is.) */
static const I NAME(before)[2 * VL] = {[0 ... VL - 1] = -1};
INLINE VI NAME(first_lanes)(ptrdiff_t n) { return LOAD_NUMBERS(NAME(before) + VL - n); }

/* Whether a lane must go by itself: where sum is NaN, for an input is, or two are infinite, or the maximum is the least
 * of all numbers, which may be padding's. */
INLINE int NAME(strange)(const route_args *a, VI least, V sum, ptrdiff_t lanes)
{
    VI lane = (VI)IS_NAN(sum);
    if (a->along)
        lane |= least;
    if (lanes < VL)
        lane &= NAME(first_lanes)(lanes);
    return ANY_LANE(lane);
}

/* What is left of a gradient, where x is the maximum: all or nothing of it. */
INLINE V NAME(taken)(V x, V top, V *left)
{
    const V here = (V)((VM)(x == top) & (VM)*left);
    *left = (V)((VM)*left ^ (VM)here);
    return here;
}
/* clang-format on */

/* The first `lanes` of q vectors of a window's lanes; others had theirs. `at` is their offset into src and dst. */
INLINE void NAME(route_any)(const route_args *a, ptrdiff_t at, const T *grad, ptrdiff_t lane, ptrdiff_t lanes,
                                  const int weighted, const int listed, const int q)
{
    V top[4], rest[4], sum = {0};
    UNROLL for (int i = 0; i < q; i++) {
        top[i] = (V){0} + LEAST;
        rest[i] = LOAD(grad + i * VL);
    }
    EACH_ROW(d, h)
        for (ptrdiff_t k = 0; k < a->columns; k++)
            UNROLL for (int i = 0; i < q; i++) {
                const V x = TAP(d, h, k, i);
                top[i] = NAME(larger)(x, top[i]);
                sum += x;
            }
    VI least = {0};
    UNROLL for (int i = 0; i < q; i++)
        least |= (VI)(top[i] == (V){0} + LEAST);
    if (NAME(strange)(a, least, sum, lanes)) {
        NAME(route_lanes)(a, at, grad, lane, lanes, weighted);
        return;
    }
    if (lanes < VL)
        rest[0] = (V)(NAME(first_lanes)(lanes) & (VI)rest[0]);
    EACH_ROW(d, h)
        for (ptrdiff_t k = 0; k < a->columns; k++) {
            T *dst = (T *)(a->dst + ROW_OF(d, h) + COLUMN(k));
            const int own = OWN(d, h, k);
            UNROLL for (int i = 0; i < q; i++) {
                const V here = NAME(taken)(TAP(d, h, k, i), top[i], &rest[i]);
                if (own)
                    STORE(dst + i * VL, here + (a->fresh ? (V){0} : (V)LOAD(dst + i * VL)));
            }
        }
}

/* One vector of lanes of all windows, each of R x K taps and S columns before the one that was done before it. What the two share
 * stays in registers: x, dx, and the maximum and the sum of each column. Where they share nothing, dx is added at the
 * end, tap by tap: if lanes are outputs, those of one tap lie across those of another. */
INLINE void NAME(route_square)(const route_args *a, const char *grad, ptrdiff_t lane, ptrdiff_t lanes,
                                     const int R, const int K, const int S, const int fresh)
{
#define EACH_TAP(h, k, from, to) UNROLL for (int k = to - 1; k >= from; k--) UNROLL for (int h = 0; h < R; h++)
#define X(h, k) LOAD((const T *)(a->src + ROW_OF(0, h) + a->column[k]))
#define DX(h, k) (*(VU *)(a->dst + ROW_OF(0, h) + a->column[k]))
#define TAKE(h, k, from, kept)                                                                                         \
    x[h][k] = X(h, from);                                                                                              \
    dx[h][k] = (kept) ? (V)DX(h, from) : (V){0};                                                                       \
    if (!(kept) && lanes < VL && S < K)                                                                                \
        dx[h][k] = (V)(others & (VI)DX(h, from));                                                                      \
    top[k] = h ? NAME(larger)(x[h][k], top[k]) : x[h][k];                                                              \
    sum[k] = h ? x[h][k] + sum[k] : x[h][k];
    const VI others = ~NAME(first_lanes)(lanes < VL ? lanes : VL);
    ptrdiff_t at = (a->windows - 1) * a->src_step + lane;
    V x[3][3], dx[3][3], top[3], sum[3];
    EACH_TAP(h, k, S, K) { TAKE(h, k - S, k, 1) }
    for (ptrdiff_t o = a->windows - 1; o >= 0; o--, at -= a->src_step) {
        const T *g = (const T *)(grad + o * a->grad_step);
        V rest = LOAD(g);
        EACH_TAP(h, k, S, K)
        {
            x[h][k] = x[h][k - S];
            dx[h][k] = dx[h][k - S];
            top[k] = top[k - S];
            sum[k] = sum[k - S];
        }
        EACH_TAP(h, k, 0, S) {
            TAKE(h, k, k, S < K && h < a->newer)
        }
        V most = top[0], all = sum[0];
    UNROLL for (int k = 1; k < K; k++) {
            most = NAME(larger)(top[k], most);
            all += sum[k];
        }
        if (NAME(strange)(a, (VI)(most == (V){0} + LEAST), all, lanes)) {
            if (S < K)
                EACH_TAP(h, k, 0, K)
                    DX(h, k) = dx[h][k];
            NAME(route_lanes)(a, at, g, lane, lanes, 0);
            if (S < K)
                EACH_TAP(h, k, 0, K)
                    dx[h][k] = DX(h, k);
            else
                continue;
        } else {
            if (lanes < VL)
                rest = (V)(NAME(first_lanes)(lanes) & (VI)rest);
            UNROLL for (int h = 0; h < R; h++)
                UNROLL for (int k = 0; k < K; k++)
                    dx[h][k] += NAME(taken)(x[h][k], most, &rest);
        }
        if (S < K || fresh)
            EACH_TAP(h, k, K - S, K)
                DX(h, k) = dx[h][k];
        else
            UNROLL for (int k = 0; k < K; k++)
                UNROLL for (int h = 0; h < R; h++)
                    DX(h, k) = DX(h, k) + dx[h][k];
    }
    at += a->src_step;
    EACH_TAP(h, k, 0, K - S)
        DX(h, k) = dx[h][k];
}

/* Windows and lanes from the last to the first: then an input's sum has one order, whether lanes are channels or outputs.
 * Vectors lie across cache lines: some take turns, some windows each, so that lines are read and written once. */
INLINE void NAME(route_windows)(const route_args *args, const int R, const int K, const int S, const int fresh, const int weighted, const int listed)
{
    route_args a = *args; /* which dst, for all that the compiler knows, may be */
    for (ptrdiff_t right = a.lanes, left; right > 0; right = left) {
        left = right > 4 * VL ? right - 4 * VL : 0;
        const ptrdiff_t turn = right - left > VL ? TURN * VL / ((right - left) * (S ? S : 1)) : args->windows;
        for (ptrdiff_t last = args->windows, first; last > 0; last = first) {
            first = last > turn ? last - turn : 0;
            a.src = args->src + first * a.src_step;
            a.dst = args->dst + first * a.src_step;
            a.windows = last - first;
            for (ptrdiff_t end = right, start; end > left; end = start) {
                const int four = !K && end - left == 4 * VL;
                start = four ? left : end > VL ? end - VL : 0;
                const ptrdiff_t lane = start * (ptrdiff_t)sizeof(T);
                const ptrdiff_t lanes = a.fresh ? VL : end - start; /* what is written may be so again */
                const char *grad = args->grad + first * a.grad_step + lane;
                if (K)
                    NAME(route_square)(&a, grad, lane, lanes, R, K, S, fresh);
                for (ptrdiff_t o = a.windows - 1; !K && o >= 0; o--)
                    if (four)
                        NAME(route_any)(&a, o * a.src_step + lane, (const T *)(grad + o * a.grad_step), lane, 4 * VL, weighted, listed, 4);
                    else
                        NAME(route_any)(&a, o * a.src_step + lane, (const T *)(grad + o * a.grad_step), lane, lanes, weighted, listed, 1);
            }
        }
    }
}

static void NAME(route)(const route_args *a)
{
#define ROUTE(R, K, S, fresh) NAME(route_windows)(a, R, K, S, fresh, 0, 1)
    const ptrdiff_t rows = own_rows(a), columns = a->columns, slide = slide_of(a);
    if (slide && rows == 3)
        slide == 1 ? ROUTE(3, 3, 1, 0) : ROUTE(3, 3, 2, 0);
    else if (slide)
        slide == 1 ? ROUTE(1, 3, 1, 0) : ROUTE(1, 3, 2, 0);
    else if (rows == 3 && columns == 3 && !a->fresh)
        ROUTE(3, 3, 3, 0);
    else if (rows == 2 && columns == 2 && a->fresh)
        ROUTE(2, 2, 2, 1);
    else if (rows == 2 && columns == 2)
        ROUTE(2, 2, 2, 0);
    else if (rows == 1 && columns == 2 && a->fresh)
        ROUTE(1, 2, 2, 1);
    else if (a->column)
        ROUTE(0, 0, 0, 0);
    else
        NAME(route_windows)(a, 0, 0, 0, 0, 0, 0);
}
static void NAME(route_weighted)(const route_args *a) { NAME(route_windows)(a, 0, 0, 0, 0, 1, 0); }

/* Windows of two columns each, side by side: lanes are theirs, read and written where the columns lie. */
static void NAME(route_pairs)(const route_args *a)
{
    const VI even = 2 * NAME(lane_numbers)(), odd = even + 1;
    for (ptrdiff_t j = 0; j < a->lanes; j += VL) {
        j = j + VL > a->lanes ? a->lanes - VL : j; /* the last overlaps the one before */
        const ptrdiff_t at = 2 * j * (ptrdiff_t)sizeof(T);
        const T *grad = (const T *)a->grad + j;
        V top = (V){0} + LEAST, sum = {0}, rest = LOAD(grad);
#define PAIR(d, h)                                                                                                     \
    const T *src = (const T *)(a->src + ROW_OF(d, h));                                                                 \
    const V x = __builtin_shuffle(LOAD(src), LOAD(src + VL), even), y = __builtin_shuffle(LOAD(src), LOAD(src + VL), odd);
        EACH_ROW(d, h) {
            PAIR(d, h)
            top = NAME(larger)(x, NAME(larger)(y, top));
            sum += x + y;
        }
        if (NAME(strange)(a, (VI)(top == (V){0} + LEAST), sum, VL)) {
            NAME(route_lanes)(a, at, grad, 0, VL, 0);
            continue;
        }
        EACH_ROW(d, h) {
            PAIR(d, h)
            const V first = NAME(taken)(x, top, &rest) + 0, second = NAME(taken)(y, top, &rest) + 0;
            T *dst = (T *)(a->dst + ROW_OF(d, h));
            if (OWN(d, h, 0))
                NAME(in_turns)(dst, first, second);
        }
    }
    if (a->windows > a->lanes) { /* half of one */
        route_args last = *a;
        last.columns = 1;
        NAME(route_lanes)(&last, 2 * a->lanes * (ptrdiff_t)sizeof(T), (const T *)a->grad + a->lanes, 0, 1, 0);
    }
}

static void NAME(split)(void *first, void *second, const void *src, ptrdiff_t n)
{
    T *even = first, *odd = second;
    const T *x = src;
    const VI low = 2 * NAME(lane_numbers)(), high = low + 1;
    const ptrdiff_t pairs = n / 2, whole = pairs < VL ? 0 : pairs;
    for (ptrdiff_t i = 0; i < whole; i += VL) {
        i = i + VL > pairs ? pairs - VL : i; /* the last overlaps the one before */
        const V a = LOAD(x + 2 * i), b = LOAD(x + 2 * i + VL);
        STORE(even + i, __builtin_shuffle(a, b, low));
        STORE(odd + i, __builtin_shuffle(a, b, high));
    }
    for (ptrdiff_t i = 2 * whole; i < n; i++)
        (i % 2 ? odd : even)[i / 2] = x[i];
}

static void NAME(merge)(void *dst, const void *first, const void *second, ptrdiff_t n)
{
    T *out = dst;
    const T *even = first, *odd = second;
    const ptrdiff_t pairs = n / 2, whole = pairs < VL ? 0 : pairs;
    for (ptrdiff_t i = 0; i < whole; i += VL) {
        i = i + VL > pairs ? pairs - VL : i;
        NAME(in_turns)(out + 2 * i, LOAD(even + i), LOAD(odd + i));
    }
    for (ptrdiff_t i = 2 * whole; i < n; i++)
        out[i] = (i % 2 ? odd : even)[i / 2];
}
