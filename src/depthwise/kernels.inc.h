/* The kernels of the depthwise driver in vector extensions, for one compute type T on one ISA. */
#include "../gemm/kernels.inc.h"

/* One row of input, each vector of it kept for all the windows that it meets: those of up to three rows of outputs, a,
 * b and c where they are not NULL, by one row of weights each. Columns are checked only where they can lie outside: no
 * window lies outside as a whole. */
INLINE void NAME(slide_row)(const slide_args *s, const int K, const int S, const int pixels,
                                  const char *x, /* IN */
                                  V *a, const V *ka, V *b, const V *kb, V *c, const V *kc)
{
    const ptrdiff_t column = s->column;
    UNROLL for (int i = 0; i < (pixels - 1) * S + K; i++) {
        if ((i < K - 1 && i < s->left) || (i > (pixels - 1) * S && i >= s->right))
            continue;
        const V v = LOAD((const T *)(x + i / 3 * (3 * column) + i % 3 * column));
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
    if (s->clamp) {
        const V low = (V){0} + (T)s->low, high = (V){0} + (T)s->high;
        UNROLL for (int t = 0; t < pixels; t++) {
            acc[t] = SELECT(acc[t] < low, low, acc[t]);
            acc[t] = SELECT(acc[t] > high, high, acc[t]);
        }
    }
    UNROLL for (int t = 0; t < pixels; t++) {
        STORE((T *)(out + t / 3 * (3 * column) + t % 3 * column), acc[t]);
        acc[t] = (V){0};
    }
}

/* One row of outputs, or two that load the rows of input which they share once: 2*7 accumulators, two rows of up to 7
 * weights and a vector of input are 29 of AVX-512's 32 registers; one row needs 15 of AVX2's 16. */
INLINE void NAME(slide_rows)(const slide_args *s, ptrdiff_t at, const T *w, ptrdiff_t r, const int rows, const int K,
                             const int S, const int pixels)
{
    const ptrdiff_t first = r * s->stride_h, row = s->row, top = s->top > first ? s->top - first : 0;
    const ptrdiff_t bottom = s->bottom - first, upper = bottom < s->taps_h ? bottom : s->taps_h;
    const ptrdiff_t lower = bottom < s->taps_h + S ? bottom : s->taps_h + S;
    const char *plane = s->x + at * (ptrdiff_t)sizeof(T) + first * row;
    V a[SLIDE_PIXELS] = {{0}}, b[SLIDE_PIXELS] = {{0}}, ka[7], kb[7];
    UNROLL for (int j = 0; j < rows; j++)
        UNROLL for (int t = 0; t < pixels; t++)
            __builtin_prefetch(s->out + (r + j) * s->out_row + t * s->out_column + at * (ptrdiff_t)sizeof(T), 1);
    for (ptrdiff_t p = 0; p < s->planes; p++, plane += s->plane, w += s->taps_h * K * VL) {
        ptrdiff_t i = top;
        for (; i < upper && (rows == 1 || i < S); i++) {
            NAME(slide_load)(ka, w + i * K * VL, K);
            NAME(slide_row)(s, K, S, pixels, plane + i * row, a, ka, NULL, NULL, NULL, NULL);
        }
        if (rows == 1)
            continue;
        for (; i < upper; i++) {
            NAME(slide_load)(ka, w + i * K * VL, K);
            NAME(slide_load)(kb, w + (i - S) * K * VL, K);
            NAME(slide_row)(s, K, S, pixels, plane + i * row, a, ka, b, kb, NULL, NULL);
        }
        for (i = i < S ? S : i; i < lower; i++) {
            NAME(slide_load)(kb, w + (i - S) * K * VL, K);
            NAME(slide_row)(s, K, S, pixels, plane + i * row, NULL, NULL, b, kb, NULL, NULL);
        }
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
        NAME(slide_row)(s, 3, S, pixels, x, oldest, k[2], middle, k[1], newest, k[0]);                                 \
    i++;                                                                                                               \
    x += s->row;
#define END(sums, r) NAME(slide_end)(s, sums, at, r, pixels);
#define FETCH(r)                                                                                                       \
    UNROLL for (int t = 0; t < pixels; t++)                                                                            \
        __builtin_prefetch(s->out + (r) * s->out_row + t * s->out_column + at * (ptrdiff_t)sizeof(T), 1);
#define COPY(to, from)                                                                                                 \
    UNROLL for (int t = 0; t < pixels; t++)                                                                            \
        to[t] = from[t];
    STEP(NULL, NULL, a)
    if (S == 1) {
        if (rows > 1) {
            STEP(NULL, a, b)
            for (;;) {
                if (i >= rows)
                    break;
                FETCH(i - 2)
                STEP(a, b, c)
                END(a, i - 3)
                if (i >= rows) {
                    COPY(a, b)
                    COPY(b, c)
                    break;
                }
                FETCH(i - 2)
                STEP(b, c, a)
                END(b, i - 3)
                if (i >= rows) {
                    COPY(b, a)
                    COPY(a, c)
                    break;
                }
                FETCH(i - 2)
                STEP(c, a, b)
                END(c, i - 3)
            }
            STEP(a, b, NULL)
            END(a, i - 3)
        } else {
            STEP(NULL, a, NULL)
            COPY(b, a)
        }
        STEP(b, NULL, NULL)
        END(b, i - 3)
    } else {
        STEP(NULL, a, NULL)
        for (;;) {
            if (i >= 2 * rows)
                break;
            FETCH(i / 2 - 1)
            STEP(a, NULL, b)
            END(a, i / 2 - 1)
            STEP(NULL, b, NULL)
            if (i >= 2 * rows) {
                COPY(a, b)
                break;
            }
            FETCH(i / 2 - 1)
            STEP(b, NULL, a)
            END(b, i / 2 - 1)
            STEP(NULL, a, NULL)
        }
        STEP(a, NULL, NULL)
        END(a, i / 2 - 1)
    }
#undef STEP
#undef END
#undef FETCH
#undef COPY
}

INLINE void NAME(slide)(const slide_args *s, const int K, const int S, const int pixels)
{
    const char *w = s->w;
    for (ptrdiff_t b = 0; b < s->blocks; b++, w += s->w_block) {
        if (SLIDE_REGISTERS == 32 && K == 3 && s->taps_h == 3 && s->stride_h == S && s->planes == 1) {
            NAME(slide_stream)(s, s->at[b], (const T *)w, S, pixels);
            continue;
        }
        ptrdiff_t r = 0;
        if (SLIDE_REGISTERS == 32 && K > 3 && s->stride_h == S)
            for (; r + 1 < s->rows; r += 2)
                NAME(slide_rows)(s, s->at[b], (const T *)w, r, 2, K, S, pixels);
        for (; r < s->rows; r++)
            NAME(slide_rows)(s, s->at[b], (const T *)w, r, 1, K, S, pixels);
    }
}

/* Some taps of a row of any windows that lie side by side, from tap k on: each vector of input meets all of them. */
INLINE void NAME(slide_some)(const slide_args *s, const char *x, const T *w, ptrdiff_t k, V *a, const int inside,
                             const int pixels)
{
    V some[SLIDE_SOME];
    NAME(slide_load)(some, w, SLIDE_SOME);
    UNROLL for (int i = 0; i < pixels - 1 + SLIDE_SOME; i++) {
        if (!inside && (k + i < s->left || k + i >= s->right))
            continue;
        const V v = LOAD((const T *)(x + i * s->column));
        UNROLL for (int t = 0; t < pixels; t++)
            if (i - t >= 0 && i - t < SLIDE_SOME)
                a[t] += v * some[i - t];
    }
}

/* Any other windows: a load of input for every FMA, but where taps and windows are both one column apart. */
INLINE void NAME(slide_windows)(const slide_args *s, const int pixels, const int together)
{
    const char *w_block = s->w;
    const ptrdiff_t window = s->stride_w * s->column, tap = s->dilation_w * s->column;
    const ptrdiff_t last = (pixels - 1) * s->stride_w + (s->taps_w - 1) * s->dilation_w;
    const int inside = s->left <= 0 && last < s->right;
    for (ptrdiff_t b = 0; b < s->blocks; b++, w_block += s->w_block)
        for (ptrdiff_t r = 0; r < s->rows; r++) {
            const ptrdiff_t first = r * s->stride_h, top = s->top > first ? s->top - first : 0;
            const ptrdiff_t bottom = s->bottom - first < s->taps_h ? s->bottom - first : s->taps_h;
            const char *plane = s->x + s->at[b] * (ptrdiff_t)sizeof(T) + first * s->row;
            const T *w = (const T *)w_block;
            V a[SLIDE_PIXELS] = {{0}};
            for (ptrdiff_t p = 0; p < s->planes; p++, plane += s->plane, w += s->taps_h * s->taps_w * VL)
                for (ptrdiff_t i = top; i < bottom; i++) {
                    ptrdiff_t k = 0;
                    if (together)
                        for (; k + SLIDE_SOME <= s->taps_w; k += SLIDE_SOME)
                            NAME(slide_some)(s, plane + i * s->row + k * tap, w + (i * s->taps_w + k) * VL, k, a, inside, pixels);
                    for (; k < s->taps_w; k++) {
                        const char *x = plane + i * s->row + k * tap;
                        const V v = LOAD(w + (i * s->taps_w + k) * VL);
                        const ptrdiff_t column = k * s->dilation_w;
                        UNROLL for (int t = 0; t < pixels; t++)
                            if (inside || (column + t * s->stride_w >= s->left && column + t * s->stride_w < s->right))
                                a[t] += v * LOAD((const T *)(x + t * window));
                    }
                }
            NAME(slide_end)(s, a, s->at[b], r, pixels);
        }
}

static void NAME(arrange)(void *dst, const void *w, ptrdiff_t taps, ptrdiff_t pitch, const ptrdiff_t *at, ptrdiff_t blocks)
{
    T *d = (T *)dst;
    for (ptrdiff_t b = 0; b < blocks; b++)
        for (ptrdiff_t tap = 0; tap < taps; tap++, d += VL)
            STORE(d, LOAD((const T *)w + tap * pitch + at[b]));
}

INLINE void NAME(slide_any)(const slide_args *s, const int pixels)
{
    if (s->stride_w == 1 && s->dilation_w == 1 && s->taps_w >= SLIDE_SOME)
        NAME(slide_windows)(s, pixels, 1);
    else
        NAME(slide_windows)(s, pixels, 0);
}

#define SLIDE(K, S, pixels)                                                                                            \
    static __attribute__((unused)) void NAME(slide_##K##_##S##_##pixels)(const slide_args *s) { NAME(slide)(s, K, S, pixels); }
#define SLIDES(K, S) SLIDE(K, S, 1) SLIDE(K, S, 2) SLIDE(K, S, 4) SLIDE(K, S, 7)
SLIDES(3, 1)
SLIDES(3, 2)
SLIDES(5, 1)
SLIDES(5, 2)
SLIDES(7, 1)
SLIDES(7, 2)
#undef SLIDES
#define SLIDE_ANY(pixels)                                                                                              \
    static void NAME(slide_any_##pixels)(const slide_args *s) { NAME(slide_any)(s, pixels); }
SLIDE_ANY(1)
SLIDE_ANY(2)
SLIDE_ANY(4)
SLIDE_ANY(7)
#undef SLIDE_ANY
#undef SLIDE
