/* The kernels of the depthwise driver in vector extensions, for one compute type T on one ISA. */
#include "vector.h"

/* Channel g of each group for all of its outputs, from the vector of input that has it: where that starts, in elements
 * from `at` on, and its lanes. `each` is a power of two, and blocks start at one of its multiples, or of a vector's. */
INLINE VI NAME(slide_mix)(const slide_args *s, ptrdiff_t at, ptrdiff_t g, ptrdiff_t *from)
{
    const VI lanes = NAME(lane_numbers)();
    const __typeof__(lanes[0]) group = -s->each, lane = g & (VL - 1);
    *from = s->each <= VL ? 0 : (g & -VL) - (at & (s->each - 1));
    return (lanes & group) + lane;
}
#define MIXED(v) (mixed ? __builtin_shuffle(v, mix) : (v))

/* One row of input, each vector of it kept for all the windows that it meets: those of up to three rows of outputs, a,
 * b and c where they are not NULL, by one row of weights each. Columns are checked only where they can lie outside: no
 * window lies outside as a whole. */
INLINE void NAME(slide_row)(const slide_args *s, const int K, const int S, const int pixels, const int mixed,
                                  const VI mix, const char *x, /* IN */
                                  V *a, const V *ka, V *b, const V *kb, V *c, const V *kc)
{
    const ptrdiff_t column = s->column;
    UNROLL for (int i = 0; i < (pixels - 1) * S + K; i++) {
        if ((i < K - 1 && i < s->left) || (i > (pixels - 1) * S && i >= s->right))
            continue;
        const V v = MIXED(LOAD((const T *)(x + i / 3 * (3 * column) + i % 3 * column)));
        UNROLL for (int t = 0; t < pixels; t++)
            if (i - t * S >= 0 && i - t * S < K) {
                if (a)
                    a[t] += v * ka[i - t * S];
                if (b)
                    b[t] += v * kb[i - t * S];
                if (c)
                    c[t] += v * kc[i - t * S];
            }
    }
}

INLINE void NAME(slide_load)(V *k, const T *w, const int K)
{
    UNROLL for (int i = 0; i < K; i++)
        k[i] = LOAD(w + i * VL);
}

/* The same for every channel of a group in turn, by its own weights: `wa` and `wb` are the first one's. */
INLINE void NAME(slide_group)(const slide_args *s, const int K, const int S, const int pixels, const int mixed,
                              ptrdiff_t at, const char *x, /* IN */
                              V *a, const T *wa, V *b, const T *wb)
{
    const ptrdiff_t each = mixed ? s->each : 1, next = s->taps_h * K * VL;
    V ka[7], kb[7];
    for (ptrdiff_t g = 0; g < each; g++) {
        ptrdiff_t from = 0;
        VI mix = {0};
        if (mixed)
            mix = NAME(slide_mix)(s, at, g, &from);
        if (a)
            NAME(slide_load)(ka, wa + g * next, K);
        if (b)
            NAME(slide_load)(kb, wb + g * next, K);
        NAME(slide_row)(s, K, S, pixels, mixed, mix, x + from * (ptrdiff_t)sizeof(T), a, ka, b, kb, NULL, NULL);
    }
}

/* A row of sums is complete: + bias and what is added, clamped, stored; and zero again for the next row. */
INLINE void NAME(slide_end)(const slide_args *s, V *acc, ptrdiff_t at, ptrdiff_t r, const int pixels)
{
    char *out = s->out + r * s->out_row + at * (ptrdiff_t)sizeof(T);
    const ptrdiff_t column = s->out_column;
    const V bias = LOAD((const T *)s->bias + at);
    UNROLL for (int t = 0; t < pixels; t++)
        acc[t] += bias;
    if (s->added) {
        const char *added = s->added + r * s->added_row + at * (ptrdiff_t)sizeof(T);
        UNROLL for (int t = 0; t < pixels; t++, added += s->added_column)
            acc[t] += LOAD(added);
    }
    if (s->clamp)
        UNROLL for (int t = 0; t < pixels; t++)
            acc[t] = NAME(clamped)(acc[t], s->low, s->high);
    UNROLL for (int t = 0; t < pixels; t++) {
        STORE((T *)(out + t / 3 * (3 * column) + t % 3 * column), acc[t]);
        acc[t] = (V){0};
    }
}

/* One row of outputs, or two that load the rows of input which they share once: 2*7 accumulators, two rows of up to 7
 * weights and a vector of input are 29 of AVX-512's 32 registers; one row needs 15 of AVX2's 16. */
INLINE void NAME(slide_rows)(const slide_args *s, ptrdiff_t at, const T *w, ptrdiff_t r, const int rows, const int K,
                             const int S, const int pixels, const int mixed)
{
    const ptrdiff_t first = r * s->stride_h, row = s->row, top = s->top > first ? s->top - first : 0;
    const ptrdiff_t bottom = s->bottom - first, upper = bottom < s->taps_h ? bottom : s->taps_h;
    const ptrdiff_t lower = bottom < s->taps_h + S ? bottom : s->taps_h + S;
    const char *plane = s->x + at * (ptrdiff_t)sizeof(T) + first * row;
    V a[SLIDE_PIXELS] = {{0}}, b[SLIDE_PIXELS] = {{0}};
    UNROLL for (int j = 0; j < rows; j++)
        UNROLL for (int t = 0; t < pixels; t++)
            __builtin_prefetch(s->out + (r + j) * s->out_row + t * s->out_column + at * (ptrdiff_t)sizeof(T), 1);
    for (ptrdiff_t p = 0; p < s->planes; p++, plane += s->plane, w += (mixed ? s->each : 1) * s->taps_h * K * VL) {
        ptrdiff_t i = top;
        for (; i < upper && (rows == 1 || i < S); i++)
            NAME(slide_group)(s, K, S, pixels, mixed, at, plane + i * row, a, w + i * K * VL, NULL, NULL);
        if (rows == 1)
            continue;
        for (; i < upper; i++)
            NAME(slide_group)(s, K, S, pixels, mixed, at, plane + i * row, a, w + i * K * VL, b, w + (i - S) * K * VL);
        for (i = i < S ? S : i; i < lower; i++)
            NAME(slide_group)(s, K, S, pixels, mixed, at, plane + i * row, NULL, NULL, b, w + (i - S) * K * VL);
    }
    NAME(slide_end)(s, a, at, r, pixels);
    if (rows == 2)
        NAME(slide_end)(s, b, at, r + 1, pixels);
}

/* 3x3 filters: all weights stay in registers, and each row of input is loaded once, for all rows of outputs whose sums
 * are under way: three at stride 1, two at stride 2. 9 weights, 3*7 accumulators and a vector of input are 31 registers.
 * Rows of outputs take turns in a, b and c; the line to be stored next is fetched ahead of its sums, for stores wait in
 * order. */
INLINE void NAME(slide_stream)(const slide_args *s, ptrdiff_t at, const T *w, const int S, const int pixels)
{
    const ptrdiff_t rows = s->rows;
    const char *x = s->x + at * (ptrdiff_t)sizeof(T);
    V a[SLIDE_PIXELS] = {{0}}, b[SLIDE_PIXELS] = {{0}}, c[SLIDE_PIXELS] = {{0}}, k[3][3];
    UNROLL for (int i = 0; i < 3; i++)
        NAME(slide_load)(k[i], w + i * 3 * VL, 3);
    ptrdiff_t i = 0;
/* The next row of input for the oldest sums, the ones after and the newest. */
#define STEP(oldest, middle, newest)                                                                                   \
    if (i >= s->top && i < s->bottom)                                                                                  \
        NAME(slide_row)(s, 3, S, pixels, 0, (VI){0}, x, oldest, k[2], middle, k[1], newest, k[0]);                     \
    i++;                                                                                                               \
    x += s->row;
#define END(sums, r) NAME(slide_end)(s, sums, at, r, pixels);
#define FETCH(r)                                                                                                       \
    UNROLL for (int t = 0; t < pixels; t++)                                                                            \
        __builtin_prefetch(s->out + (r) * s->out_row + t * s->out_column + at * (ptrdiff_t)sizeof(T), 1);
/* A row of outputs is complete, or the last two are. */
#define TURN(oldest, middle, newest)                                                                                   \
    if (i >= rows) {                                                                                                   \
        STEP(oldest, middle, NULL)                                                                                     \
        END(oldest, i - 3)                                                                                             \
        STEP(middle, NULL, NULL)                                                                                       \
        END(middle, i - 3)                                                                                             \
        return;                                                                                                        \
    }                                                                                                                  \
    FETCH(i - 2)                                                                                                       \
    STEP(oldest, middle, newest)                                                                                       \
    END(oldest, i - 3)
    STEP(NULL, NULL, a)
    if (S == 2) {
        STEP(NULL, a, NULL)
        while (i < 2 * rows) {
            FETCH(i / 2 - 1)
            STEP(a, NULL, b)
            END(a, i / 2 - 1)
            STEP(NULL, b, NULL)
            UNROLL for (int t = 0; t < pixels; t++)
                a[t] = b[t], b[t] = (V){0};
        }
        STEP(a, NULL, NULL)
        END(a, i / 2 - 1)
    } else if (rows == 1) {
        STEP(NULL, a, NULL)
        STEP(a, NULL, NULL)
        END(a, 0)
    } else {
        STEP(NULL, a, b)
        for (;;) {
            TURN(a, b, c)
            TURN(b, c, a)
            TURN(c, a, b)
        }
    }
}
#undef STEP
#undef END
#undef FETCH
#undef TURN

/* Some taps of a row of any windows that lie side by side, from tap k on: each vector of input meets all of them. */
INLINE void NAME(slide_some)(const slide_args *s, const char *x, const T *w, ptrdiff_t k, V *a, const int inside,
                             const int taps, const int pixels, const int mixed, const VI mix)
{
    V some[SLIDE_SOME];
    NAME(slide_load)(some, w, taps);
    UNROLL for (int i = 0; i < pixels - 1 + taps; i++) {
        if (!inside && (k + i < s->left || k + i >= s->right))
            continue;
        const V v = MIXED(LOAD((const T *)(x + i * s->column)));
        UNROLL for (int t = 0; t < pixels; t++)
            if (i - t >= 0 && i - t < taps)
                a[t] += v * some[i - t];
    }
}

/* Any other windows: a load of input for every FMA, but where taps and windows are both one column apart. */
INLINE void NAME(slide_windows)(const slide_args *s, const int pixels, const int mixed)
{
    const int together = s->stride_w == 1 && s->dilation_w == 1;
    const char *w_block = s->w;
    const ptrdiff_t window = s->stride_w * s->column, tap = s->dilation_w * s->column, each = mixed ? s->each : 1;
    const int inside =
        s->left <= 0 && (pixels - 1) * s->stride_w + (s->taps_w - 1) * s->dilation_w < s->right;
    for (ptrdiff_t b = 0; b < s->blocks; b++, w_block += s->w_block)
        for (ptrdiff_t r = 0; r < s->rows; r++) {
            const ptrdiff_t first = r * s->stride_h, top = s->top > first ? s->top - first : 0;
            const ptrdiff_t bottom = s->bottom - first < s->taps_h ? s->bottom - first : s->taps_h;
            const T *w = (const T *)w_block;
            V a[SLIDE_PIXELS] = {{0}};
            const char *plane = s->x + s->at[b] * (ptrdiff_t)sizeof(T) + first * s->row;
            for (ptrdiff_t p = 0; p < s->planes; p++, plane += s->plane, w += each * s->taps_h * s->taps_w * VL)
                for (ptrdiff_t n = top * each; n < bottom * each; n++) {
                    const ptrdiff_t i = mixed ? n / each : n, g = n - i * each;
                    const T *wk = w + (g * s->taps_h + i) * s->taps_w * VL;
                    ptrdiff_t from = 0, k = 0;
                    VI mix = {0};
                    if (mixed)
                        mix = NAME(slide_mix)(s, s->at[b], g, &from);
                    const char *x = plane + i * s->row + from * (ptrdiff_t)sizeof(T);
                    if (together)
                        for (; k + 1 < s->taps_w; k += k + SLIDE_SOME <= s->taps_w ? SLIDE_SOME : 2) {
                            const int taps = k + SLIDE_SOME <= s->taps_w ? SLIDE_SOME : 2;
                            const ptrdiff_t last = k + pixels - 1 + taps;
                            if (last <= s->left || k >= s->right)
                                continue;
                            const int all = s->left <= k && last <= s->right;
                            const char *at = x + k * tap;
                            if (all && taps == 2)
                                NAME(slide_some)(s, at, wk + k * VL, k, a, 1, 2, pixels, mixed, mix);
                            else if (all)
                                NAME(slide_some)(s, at, wk + k * VL, k, a, 1, SLIDE_SOME, pixels, mixed, mix);
                            else if (taps == 2)
                                NAME(slide_some)(s, at, wk + k * VL, k, a, 0, 2, pixels, mixed, mix);
                            else
                                NAME(slide_some)(s, at, wk + k * VL, k, a, 0, SLIDE_SOME, pixels, mixed, mix);
                        }
                    x += k * tap;
                    for (ptrdiff_t turn = 0; k < s->taps_w; k++) {
                        const V v = LOAD(wk + k * VL);
                        const ptrdiff_t column = k * s->dilation_w;
                        UNROLL for (int t = 0; t < pixels; t++)
                            if (inside || (column + t * s->stride_w >= s->left && column + t * s->stride_w < s->right))
                                a[t] += v * MIXED(LOAD((const T *)(x + t * window)));
                        x += s->residue;
                        if (++turn == s->residues) {
                            x += tap - turn * s->residue;
                            turn = 0;
                        }
                    }
                }
            NAME(slide_end)(s, a, s->at[b], r, pixels);
        }
}

/* Two outputs for each input, whose vector is loaded once for all the taps of the row: each phase by itself would store
 * every other output, which takes half as long again as to store one after the other, and again as long to sum. */
INLINE void NAME(slide_up)(const slide_args *s, const int K, const int first, const int pairs)
{
    const int before = (K - 1 - first) / 2, met = before + 1 + first; /* columns that a pair meets: some before its own */
    const char *w_block = s->w;
    for (ptrdiff_t b = 0; b < s->blocks; b++, w_block += s->w_block)
        for (ptrdiff_t r = 0; r < s->rows; r++) {
            const ptrdiff_t start = r * s->stride_h, top = s->top > start ? s->top - start : 0;
            const ptrdiff_t bottom = s->bottom - start < s->taps_h ? s->bottom - start : s->taps_h;
            const T *w = (const T *)w_block;
            const char *plane = s->x + s->at[b] * (ptrdiff_t)sizeof(T) + start * s->row;
            V a[2 * SLIDE_PIXELS] = {{0}};
            for (ptrdiff_t p = 0; p < s->planes; p++, plane += s->plane, w += s->taps_h * K * VL)
                for (ptrdiff_t i = top; i < bottom; i++) {
                    const char *x = plane + i * s->row;
                    V k[SLIDE_UP];
                    NAME(slide_load)(k, w + i * K * VL, K);
                    UNROLL for (int c = 0; c < pairs - 1 + met; c++) {
                        if ((c < met - 1 && c < s->left) || (c > pairs - 1 && c >= s->right))
                            continue;
                        const V v = LOAD((const T *)(x + c / 3 * (3 * s->column) + c % 3 * s->column));
                        UNROLL for (int t = 0; t < 2 * pairs; t++) {
                            const int tap = t + first - 2 * (c - before);
                            if (tap >= 0 && tap < K)
                                a[t] += v * k[tap];
                        }
                    }
                }
            if (s->half)
                NAME(slide_end)(s, a, s->at[b], r, 2 * pairs - 1);
            else
                NAME(slide_end)(s, a, s->at[b], r, 2 * pairs);
        }
}

/* ---- planes ---------------------------------------------------------------------------------------------------- */

/* Some rows by some vectors of a row, `next` elements apart: each vector of input meets all rows of outputs that read it. */
INLINE void NAME(plane_tile)(const plane_args *p, const V f[SLIDE_PLANE][SLIDE_PLANE], ptrdiff_t r, ptrdiff_t column,
                             ptrdiff_t next, const int K, const int S, const int rows, const int wide)
{
    const T *x = (const T *)p->room + r * S * p->pitch + column;
    const ptrdiff_t half = p->pitch / 2;
    char *out = p->out + r * p->out_row + column * (ptrdiff_t)sizeof(T);
    V acc[PLANE_ROWS][PLANE_WIDE];
    UNROLL for (int i = 0; i < rows; i++)
        UNROLL for (int j = 0; j < wide; j++)
            acc[i][j] = (V){0};
    UNROLL for (int i = 0; i < (rows - 1) * S + K; i++) {
        UNROLL for (int k = 0; k < K; k++) {
            V v[PLANE_WIDE];
            UNROLL for (int j = 0; j < wide; j++)
                v[j] = LOAD(x + k % S * half + k / S + j * next);
            UNROLL for (int t = 0; t < rows; t++)
                if (i - t * S >= 0 && i - t * S < K)
                    UNROLL for (int j = 0; j < wide; j++)
                        acc[t][j] += v[j] * f[i - t * S][k];
        }
        x += p->pitch;
    }
    const V bias = (V){0} + (p->bias ? *(const T *)p->bias : 0);
    UNROLL for (int i = 0; i < rows; i++, out += p->out_row)
        UNROLL for (int j = 0; j < wide; j++) {
            const V y = acc[i][j] + bias;
            STORE((T *)out + j * next, p->clamp ? NAME(clamped)(y, p->low, p->high) : y);
        }
}

/* The same of pairs of rows and columns. `half`: the last column is without a second. */
INLINE void NAME(plane_up_tile)(const plane_args *p, const V f[SLIDE_PLANE][SLIDE_PLANE], ptrdiff_t r, ptrdiff_t column,
                                ptrdiff_t next, int half, const int K, const int parity, const int rows, const int wide)
{
    const int before = (K - 1 - parity) / 2, taps = before + 1 + parity;
    const T *x = (const T *)p->room + r * p->pitch + column;
    T *out = (T *)(p->out + 2 * r * p->out_row) + 2 * column;
    V acc[PLANE_PAIRS][2][PLANE_WIDE][2];
    UNROLL for (int t = 0; t < rows; t++)
        UNROLL for (int i = 0; i < 2; i++)
            UNROLL for (int j = 0; j < wide; j++)
                acc[t][i][j][0] = acc[t][i][j][1] = (V){0};
    UNROLL for (int i = 0; i < rows - 1 + taps; i++, x += p->pitch)
        UNROLL for (int k = 0; k < taps; k++) {
            V v[PLANE_WIDE];
            UNROLL for (int j = 0; j < wide; j++)
                v[j] = LOAD(x + k + j * next);
            UNROLL for (int t = 0; t < rows; t++)
                UNROLL for (int pair = 0; pair < 4; pair++) {
                    const int a = pair / 2 + parity - 2 * (i - t - before), b = pair % 2 + parity - 2 * (k - before);
                    if (i >= t && i - t < taps && a >= 0 && a < K && b >= 0 && b < K)
                        UNROLL for (int j = 0; j < wide; j++)
                            acc[t][pair / 2][j][pair % 2] += v[j] * f[a][b];
                }
        }
    const V bias = (V){0} + (p->bias ? *(const T *)p->bias : 0);
    UNROLL for (int t = 0; t < rows; t++)
        UNROLL for (int i = 0; i < 2; i++) {
            if (i == 0 || !p->half || r + t + 1 < p->rows)
                UNROLL for (int j = 0; j < wide; j++) {
                    V even = acc[t][i][j][0] + bias, odd = acc[t][i][j][1] + bias;
                    if (p->clamp) {
                        even = NAME(clamped)(even, p->low, p->high);
                        odd = NAME(clamped)(odd, p->low, p->high);
                    }
                    if (half && (j == wide - 1 || next == 0)) {
                        T both[2 * VL];
                        NAME(in_turns)(both, even, odd);
                        memcpy(out + 2 * j * next, both, sizeof both - sizeof(T));
                    } else {
                        NAME(in_turns)(out + 2 * j * next, even, odd);
                    }
                }
            out = (T *)((char *)out + p->out_row);
        }
}

/* What is left of rows and columns at the end: the last tile moved back. */
INLINE void NAME(plane_rows)(const plane_args *p, const V f[SLIDE_PLANE][SLIDE_PLANE], const int K, const int S,
                             const int rows)
{
    const ptrdiff_t columns = p->columns, most = PLANE_WIDE * VL;
    for (ptrdiff_t r = 0; r < p->rows; r += rows) {
        r = r + rows > p->rows ? p->rows - rows : r;
        for (ptrdiff_t j = 0; j < columns; j += most) {
            if (columns >= most)
                NAME(plane_tile)(p, f, r, j + most > columns ? columns - most : j, VL, K, S, rows, PLANE_WIDE);
            else
                NAME(plane_tile)(p, f, r, 0, columns - VL, K, S, rows, PLANE_WIDE);
        }
    }
}

INLINE void NAME(plane_up_rows)(const plane_args *p, const V f[SLIDE_PLANE][SLIDE_PLANE], const int K, const int parity,
                                const int rows)
{
    const ptrdiff_t columns = (p->columns + 1) / 2, most = PLANE_WIDE * VL;
    const int odd = p->columns % 2;
    for (ptrdiff_t r = 0; r < p->rows; r += rows) {
        r = r + rows > p->rows ? p->rows - rows : r;
        for (ptrdiff_t j = 0; j < columns; j += most) {
            const ptrdiff_t next = columns < most ? columns - VL : VL, at = columns < most ? 0 : columns - most;
            NAME(plane_up_tile)(p, f, r, j < at ? j : at, next, odd && j >= at, K, parity, rows, PLANE_WIDE);
        }
    }
}

/* A row of the plane behind its zeros; of stride 2 the pixels that are even with these, and then the odd ones. */
INLINE void NAME(plane_row)(T *to, const T *x, ptrdiff_t left, ptrdiff_t width, ptrdiff_t half, const int S)
{
    if (S == 1) {
        for (ptrdiff_t j = 0; j < width - VL; j += VL)
            STORE(to + left + j, LOAD(x + j));
        STORE(to + left + width - VL, LOAD(x + width - VL));
        return;
    }
    T *even = to + left % 2 * half + left / 2, *odd = to + (left + 1) % 2 * half + (left + 1) / 2;
    VI evens = {0}, odds = {0};
    UNROLL for (int l = 0; l < VL; l++) {
        evens[l] = 2 * l;
        odds[l] = 2 * l + 1;
    }
    const ptrdiff_t last = (width - 2 * VL) / 2 * 2;
    for (ptrdiff_t j = 0;; j = j + 2 * VL < last ? j + 2 * VL : last) {
        const V a = LOAD(x + j), b = LOAD(x + j + VL);
        STORE(even + j / 2, __builtin_shuffle(a, b, evens));
        STORE(odd + j / 2, __builtin_shuffle(a, b, odds));
        if (j == last)
            break;
    }
    if (width % 2)
        even[width / 2] = x[width - 1];
}

/* Windows of K taps at stride S, or, where S is 0, transposed ones of stride 2. */
INLINE void NAME(plane)(const plane_args *p, const int K, const int S, const int parity)
{
    const int step = S ? S : 1, taps = S ? K : (K - 1 - parity) / 2 + 1 + parity;
    T *to = (T *)p->room;
    const ptrdiff_t half = p->pitch / 2;
    V f[SLIDE_PLANE][SLIDE_PLANE];
    UNROLL for (int i = 0; i < K; i++)
        UNROLL for (int k = 0; k < K; k++)
            f[i][k] = (V){0} + ((const T *)p->w)[(i * K + k) * p->w_step];
    for (ptrdiff_t i = 0; i < (p->rows - 1) * step + taps; i++, to += p->pitch) {
        const ptrdiff_t h = p->first * step - p->top + i;
        if (h < 0 || h >= p->height)
            memset(to, 0, p->pitch * sizeof(T));
        else
            NAME(plane_row)(to, (const T *)(p->x + h * p->row), p->left, p->width, half, step);
    }
    if (S == 0 && p->rows < PLANE_PAIRS)
        NAME(plane_up_rows)(p, f, K, parity, 1);
    else if (S == 0)
        NAME(plane_up_rows)(p, f, K, parity, PLANE_PAIRS);
    else if (p->rows < PLANE_ROWS)
        NAME(plane_rows)(p, f, K, S, 1);
    else
        NAME(plane_rows)(p, f, K, S, PLANE_ROWS);
}
#define PLANE(K, S)                                                                                                    \
    static __attribute__((unused)) void NAME(plane_##K##_##S)(const plane_args *p) { NAME(plane)(p, K, S, 0); }
#define PLANE_UP(K, parity)                                                                                            \
    static __attribute__((unused)) void NAME(plane_up_##K##_##parity)(const plane_args *p) { NAME(plane)(p, K, 0, parity); }
PLANE(3, 1) PLANE(3, 2) PLANE(5, 1) PLANE(5, 2)
PLANE_UP(2, 0) PLANE_UP(2, 1) PLANE_UP(3, 0) PLANE_UP(3, 1) PLANE_UP(4, 0) PLANE_UP(4, 1) PLANE_UP(5, 0) PLANE_UP(5, 1)
#undef PLANE
#undef PLANE_UP

static void NAME(arrange)(void *dst, const void *w, ptrdiff_t taps, ptrdiff_t pitch, const ptrdiff_t *at, ptrdiff_t blocks)
{
    T *d = (T *)dst;
    for (ptrdiff_t b = 0; b < blocks; b++)
        for (ptrdiff_t tap = 0; tap < taps; tap++, d += VL)
            STORE(d, LOAD((const T *)w + tap * pitch + at[b]));
}

/* Windows of K taps at stride S, or any for K = 0. */
INLINE void NAME(slide)(const slide_args *s, const int K, const int S, const int pixels)
{
    const char *w = s->w;
    if (K == 0) {
        if (s->each > 1)
            NAME(slide_windows)(s, pixels, 1);
        else
            NAME(slide_windows)(s, pixels, 0);
        return;
    }
    for (ptrdiff_t b = 0; b < s->blocks; b++, w += s->w_block) {
        const int mixed = K == 3 && s->each > 1;
        ptrdiff_t r = 0;
        if (REGISTERS == 32 && K == 3 && s->taps_h == 3 && s->stride_h == S && s->planes == 1 && !mixed) {
            NAME(slide_stream)(s, s->at[b], (const T *)w, S, pixels);
            continue;
        }
        while (r < s->rows) {
            const int rows = REGISTERS == 32 && s->stride_h == S && r + 1 < s->rows ? 2 : 1;
            if (rows == 2 && mixed)
                NAME(slide_rows)(s, s->at[b], (const T *)w, r, 2, K, S, pixels, 1);
            else if (rows == 2)
                NAME(slide_rows)(s, s->at[b], (const T *)w, r, 2, K, S, pixels, 0);
            else if (mixed)
                NAME(slide_rows)(s, s->at[b], (const T *)w, r, 1, K, S, pixels, 1);
            else
                NAME(slide_rows)(s, s->at[b], (const T *)w, r, 1, K, S, pixels, 0);
            r += rows;
        }
    }
}

#define SLIDE(K, S, pixels)                                                                                            \
    static __attribute__((unused)) void NAME(slide_##K##_##S##_##pixels)(const slide_args *s) { NAME(slide)(s, K, S, pixels); }
#define SLIDES(K, S) SLIDE(K, S, 1) SLIDE(K, S, 2) SLIDE(K, S, 4) SLIDE(K, S, 7)
SLIDES(0, 0)
SLIDES(3, 1)
SLIDES(3, 2)
SLIDES(5, 1)
SLIDES(5, 2)
SLIDES(7, 1)
SLIDES(7, 2)
#undef SLIDES
#undef SLIDE
#define UP(K, first, pairs)                                                                                            \
    static __attribute__((unused)) void NAME(up_##K##_##first##_##pairs)(const slide_args *s)                          \
    {                                                                                                                  \
        NAME(slide_up)(s, K, first, pairs);                                                                            \
    }
#define UPS(K, first) UP(K, first, 1) UP(K, first, 2) UP(K, first, 4) UP(K, first, 7)
UPS(2, 0)
UPS(2, 1)
UPS(3, 0)
UPS(3, 1)
UPS(4, 0)
UPS(4, 1)
UPS(5, 0)
UPS(5, 1)
#undef UPS
#undef UP
