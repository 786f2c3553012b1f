/* The kernels of the pixel driver in vector extensions, for one compute type T on one ISA. */
#include "vector.h"

/* ---- register tiles ------------------------------------------------------------------------------------------- */

/* Every vector of input is loaded once for all rows and filters that it meets: (last - first + 1) * filters FMAs a
 * load. A load that crosses a cache line takes two of the two slots a cycle, so one FMA a load would be half the peak. */
INLINE void NAME(meet)(V acc[FILTERS][ROWS][WIDE], const T *x, const tile_args *t, const meeting *in, const int filters,
                       const int wide, const int first, const int last)
{
    const ptrdiff_t *offset = t->offset;
    const ptrdiff_t next = t->next, next_tap = in->next_tap * filters;
    const T *w = (const T *)t->filters + in->filter * filters;
    for (int q = 0; q < in->taps; q++, w += next_tap) {
        const T *at = (const T *)((const char *)x + offset[q]);
        V v[WIDE];
        UNROLL for (int j = 0; j < wide; j++)
            v[j] = LOAD(at + j * next);
        UNROLL for (int r = first; r <= last; r++)
            UNROLL for (int m = 0; m < filters; m++) {
                const V f = w[m - (r - first) * filters] - (V){0};
                UNROLL for (int j = 0; j < wide; j++)
                    acc[m][r][j] += v[j] * f;
            }
    }
}

INLINE void NAME(end)(const tile_args *t, V acc[FILTERS][ROWS][WIDE], ptrdiff_t column, const int filters,
                      const int rows, const int wide)
{
    const V low = (T)t->low - (V){0}, high = (T)t->high - (V){0};
    UNROLL for (int m = 0; m < filters; m++) {
        const V bias = ((const T *)t->bias)[m] - (V){0};
        UNROLL for (int r = 0; r < rows; r++) {
            T *out = (T *)t->out[m * ROWS + r] + column;
            if (r < t->rows)
                UNROLL for (int j = 0; j < wide; j++) {
                    V y = acc[m][r][j];
                    if (!t->bare) {
                        y += bias;
                        y = SELECT(y < low, low, y); /* no comparison holds for NaN: it comes through */
                        y = SELECT(y > high, high, y);
                    }
                    STORE(out + j * t->next, y);
                }
        }
    }
}

#define CASE(first, last)                                                                                              \
    case first * ROWS + last:                                                                                          \
        if (last < rows)                                                                                               \
            NAME(meet)(acc, x, t, in, filters, wide, first, last);                                                     \
        break;

INLINE void NAME(tile)(const tile_args *t, const int filters, const int rows, const int wide)
{
    ptrdiff_t column = t->first;
    for (ptrdiff_t n = 0; n < t->tiles; n++, column += t->advance) {
        V acc[FILTERS][ROWS][WIDE];
        UNROLL for (int m = 0; m < filters; m++)
            UNROLL for (int r = 0; r < rows; r++)
                UNROLL for (int j = 0; j < wide; j++)
                    acc[m][r][j] = (V){0};
        for (ptrdiff_t i = 0; i < t->count; i++) {
            const T *x = (const T *)t->input[i] + column;
            const meeting *in = t->meetings + i;
            switch (in->range) {
                CASE(0, 0) CASE(0, 1) CASE(0, 2) CASE(0, 3) CASE(0, 4) CASE(0, 5)
                CASE(1, 1) CASE(1, 2) CASE(1, 3) CASE(1, 4) CASE(1, 5)
                CASE(2, 2) CASE(2, 3) CASE(2, 4) CASE(2, 5)
                CASE(3, 3) CASE(3, 4) CASE(3, 5)
                CASE(4, 4) CASE(4, 5)
                CASE(5, 5)
            }
        }
        NAME(end)(t, acc, column, filters, rows, wide);
    }
}
#undef CASE

#define TILE(filters, wide)                                                                                            \
    static void NAME(tile_##filters##x##wide)(const tile_args *t)                                                      \
    {                                                                                                                  \
        NAME(tile)(t, filters, ROWS_##filters, wide);                                                                  \
    }
#define TILE_(filters, wide) TILE(filters, wide)
#define TILES(filters) TILE(filters, 1) TILE(filters, 2) TILE_(filters, MOST)
TILES(1)
TILES(2)
TILES(3)
TILES(4)
#undef TILE_
#undef TILE
#undef TILES

/* ---- pixels to planes and back -------------------------------------------------------------------------------- */

#define EACH_OF(n, count, STATEMENT)                                                                                   \
    for (ptrdiff_t i = 0; i < count; i++)                                                                              \
        UNROLL for (ptrdiff_t j = 0; j < n; j++) { STATEMENT; }

static void NAME(interleave)(char *dst, ptrdiff_t step, const void *src, ptrdiff_t plane, ptrdiff_t n,
                             ptrdiff_t channels)
{
    T *restrict d = (T *)dst;
    const T *restrict s = (const T *)src;
    /* Dense pixels of a constant size become shuffles. */
    switch (step == channels * (ptrdiff_t)sizeof(T) ? channels : 0) {
    case 2: EACH_OF(2, n, d[i * 2 + j] = s[j * plane + i]) return;
    case 3: EACH_OF(3, n, d[i * 3 + j] = s[j * plane + i]) return;
    case 4: EACH_OF(4, n, d[i * 4 + j] = s[j * plane + i]) return;
    case 8: EACH_OF(8, n, d[i * 8 + j] = s[j * plane + i]) return;
    default: EACH_OF(channels, n, ((T *)(dst + i * step))[j] = s[j * plane + i])
    }
}

#define PLANES_OF(S, n) EACH_OF(n, count, d[j * plane + i] = LOAD_##S((const S *)src + i * n + j)) return;
#define PLANES(S)                                                                                                      \
    static void NAME(planes_##S)(void *dst, ptrdiff_t plane, const char *src, ptrdiff_t count, ptrdiff_t si,           \
                                 ptrdiff_t channels, ptrdiff_t sj)                                                     \
    {                                                                                                                  \
        T *restrict d = (T *)dst;                                                                                      \
        if (si == sizeof(S)) {                                                                                         \
            for (ptrdiff_t j = 0; j < channels; j++)                                                                   \
                for (ptrdiff_t i = 0; i < count; i++)                                                                  \
                    d[j * plane + i] = LOAD_##S((const S *)(src + j * sj) + i);                                        \
            return;                                                                                                    \
        }                                                                                                              \
        switch (channels > 1 && sj == sizeof(S) && si == channels * sj ? channels : 0) {                               \
        case 2: PLANES_OF(S, 2)                                                                                        \
        case 3: PLANES_OF(S, 3)                                                                                        \
        case 4: PLANES_OF(S, 4)                                                                                        \
        }                                                                                                              \
        NAME(gather_##S)(dst, 1, plane, src, count, si, channels, sj);                                                 \
    }
