/* Moving data between arrays and the compute type T, for every storage type S: filters into panels, planes of input
 * into dense scratch, and tiles into the output. move.h states what each does; vector.h must have been included for T,
 * and EXPM1, TANH_OF, ERF and SIGMOID_OF be defined. */
#include "storage.inc.h"

/* No comparison holds for NaN: it comes through. */
INLINE V NAME(clamped)(V v, double low_, double high_)
{
    const V low = (V){0} + (T)low_, high = (V){0} + (T)high_;
    v = SELECT(v < low, low, v);
    return SELECT(v > high, high, v);
}

/* ---- rows into columns ---------------------------------------------------------------------------------------- */

/* dst[2*i] = x[i], dst[2*i + 1] = y[i] */
INLINE void NAME(in_turns)(T *dst, V x, V y)
{
    VI low;
    UNROLL for (int i = 0; i < VL; i++)
        low[i] = i / 2 + i % 2 * VL;
    STORE(dst, __builtin_shuffle(x, y, low));
    STORE(dst + VL, __builtin_shuffle(x, y, low + VL / 2));
}

/* 0, 1, 2, ... */
INLINE VI NAME(lane_numbers)(void)
{
    VI lanes = {0};
    UNROLL for (int i = 0; i < VL; i++)
        lanes[i] = i;
    return lanes;
}

/* v[i][j] to v[j][i]: for k = 1, 2, 4, ... swap the off-diagonal quarters of every block of 2k by 2k. */
INLINE void NAME(transpose_registers)(V v[VL])
{
    UNROLL for (int k = 1; k < VL; k *= 2) {
        VI upper = {0}, lower = {0};
        UNROLL for (int j = 0; j < VL; j++) {
            upper[j] = j & k ? VL + j - k : j;
            lower[j] = j & k ? VL + j : j + k;
        }
        UNROLL for (int i = 0; i < VL; i++)
            if (!(i & k)) {
                const V a = v[i], b = v[i + k];
                v[i] = __builtin_shuffle(a, b, upper);
                v[i + k] = __builtin_shuffle(a, b, lower);
            }
    }
}

/* n elements: vectors, and what is left as its first and its last ones, which may overlap. Rows are too short for what
 * memcpy does before it starts, and of a size that is known, if it is 32, GCC makes a loop. */
INLINE void NAME(copy_short)(T *d, const T *s, ptrdiff_t n)
{
    for (; n >= VL; n -= VL, d += VL, s += VL)
        STORE(d, LOAD(s));
    const ptrdiff_t bytes = n * (ptrdiff_t)sizeof(T);
#define ENDS(part)                                                                                                     \
    if (VBYTES > sizeof(part) && bytes >= (ptrdiff_t)sizeof(part)) {                                                   \
        const ptrdiff_t last = bytes - (ptrdiff_t)sizeof(part);                                                        \
        const part first_part = *(const part *)s, last_part = *(const part *)((const char *)s + last);                 \
        *(part *)d = first_part;                                                                                       \
        *(part *)((char *)d + last) = last_part;                                                                       \
        return;                                                                                                        \
    }
    ENDS(bytes32)
    ENDS(bytes16)
    ENDS(bytes8)
    ENDS(bytes4)
#undef ENDS
}

/* d[i*pitch + j] = src[i][j] of a block of fewer than a vector of j, or of i, which lie side by side. */
static __attribute__((unused)) void NAME(transposed_part)(T *d, ptrdiff_t pitch, const char *src, ptrdiff_t ni, ptrdiff_t nj, ptrdiff_t sj)
{
    V v[VL];
#ifdef LOAD_FIRST
    UNROLL for (int k = 0; k < VL; k++)
        v[k] = k < nj ? LOAD_FIRST(src + k * sj, ni) : (V){0};
    NAME(transpose_registers)(v);
    UNROLL for (int k = 0; k < VL; k++)
        if (k < ni)
            STORE_FIRST(d + k * pitch, v[k], nj);
#else
    V part[VL];
    UNROLL for (int k = 0; k < VL; k++)
        part[k] = (V){0};
    for (ptrdiff_t k = 0; k < nj; k++) {
        const T *from = (const T *)(src + k * sj);
        if (ni == VL || (k < nj - 1 && sj >= VBYTES)) /* what lies between is read, too, but for the last */
            part[k] = LOAD(from);
        else
            NAME(copy_short)((T *)&part[k], from, ni);
    }
    UNROLL for (int k = 0; k < VL; k++)
        v[k] = part[k];
    NAME(transpose_registers)(v);
    UNROLL for (int k = 0; k < VL; k++)
        part[k] = v[k];
    for (ptrdiff_t k = 0; k < ni; k++)
        NAME(copy_short)(d + k * pitch, (const T *)&part[k], nj);
#endif
}

/* The same of any numbers: the last blocks of many are moved back rather than cut. */
static __attribute__((unused)) void NAME(transposed)(T *d, ptrdiff_t pitch, const char *src, ptrdiff_t ni, ptrdiff_t nj, ptrdiff_t sj)
{
    const ptrdiff_t wide = ni < VL ? ni : VL, tall = nj < VL ? nj : VL; /* of a block */
    for (ptrdiff_t i0 = 0; i0 < ni; i0 += VL)
        for (ptrdiff_t j0 = 0; j0 < nj; j0 += VL) {
            const ptrdiff_t i = i0 + wide > ni ? ni - wide : i0, j = j0 + tall > nj ? nj - tall : j0;
            const char *from = src + j * sj + i * (ptrdiff_t)sizeof(T);
            T *to = d + i * pitch + j;
            if (wide < VL || tall < VL) {
                NAME(transposed_part)(to, pitch, from, wide, tall, sj);
                continue;
            }
            V v[VL];
            UNROLL for (int k = 0; k < VL; k++)
                v[k] = LOAD(from + k * sj);
            NAME(transpose_registers)(v);
            UNROLL for (int k = 0; k < VL; k++)
                STORE(to + k * pitch, v[k]);
        }
}

/* ---- filters into panels -------------------------------------------------------------------------------------- */

#define PACK(S)                                                                                                        \
    static int NAME(pack_##S)(void *dst, ptrdiff_t width, const char *w, ptrdiff_t rows, ptrdiff_t sk,                 \
                              ptrdiff_t columns, ptrdiff_t sj)                                                         \
    {                                                                                                                  \
        T *b = (T *)dst;                                                                                               \
        V strange = (V){0}; /* x - x is 0 unless x is infinite or NaN */                                               \
        const int transpose = __builtin_types_compatible_p(S, T) && sj != sizeof(S) && sk == sizeof(S) &&              \
                              rows >= VL && columns >= VL;                                                             \
        if (transpose)                                                                                                 \
            NAME(transposed)(b, width, w, rows, columns, sj);                                                          \
        for (ptrdiff_t k = 0; k < rows; k++, b += width, w += sk) {                                                    \
            if (sj == sizeof(S))                                                                                       \
                for (ptrdiff_t j = 0; j < columns; j++)                                                                \
                    b[j] = LOAD_##S((const S *)w + j);                                                                 \
            else if (!transpose)                                                                                       \
                for (ptrdiff_t j = 0; j < columns; j++)                                                                \
                    b[j] = LOAD_##S(w + j * sj);                                                                       \
            for (ptrdiff_t j = columns; j < width; j++)                                                                \
                b[j] = 0;                                                                                              \
            ptrdiff_t j = 0;                                                                                           \
            for (; j + VL <= width; j += VL)                                                                           \
                strange += LOAD(b + j) - LOAD(b + j);                                                                  \
            for (; j < width; j++)                                                                                     \
                strange[0] += b[j] - b[j];                                                                             \
        }                                                                                                              \
        T sum = 0;                                                                                                     \
        for (int j = 0; j < VL; j++)                                                                                   \
            sum += strange[j];                                                                                         \
        return sum == 0;                                                                                               \
    }

/* ---- planes of input into dense scratch ----------------------------------------------------------------------- */

/* So many of each, known to the compiler, become shuffles. */
#define REPEAT(S, FIXED)                                                                                               \
    for (ptrdiff_t i = 0; i < ni; i++)                                                                                 \
        for (ptrdiff_t j = 0; j < nj; j++)                                                                             \
            for (ptrdiff_t q = 0; q < (FIXED); q++)                                                                    \
                d[i * pitch + j * (FIXED) + q] = LOAD_##S((const S *)(src + i * si) + j);                              \
    return;

/* d[i*nj + j] = src[i][j] for fewer j than a vector holds, which lie side by side, and i that are si bytes apart: all that
 * fill whole vectors. Returns how many i. */
static __attribute__((unused)) ptrdiff_t NAME(few)(T *d, const char *src, ptrdiff_t ni, ptrdiff_t si, ptrdiff_t nj)
{
    const ptrdiff_t step = si / (ptrdiff_t)sizeof(T), all = ni;
    if (ni < VL || si % (ptrdiff_t)sizeof(T) || step >= 1 << 20 || -step >= 1 << 20)
        return 0;
    int32_t at[VL * VL]; /* of VL times i, where each element is, */
    VI lanes[VL];        /* and where from the first of its vector */
    int near = VBYTES > 16 && step >= nj; /* else what lies in an i is not behind all of the one before */
    for (int i = 0; i < VL; i++)
        for (int j = 0; j < nj; j++)
            at[i * nj + j] = i * (int)step + j;
    for (int i = 0; i < nj; i++)
        for (int j = 0; j < VL; j++) {
            lanes[i][j] = at[i * VL + j] - at[i * VL];
            near &= lanes[i][j] < 2 * VL;
        }
    for (; near && (ni - VL) * step >= 2 * VL; ni -= VL, src += VL * si) /* two loads are inside what is read */
        for (int i = 0; i < nj; i++, d += VL) {
            const T *from = (const T *)src + at[i * VL];
            STORE(d, __builtin_shuffle(LOAD(from), LOAD(from + VL), lanes[i]));
        }
    for (; ni >= VL; ni -= VL, src += VL * si)
        for (const int32_t *from = at; from < at + VL * nj; from += VL, d += VL)
            for (int j = 0; j < VL; j++)
                d[j] = ((const T *)src)[from[j]];
    return all - ni;
}

/* n elements of which each second is wanted; nothing behind the last is read. */
INLINE void NAME(every_second)(T *dst, const T *src, ptrdiff_t n)
{
    VI even = 2 * NAME(lane_numbers)();
    for (int i = VL / 2; i < VL; i++)
        even[i]++; /* of a vector that starts one earlier */
    for (ptrdiff_t j = 0; j < n; j += VL) {
        j = j + VL > n ? n - VL : j;
        STORE(dst + j, __builtin_shuffle(LOAD(src + 2 * j), LOAD(src + 2 * j + VL - 1), even));
    }
}

/* Channels next to each other are copied row by row; pixels next to each other (channels-first) are transposed in
 * registers; anything else goes in blocks of 16 x 16, so that each cache line is read and written whole. */
#define GATHER(S)                                                                                                      \
    static void NAME(gather_##S)(void *dst, ptrdiff_t pitch, ptrdiff_t repeat, const char *src, ptrdiff_t ni,          \
                                 ptrdiff_t si, ptrdiff_t nj, ptrdiff_t sj)                                             \
    {                                                                                                                  \
        T *d = (T *)dst;                                                                                               \
        if (sj == sizeof(S) && repeat == 1 && pitch == nj && si == nj * (ptrdiff_t)sizeof(S)) { /* one long row */     \
            nj *= ni;                                                                                                  \
            ni = 1;                                                                                                    \
        }                                                                                                              \
        switch (sj == sizeof(S) ? repeat : 0) {                                                                        \
        case 2: REPEAT(S, 2)                                                                                           \
        case 4: REPEAT(S, 4)                                                                                           \
        }                                                                                                              \
        if (__builtin_types_compatible_p(S, T) && sj == sizeof(S) && repeat == 1 && pitch == nj && nj < VL) {          \
            const ptrdiff_t done = NAME(few)(d, src, ni, si, nj);                                                      \
            d += done * nj;                                                                                            \
            src += done * si;                                                                                          \
            ni -= done;                                                                                                \
        }                                                                                                              \
        if (sj == sizeof(S) && repeat == 1) {                                                                          \
            for (ptrdiff_t i = 0; i < ni; i++)                                                                         \
                for (ptrdiff_t j = 0; j < nj; j++)                                                                     \
                    d[i * pitch + j] = LOAD_##S((const S *)(src + i * si) + j);                                        \
            return;                                                                                                    \
        }                                                                                                              \
        if (__builtin_types_compatible_p(S, T) && repeat == 1 && si == sizeof(T) && ni >= 4 && nj >= 4) {              \
            NAME(transposed)(d, pitch, src, ni, nj, sj);                                                               \
            return;                                                                                                    \
        }                                                                                                              \
        if (__builtin_types_compatible_p(S, T) && repeat == 1 && sj == 2 * sizeof(T) && nj >= VL) {                    \
            for (ptrdiff_t i = 0; i < ni; i++)                                                                         \
                NAME(every_second)(d + i * pitch, (const T *)(src + i * si), nj);                                      \
            return;                                                                                                    \
        }                                                                                                              \
        for (ptrdiff_t i0 = 0; i0 < ni; i0 += 16)                                                                      \
            for (ptrdiff_t j0 = 0; j0 < nj; j0 += 16)                                                                  \
                for (ptrdiff_t i = i0; i < ni && i < i0 + 16; i++) {                                                   \
                    const ptrdiff_t end = nj < j0 + 16 ? nj : j0 + 16;                                                 \
                    const char *from = src + i * si + j0 * sj;                                                         \
                    T *to = d + i * pitch + j0 * repeat;                                                               \
                    for (ptrdiff_t j = j0; j < end; j++, from += sj, to += repeat)                                     \
                        for (ptrdiff_t q = 0; q < repeat; q++)                                                         \
                            to[q] = LOAD_##S(from);                                                                    \
                }                                                                                                      \
    }

static __attribute__((unused)) void NAME(fill)(void *dst, ptrdiff_t n, double value)
{
    for (ptrdiff_t i = 0; i < n; i++)
        ((T *)dst)[i] = (T)value;
}

/* ---- the end of a tile that is not a plain store -------------------------------------------------------------- */

#define FINISH_ROW(FORMULA)                                                                                            \
    for (ptrdiff_t j = 0; j < columns; j++) {                                                                          \
        const T x = row[j];                                                                                            \
        row[j] = (FORMULA);                                                                                            \
    }                                                                                                                  \
    break;

/* How many rows from one on lie side by side in the output, where columns do not: these are turned there together. Fewer
 * than seven are not worth it. */
INLINE int NAME(abreast)(const finish_args *f, int first)
{
    const int most = f->rows - first < VL ? f->rows - first : VL;
    int n = 1;
    if (f->out_step == sizeof(T) || f->out_step % (ptrdiff_t)sizeof(T) || f->columns < 4)
        return 1;
    while (n < most && f->out[first + n] == f->out[first] + n * (ptrdiff_t)sizeof(T))
        n++;
    return n < 7 ? 1 : n;
}

#define FINISH(S)                                                                                                      \
    static void NAME(finish_##S)(const finish_args *f)                                                                 \
    {                                                                                                                  \
        const int same = __builtin_types_compatible_p(S, T), plain = f->activation == NONE && !f->bias && !f->residual; \
        if (same && plain && f->out_step == sizeof(T)) { /* only too narrow to be stored at once */                    \
            for (int i = 0; i < f->rows; i++)                                                                          \
                NAME(copy_short)((T *)f->out[i], (const T *)f->tile + i * f->pitch, f->columns);                       \
            return;                                                                                                    \
        }                                                                                                              \
        const T low = (T)f->low, high = (T)f->high;                                                                    \
        const ptrdiff_t columns = f->columns, step = f->out_step;                                                      \
        T rows[VL][TILE_WIDE * VL];                                                                                    \
        for (int first = 0, count; first < f->rows; first += count) {                                                  \
            count = same ? NAME(abreast)(f, first) : 1;                                                                \
            if (plain && count > 1) {                                                                                  \
                NAME(transposed)((T *)f->out[first], step / (ptrdiff_t)sizeof(T),                                      \
                                 (const char *)((const T *)f->tile + first * f->pitch), columns, count,                \
                                 f->pitch * (ptrdiff_t)sizeof(T));                                                     \
                continue;                                                                                              \
            }                                                                                                          \
            for (int i = first; i < first + count; i++) {                                                              \
                const T *tile = (const T *)f->tile + i * f->pitch, *bias = (const T *)f->bias;                         \
                const char *residual = f->residual ? f->residual[i] : NULL;                                            \
                char *out = f->out[i];                                                                                 \
                T *row = rows[i - first];                                                                              \
                for (ptrdiff_t j = 0; j < columns; j++)                                                                \
                    row[j] = tile[j] + (bias ? bias[j] : 0);                                                           \
                if (residual)                                                                                          \
                    for (ptrdiff_t j = 0; j < columns; j++)                                                            \
                        row[j] += LOAD_##S(residual + j * f->residual_step);                                           \
                switch (f->activation) {                                                                               \
                case CLAMP: FINISH_ROW(x < low ? low : x > high ? high : x)                                            \
                case LEAKY_RELU: FINISH_ROW(x < 0 ? x * low : x)                                                       \
                case ELU: FINISH_ROW(x < 0 ? EXPM1(x) : x)                                                             \
                case SIGMOID: FINISH_ROW(SIGMOID_OF(x))                                                                \
                case TANH: FINISH_ROW(TANH_OF(x))                                                                      \
                case SILU: FINISH_ROW(x * SIGMOID_OF(x))                                                               \
                case GELU: FINISH_ROW(x * (T)0.5 * (1 + ERF(x * (T)0.70710678118654752)))                              \
                }                                                                                                      \
                if (count > 1)                                                                                         \
                    continue;                                                                                          \
                if (step == sizeof(S))                                                                                 \
                    for (ptrdiff_t j = 0; j < columns; j++)                                                            \
                        STORE_##S((S *)out + j, row[j]);                                                               \
                else                                                                                                   \
                    for (ptrdiff_t j = 0; j < columns; j++)                                                            \
                        STORE_##S(out + j * step, row[j]);                                                             \
            }                                                                                                          \
            if (count > 1)                                                                                             \
                NAME(transposed)((T *)f->out[first], step / (ptrdiff_t)sizeof(T), (const char *)rows, columns, count,  \
                                 sizeof rows[0]);                                                                      \
        }                                                                                                              \
    }

#ifndef STORAGE /* else of a driver that has others */
#define STORAGE(S) PACK(S) GATHER(S) FINISH(S)
#endif
