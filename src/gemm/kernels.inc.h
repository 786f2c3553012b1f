/* The kernels of the convolution driver in vector extensions, for one compute type T on one ISA.
 * kernels.h states what each computes; table.inc.h puts them into the ISA's table. */
#include "vector.h"

/* ---- register tiles ------------------------------------------------------------------------------------------- */

INLINE void NAME(tile_start)(const tile_args *t, V acc[TILE_ROWS][TILE_WIDE], const int rows, const int wide)
{
    UNROLL for (int i = 0; i < rows; i++)
        UNROLL for (int j = 0; j < wide; j++)
            acc[i][j] = (V){0};
    if (t->accumulate)
        UNROLL for (int i = 0; i < rows; i++)
            UNROLL for (int j = 0; j < wide; j++)
                acc[i][j] = LOAD((const T *)t->out[i] + j * VL);
}

INLINE void NAME(tile_end)(const tile_args *t, V acc[TILE_ROWS][TILE_WIDE], const int rows, const int wide)
{
    const V low = (V){0} + (T)t->low, high = (V){0} + (T)t->high;
    V bias[TILE_WIDE];
    UNROLL for (int j = 0; j < wide; j++)
        bias[j] = LOAD((const T *)t->bias + j * VL);
    UNROLL for (int i = 0; i < rows; i++)
        UNROLL for (int j = 0; j < wide; j++) {
            V v = acc[i][j] + bias[j];
            v = SELECT(v < low, low, v); /* no comparison holds for NaN: it comes through */
            v = SELECT(v > high, high, v);
            STORE((T *)t->out[i] + j * VL, v);
        }
}

/* rows*wide accumulators, `wide` vectors of filters, one broadcast: 14x2 needs 31 of AVX-512's 32 registers, 6x2 needs
 * 15 of AVX2's 16. A step of k is rows + wide loads for rows*wide FMAs; the filters stream from L2, wide vectors a step. */
INLINE void NAME(gemm)(const tile_args *t, const int rows, const int wide)
{
    V acc[TILE_ROWS][TILE_WIDE];
    NAME(tile_start)(t, acc, rows, wide);
    const T *b = (const T *)t->b;
    const ptrdiff_t run = t->run, ldb = t->ldb;
    for (ptrdiff_t r = 0; r < t->runs; r++) {
        const T *a[TILE_ROWS];
        UNROLL for (int i = 0; i < rows; i++)
            a[i] = (const T *)t->a[r * TILE_ROWS + i];
        for (ptrdiff_t k = 0; k < run; k++, b += ldb) {
            V w[TILE_WIDE];
            UNROLL for (int j = 0; j < wide; j++) {
                w[j] = LOAD(b + j * VL);
                __builtin_prefetch(b + 16 * ldb + j * VL);
            }
            UNROLL for (int i = 0; i < rows; i++)
                UNROLL for (int j = 0; j < wide; j++)
                    acc[i][j] += a[i][k] * w[j];
        }
    }
    NAME(tile_end)(t, acc, rows, wide);
}

/* Channel by channel: a load of input and an FMA for every element. */
INLINE void NAME(depthwise)(const tile_args *t, const int rows, const int wide)
{
    V acc[TILE_ROWS][TILE_WIDE];
    NAME(tile_start)(t, acc, rows, wide);
    const T *b = (const T *)t->b;
    for (ptrdiff_t r = 0; r < t->runs; r++, b += t->ldb) {
        V w[TILE_WIDE];
        UNROLL for (int j = 0; j < wide; j++)
            w[j] = LOAD(b + j * VL);
        UNROLL for (int i = 0; i < rows; i++) {
            const T *a = (const T *)t->a[r * TILE_ROWS + i] + t->column;
            UNROLL for (int j = 0; j < wide; j++)
                acc[i][j] += LOAD(a + j * VL) * w[j];
        }
    }
    NAME(tile_end)(t, acc, rows, wide);
}

#define TILE(kind, name, rows, wide)                                                                                   \
    static void NAME(kind##_##name##x##wide)(const tile_args *t) { NAME(kind)(t, rows, wide); }
#define TILES(kind)                                                                                                    \
    TILE(kind, 1, 1, 1) TILE(kind, 2, 2, 1) TILE(kind, 4, 4, 1) TILE(kind, 8, 8, 1) TILE(kind, full, ROWS_1, 1)        \
    TILE(kind, 1, 1, 2) TILE(kind, 2, 2, 2) TILE(kind, 4, 4, 2) TILE(kind, full, ROWS_2, 2)                            \
    TILE(kind, 8, (ROWS_2 < 8 ? ROWS_2 : 8), 2)
TILES(gemm)
TILES(depthwise)
#undef TILE
#undef TILES

/* ---- filters into panels -------------------------------------------------------------------------------------- */

#define PACK(S)                                                                                                        \
    static int NAME(pack_##S)(void *dst, ptrdiff_t width, const char *w, ptrdiff_t rows, ptrdiff_t sk,                 \
                              ptrdiff_t columns, ptrdiff_t sj)                                                         \
    {                                                                                                                  \
        T *b = (T *)dst;                                                                                               \
        T strange = 0; /* x - x is 0 unless x is infinite or NaN */                                                    \
        for (ptrdiff_t k = 0; k < rows; k++, b += width, w += sk) {                                                    \
            if (sj == sizeof(S))                                                                                       \
                for (ptrdiff_t j = 0; j < columns; j++)                                                                \
                    b[j] = LOAD_##S((const S *)w + j);                                                                 \
            else                                                                                                       \
                for (ptrdiff_t j = 0; j < columns; j++)                                                                \
                    b[j] = LOAD_##S(w + j * sj);                                                                       \
            for (ptrdiff_t j = 0; j < columns; j++)                                                                    \
                strange += b[j] - b[j];                                                                                \
            for (ptrdiff_t j = columns; j < width; j++)                                                                \
                b[j] = 0;                                                                                              \
        }                                                                                                              \
        return strange == 0;                                                                                           \
    }

/* ---- planes of input into dense scratch ----------------------------------------------------------------------- */

/* Channels next to each other are copied row by row; pixels next to each other (channels-first) in blocks of
 * 16 x 16, so that each cache line is read and written whole. */
#define GATHER(S)                                                                                                      \
    static void NAME(gather_##S)(void *dst, ptrdiff_t pitch, ptrdiff_t step, const char *src, ptrdiff_t ni,            \
                                 ptrdiff_t si, ptrdiff_t nj, ptrdiff_t sj)                                             \
    {                                                                                                                  \
        T *d = (T *)dst;                                                                                               \
        if (sj == sizeof(S) && step == 1) {                                                                                      \
            for (ptrdiff_t i = 0; i < ni; i++)                                                                         \
                for (ptrdiff_t j = 0; j < nj; j++)                                                                     \
                    d[i * pitch + j] = LOAD_##S((const S *)(src + i * si) + j);                                        \
            return;                                                                                                    \
        }                                                                                                              \
        for (ptrdiff_t i0 = 0; i0 < ni; i0 += 16)                                                                      \
            for (ptrdiff_t j0 = 0; j0 < nj; j0 += 16)                                                                  \
                for (ptrdiff_t i = i0; i < ni && i < i0 + 16; i++)                                                     \
                    for (ptrdiff_t j = j0; j < nj && j < j0 + 16; j++)                                                 \
                        d[i * pitch + j * step] = LOAD_##S(src + i * si + j * sj);                                          \
    }

static void NAME(fill)(void *dst, ptrdiff_t n, double value)
{
    for (ptrdiff_t i = 0; i < n; i++)
        ((T *)dst)[i] = (T)value;
}

/* ---- the end of a tile that is not a plain store -------------------------------------------------------------- */

#define FINISH_ROW(S, FORMULA)                                                                                         \
    for (ptrdiff_t j = 0; j < f->columns; j++) {                                                                       \
        const T x = row[j];                                                                                            \
        const T y = (FORMULA);                                                                                         \
        STORE_##S(out + j * step, y);                                                                                  \
    }                                                                                                                  \
    break;

#define FINISH(S)                                                                                                      \
    static void NAME(finish_##S)(const finish_args *f)                                                                 \
    {                                                                                                                  \
        const T low = (T)f->low, high = (T)f->high;                                                                    \
        T row[TILE_WIDE * VL];                                                                                         \
        for (int i = 0; i < f->rows; i++) {                                                                            \
            const T *tile = (const T *)f->tile + i * f->pitch, *bias = (const T *)f->bias;                             \
            const char *residual = f->residual ? f->residual[i] : NULL;                                                \
            char *out = f->out[i];                                                                                     \
            const ptrdiff_t step = f->out_step;                                                                        \
            for (ptrdiff_t j = 0; j < f->columns; j++)                                                                 \
                row[j] = tile[j] + (bias ? bias[j] : 0);                                                               \
            if (residual)                                                                                              \
                for (ptrdiff_t j = 0; j < f->columns; j++)                                                             \
                    row[j] += LOAD_##S(residual + j * f->residual_step);                                               \
            switch (f->activation) {                                                                                   \
            case NONE: FINISH_ROW(S, x)                                                                                \
            case CLAMP: FINISH_ROW(S, x < low ? low : x > high ? high : x)                                             \
            case LEAKY_RELU: FINISH_ROW(S, x < 0 ? x * low : x)                                                        \
            case ELU: FINISH_ROW(S, x < 0 ? EXPM1(x) : x)                                                              \
            case SIGMOID: FINISH_ROW(S, SIGMOID_OF(x))                                                                 \
            case TANH: FINISH_ROW(S, TANH_OF(x))                                                                       \
            case SILU: FINISH_ROW(S, x * SIGMOID_OF(x))                                                                \
            case GELU: FINISH_ROW(S, x * (T)0.5 * (1 + ERF(x * (T)0.70710678118654752)))                               \
            }                                                                                                          \
        }                                                                                                              \
    }

#define STORAGE(S) PACK(S) GATHER(S) FINISH(S)
