/* The kernels of the pixel driver in vector extensions, for one compute type T on one ISA. */
#include "vector.h"

/* ---- register tiles ------------------------------------------------------------------------------------------- */

/* Every vector of input is loaded once for all rows and filters that it meets: (last - first + 1) * filters FMAs a
 * load. A load that crosses a cache line takes two of the two slots a cycle, so one FMA a load would be half the peak.
 */
INLINE void NAME(meet)(V acc[FILTERS][ROWS][WIDE], const T *x, const tile_args *t, const meeting *in,
                             const int filters, const int wide, const int first, const int last)
{
    const ptrdiff_t *offset = t->offset;
    const ptrdiff_t next = t->next, next_tap = t->next_tap * filters;
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

/* All rows meet one row of the filter, each with a row of input of its own: a load for every vector, one FMA a load and
 * filter, but no loop for every row. */
INLINE void NAME(meet_all)(V acc[FILTERS][ROWS][WIDE], const char *const *input, ptrdiff_t column, const tile_args *t,
                           const meeting *in, const int filters, const int rows, const int wide)
{
    const ptrdiff_t next = t->next, next_tap = t->next_tap * filters;
    const T *w = (const T *)t->filters + in->filter * filters, *x[ROWS];
    UNROLL for (int r = 0; r < rows; r++)
        x[r] = (const T *)input[r < t->rows ? r : 0] + column; /* a narrow tile has room for more rows than are met */
    for (int q = 0; q < in->taps; q++, w += next_tap) {
        const ptrdiff_t offset = t->offset[q];
        V f[FILTERS];
        UNROLL for (int m = 0; m < filters; m++)
            f[m] = w[m] - (V){0};
        UNROLL for (int r = 0; r < rows; r++) {
            const T *at = (const T *)((const char *)x[r] + offset);
            UNROLL for (int j = 0; j < wide; j++) {
                const V v = LOAD(at + j * next);
                UNROLL for (int m = 0; m < filters; m++)
                    acc[m][r][j] += v * f[m];
            }
        }
    }
}

/* Stores `taken` of the rows; a constant where all are, or the compiler would compute each row behind its test. */
INLINE void NAME(end)(const tile_args *t, V acc[FILTERS][ROWS][WIDE], ptrdiff_t column, const int filters,
                      const int rows, const int wide, const int taken)
{
    const V low = (T)t->low - (V){0}, high = (T)t->high - (V){0};
    const ptrdiff_t next = t->next;
    const int bare = t->bare;
    UNROLL for (int m = 0; m < filters; m++) {
        const V bias = ((const T *)t->bias)[m] - (V){0};
        UNROLL for (int r = 0; r < rows; r++) {
            if (r < taken)
                UNROLL for (int j = 0; j < wide; j++) {
                    V y = acc[m][r][j];
                    if (!bare) {
                        y += bias;
                        y = SELECT(y < low, low, y); /* no comparison holds for NaN: it comes through */
                        y = SELECT(y > high, high, y);
                    }
                    STORE((T *)t->out[m * ROWS + r] + column + j * next, y);
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
        const char *const *input = t->input;
        for (const meeting *in = t->meetings; in < t->meetings + t->count; in++) {
            if (in->range == ALL) {
                NAME(meet_all)(acc, input, column, t, in, filters, rows, wide);
                input += t->rows;
                continue;
            }
            const T *x = (const T *)*input++ + column;
            switch (in->range) {
                CASE(0, 0) CASE(0, 1) CASE(0, 2) CASE(0, 3) CASE(0, 4) CASE(0, 5)
                CASE(1, 1) CASE(1, 2) CASE(1, 3) CASE(1, 4) CASE(1, 5)
                CASE(2, 2) CASE(2, 3) CASE(2, 4) CASE(2, 5)
                CASE(3, 3) CASE(3, 4) CASE(3, 5)
                CASE(4, 4) CASE(4, 5)
                CASE(5, 5)
            }
        }
        NAME(end)(t, acc, column, filters, rows, wide, t->rows);
    }
}
#undef CASE

/* As many rows as the accumulators leave registers for: the input's vectors and one filter. */
#define ROWS_OF(filters, wide) (ACCUMULATORS / (filters * wide) < ROWS ? ACCUMULATORS / (filters * wide) : ROWS)
#define TILE(filters, name, wide)                                                                                      \
    static void NAME(tile_##filters##x##name)(const tile_args *t)                                                      \
    {                                                                                                                  \
        NAME(tile)(t, filters, ROWS_OF(filters, wide), wide);                                                          \
    }
#define TILES(filters) TILE(filters, 1, 1) TILE(filters, 2, 2) TILE(filters, most, MOST)
TILES(1)
TILES(2)
TILES(3)
TILES(4)
#undef TILE
#undef TILES

/* One filter of taps*taps on one channel, all in registers: the smallest tile's loops would cost more than its FMAs. */
INLINE void NAME(image)(const tile_args *t, const int taps, const int rows, const int wide)
{
    V f[5][5];
    UNROLL for (int i = 0; i < taps; i++)
        UNROLL for (int q = 0; q < taps; q++)
            f[i][q] = ((const T *)t->filters)[q * taps + i] - (V){0};
    ptrdiff_t column = t->first;
    for (ptrdiff_t n = 0; n < t->tiles; n++, column += t->advance) {
        V acc[FILTERS][ROWS][WIDE];
        UNROLL for (int r = 0; r < rows; r++)
            UNROLL for (int j = 0; j < wide; j++)
                acc[0][r][j] = (V){0};
        UNROLL for (int i = 0; i < rows + taps - 1; i++) {
            const T *x = (const T *)t->input[i] + column;
            UNROLL for (int q = 0; q < taps; q++) {
                V v[WIDE];
                UNROLL for (int j = 0; j < wide; j++)
                    v[j] = LOAD(x + q + j * VL);
                UNROLL for (int r = 0; r < rows; r++)
                    if (i - r >= 0 && i - r < taps)
                        UNROLL for (int j = 0; j < wide; j++)
                            acc[0][r][j] += v[j] * f[i - r][q];
            }
        }
        NAME(end)(t, acc, column, 1, rows, wide, rows);
    }
}
static void NAME(image_3)(const tile_args *t) { NAME(image)(t, 3, ROWS_OF(1, MOST), IMAGE_WIDE); }
static void NAME(image_5)(const tile_args *t) { NAME(image)(t, 5, ROWS_OF(1, MOST), IMAGE_WIDE); }

/* ---- filter gradients ----------------------------------------------------------------------------------------- */

/* rows*columns accumulators and a vector of each column: 5x5 needs 31 of AVX-512's 32 registers, 3x3 13 of AVX2's 16.
 * A step is rows + columns loads, of which those of x cross cache lines, for rows*columns FMAs. */
INLINE void NAME(product)(const product_args *t, const int rows, const int columns)
{
    V acc[PRODUCTS][PRODUCTS];
    const T *x[PRODUCTS], *g[PRODUCTS];
    T *sums = (T *)t->sums;
    UNROLL for (int i = 0; i < rows; i++)
        x[i] = (const T *)t->x[i];
    UNROLL for (int j = 0; j < columns; j++)
        g[j] = (const T *)t->g[j];
    UNROLL for (int i = 0; i < rows; i++)
        UNROLL for (int j = 0; j < columns; j++)
            acc[i][j] = LOAD(sums + (i * t->pitch + j) * VL);
    for (ptrdiff_t p = 0; p < t->vectors * VL; p += VL) {
        V b[PRODUCTS];
        UNROLL for (int j = 0; j < columns; j++)
            b[j] = LOAD(g[j] + p);
        UNROLL for (int i = 0; i < rows; i++) {
            const V a = LOAD(x[i] + p);
            UNROLL for (int j = 0; j < columns; j++)
                acc[i][j] += a * b[j];
        }
    }
    UNROLL for (int i = 0; i < rows; i++)
        UNROLL for (int j = 0; j < columns; j++)
            STORE(sums + (i * t->pitch + j) * VL, acc[i][j]);
}

static void NAME(totals)(void *dst, const void *vectors, ptrdiff_t n)
{
    const T *v = (const T *)vectors;
    for (ptrdiff_t i = 0; i < n; i++, v += VL) {
        T sum = v[0];
        for (int l = 1; l < VL; l++)
            sum += v[l];
        ((T *)dst)[i] = sum;
    }
}

#define PRODUCT(rows, columns)                                                                                         \
    static void NAME(product_##rows##x##columns)(const product_args *t) { NAME(product)(t, rows, columns); }
EACH_PRODUCT(PRODUCT)
#undef PRODUCT

/* ---- pixels to planes and back -------------------------------------------------------------------------------- */

#define EACH_OF(n, count, STATEMENT)                                                                                   \
    for (ptrdiff_t i = 0; i < count; i++)                                                                              \
        UNROLL for (ptrdiff_t j = 0; j < n; j++) { STATEMENT; }

/* Where the next block of VL starts: the last one moved back rather than cut. */
#define NEXT(i, count) ((i) + VL < (count) && (i) + 2 * VL > (count) ? (count) - VL : (i) + VL)

/* Dense pixels of 2, 4, 8 channels: plane j is zipped with plane j + half, as often as the channels can be halved. */
INLINE void NAME(zip)(T *restrict d, const T *restrict s, ptrdiff_t plane, ptrdiff_t n, const int channels)
{
    VI low = {0}, high = {0};
    UNROLL for (int l = 0; l < VL; l++) {
        low[l] = l % 2 * VL + l / 2;
        high[l] = low[l] + VL / 2;
    }
    for (ptrdiff_t i = 0; i < n; i = NEXT(i, n)) {
        V v[8], zipped[8];
        UNROLL for (int j = 0; j < channels; j++)
            v[j] = LOAD(s + j * plane + i);
        UNROLL for (int times = 1; times < channels; times *= 2) {
            UNROLL for (int j = 0; j < channels; j++)
                zipped[j] = __builtin_shuffle(v[j / 2], v[j / 2 + channels / 2], j % 2 ? high : low);
            UNROLL for (int j = 0; j < channels; j++)
                v[j] = zipped[j];
        }
        UNROLL for (int j = 0; j < channels; j++)
            STORE(d + i * channels + j * VL, v[j]);
    }
}

/* Dense pixels of 3 channels become shuffles by themselves; more channels are transposed in registers. */
static void NAME(interleave)(char *dst, ptrdiff_t step, const void *src, ptrdiff_t plane, ptrdiff_t n,
                             ptrdiff_t channels)
{
    T *restrict d = (T *)dst;
    const T *restrict s = (const T *)src;
    const int dense = step == channels * (ptrdiff_t)sizeof(T);
    switch (dense && n >= VL ? channels : 0) {
    case 2: NAME(zip)(d, s, plane, n, 2); return;
    case 3: EACH_OF(3, n, d[i * 3 + j] = s[j * plane + i]) return;
    case 4: NAME(zip)(d, s, plane, n, 4); return;
    case 8: NAME(zip)(d, s, plane, n, 8); return;
    }
    if (n < VL || channels < 5) {
        EACH_OF(channels, n, ((T *)(dst + i * step))[j] = s[j * plane + i])
        return;
    }
    NAME(transposed)(d, step / (ptrdiff_t)sizeof(T), (const char *)src, n, channels, plane * (ptrdiff_t)sizeof(T));
}

/* The other way round: every other element of two vectors. */
INLINE void NAME(unzip)(T *restrict d, ptrdiff_t plane, const T *restrict s, ptrdiff_t n, const int channels)
{
    VI even = {0}, odd = {0};
    UNROLL for (int l = 0; l < VL; l++) {
        even[l] = 2 * l;
        odd[l] = 2 * l + 1;
    }
    for (ptrdiff_t i = 0; i < n; i = NEXT(i, n)) {
        V v[8], apart[8];
        UNROLL for (int j = 0; j < channels; j++)
            v[j] = LOAD(s + i * channels + j * VL);
        UNROLL for (int times = 1; times < channels; times *= 2) {
            UNROLL for (int j = 0; j < channels / 2; j++) {
                apart[j] = __builtin_shuffle(v[2 * j], v[2 * j + 1], even);
                apart[j + channels / 2] = __builtin_shuffle(v[2 * j], v[2 * j + 1], odd);
            }
            UNROLL for (int j = 0; j < channels; j++)
                v[j] = apart[j];
        }
        UNROLL for (int j = 0; j < channels; j++)
            STORE(d + j * plane + i, v[j]);
    }
}

#define PLANES_OF(S, n) EACH_OF(n, count, d[j * plane + i] = LOAD_##S((const S *)src + i * n + j)) return;
#define PLANES(S)                                                                                                      \
    static void NAME(planes_##S)(void *dst, ptrdiff_t plane, const char *src, ptrdiff_t count, ptrdiff_t si,           \
                                 ptrdiff_t channels, ptrdiff_t sj)                                                     \
    {                                                                                                                  \
        const int same = __builtin_types_compatible_p(S, T);                                                           \
        const int dense = channels > 1 && sj == sizeof(S) && si == channels * sj;                                      \
        T *restrict d = (T *)dst;                                                                                      \
        if (same && si == sizeof(S)) {                                                                                 \
            for (ptrdiff_t j = 0; j < channels; j++)                                                                   \
                NAME(copy_short)(d + j * plane, (const T *)(src + j * sj), count);                                     \
            return;                                                                                                    \
        }                                                                                                              \
        switch (same && dense && count >= VL ? channels : 0) {                                                         \
        case 2: NAME(unzip)(d, plane, (const T *)src, count, 2); return;                                               \
        case 4: NAME(unzip)(d, plane, (const T *)src, count, 4); return;                                               \
        case 8: NAME(unzip)(d, plane, (const T *)src, count, 8); return;                                               \
        }                                                                                                              \
        switch (dense ? channels : 0) {                                                                                \
        case 2: PLANES_OF(S, 2)                                                                                        \
        case 3: PLANES_OF(S, 3)                                                                                        \
        case 4: PLANES_OF(S, 4)                                                                                        \
        }                                                                                                              \
        NAME(gather_##S)(dst, plane, 1, src, channels, sj, count, si);                                                 \
    }
