/* The kernels of the convolution driver in vector extensions, for one compute type T on one ISA.
 * kernels.h states what each computes; isa.inc.h puts them into the ISA's table. */
#include "vector.h"

#undef LINE
#define LINE ((int)(64 / sizeof(T))) /* elements of a cache line */

/* ---- register tiles ------------------------------------------------------------------------------------------- */

INLINE void NAME(tile_start)(const tile_args *t, V acc[TILE_ROWS][TILE_BROAD], const int rows, const int wide)
{
    UNROLL for (int i = 0; i < rows; i++)
        UNROLL for (int j = 0; j < wide; j++)
            acc[i][j] = (V){0};
    if (t->accumulate)
        UNROLL for (int i = 0; i < rows; i++)
            UNROLL for (int j = 0; j < wide; j++)
                acc[i][j] = LOAD((const T *)t->out[i] + j * VL);
}

/* The last vector of a row of which so many bytes are not there. */
INLINE V NAME(load_last)(const char *p, int spare)
{
    if (spare == 0)
        return LOAD(p);
#ifdef LOAD_FIRST
    return LOAD_FIRST(p, VL - spare / (int)sizeof(T));
#else
    V v = {0};
    memcpy(&v, p, spare == VBYTES / 2 ? VBYTES / 2 : VBYTES / 4);
    return v;
#endif
}

INLINE void NAME(tile_bias)(V acc[TILE_ROWS][TILE_BROAD], const char *bias, ptrdiff_t next, const int rows,
                            const int wide)
{
    UNROLL for (int i = 0; i < rows; i++) {
        UNROLL for (int j = 0; j < wide; j++)
            acc[i][j] += LOAD((const T *)bias + j * VL);
        bias += next;
        STEP_BY_STEP(bias);
    }
}

INLINE void NAME(row_add)(V *acc, const char *added, int spare, const int wide)
{
    UNROLL for (int j = 0; j < wide - 1; j++)
        acc[j] += LOAD((const T *)added + j * VL);
    acc[wide - 1] += NAME(load_last)(added + (wide - 1) * VBYTES, spare);
}

/* Row i goes to out[i], or, with out NULL, to first + i*next, worked out where it is wanted: the compiler would keep all
 * those addresses in memory and step each from tile to tile, 6 % of the time of 24 channels. */
INLINE void NAME(tile_store)(const tile_args *t, V acc[TILE_ROWS][TILE_BROAD], char *const *out, char *first,
                             ptrdiff_t next, const int rows, const int wide)
{
    const int last = wide - 1;
    if (t->clamp)
        UNROLL for (int i = 0; i < rows; i++)
            UNROLL for (int j = 0; j < wide; j++)
                acc[i][j] = NAME(clamped)(acc[i][j], t->low, t->high);
#define EACH_ROW(store_last)                                                                                           \
    UNROLL for (int i = 0; i < rows; i++) {                                                                            \
        char *row = out ? out[i] : first;                                                                              \
        const V v = acc[i][last]; /* a copy: accumulators whose address is taken do not stay in registers */           \
        UNROLL for (int j = 0; j < last; j++)                                                                          \
            STORE((T *)row + j * VL, acc[i][j]);                                                                       \
        row += last * VBYTES;                                                                                          \
        store_last;                                                                                                    \
        first += next;                                                                                                 \
        STEP_BY_STEP(first);                                                                                           \
    }
    if (t->spare == 0) {
        EACH_ROW(STORE(row, v))
    } else if (t->spare == VBYTES / 2) {
        EACH_ROW(memcpy(row, &v, VBYTES / 2))
    } else if (t->spare == VBYTES / 4 * 3) {
        EACH_ROW(memcpy(row, &v, VBYTES / 4))
    }
#ifdef STORE_FIRST
    else {
        EACH_ROW(STORE_FIRST(row, v, VL - t->spare / (int)sizeof(T)))
    }
#endif
#undef EACH_ROW
}

INLINE void NAME(tile_end)(const tile_args *t, V acc[TILE_ROWS][TILE_BROAD], const int rows, const int wide)
{
    NAME(tile_bias)(acc, t->bias, t->bias_row, rows, wide);
    if (t->added)
        UNROLL for (int i = 0; i < rows; i++)
            NAME(row_add)(acc[i], t->added[i], t->spare, wide);
    NAME(tile_store)(t, acc, t->out, NULL, 0, rows, wide);
}

/* rows*wide accumulators, `wide` vectors of filters, one broadcast: 14x2 needs 31 of AVX-512's 32 registers, 6x2 needs
 * 15 of AVX2's 16. A step of k is rows + wide loads for rows*wide FMAs; the filters stream from L2, wide vectors a step.
 * One or two rows are as many blocks wide as keep the FMAs busy; to fetch ahead would take loads of theirs, which go at
 * the rate of L2 or L3 (1280 channels to 1000: 67 GB/s with it, 89 without, on a Zen 4 whose L3 gives a core 98).
 * Input larger than L2 is fetched a tile ahead, a line of every row at a time (3x3 stride 2 of 112x112x64: 80 % of the
 * FMA peak became 95). */
INLINE void NAME(gemm)(const tile_args *t, const int rows, const int wide)
{
    V acc[TILE_ROWS][TILE_BROAD];
    NAME(tile_start)(t, acc, rows, wide);
    UNROLL for (int i = 0; i < rows; i++)
        UNROLL for (int j = 0; j < wide; j++)
            __builtin_prefetch(t->out[i] + j * VBYTES, 1);
    const T *b = (const T *)t->b;
    const ptrdiff_t run = t->run, ldb = t->ldb, ahead = t->ahead ? rows * t->pixel : 0;
    const ptrdiff_t panel = t->panel / (ptrdiff_t)sizeof(T); /* of broad tiles */
    for (ptrdiff_t r = 0; r < t->runs; r++) {
        const T *a[TILE_ROWS];
        UNROLL for (int i = 0; i < rows; i++)
            a[i] = (const T *)(t->a[r * t->a_step + i] + t->offset[r]);
        for (ptrdiff_t k = 0; k < run;) {
            const ptrdiff_t line = ahead && run - k > LINE ? k + LINE : run;
            if (ahead)
                UNROLL for (int i = 0; i < rows; i++)
                    __builtin_prefetch((const char *)(a[i] + k) + ahead);
            for (; k < line; k++, b += ldb) {
                V w[TILE_BROAD];
                UNROLL for (int j = 0; j < wide; j++) {
                    w[j] = LOAD(b + j / 2 * panel + j % 2 * VL);
                    if (rows > 2)
                        __builtin_prefetch(b + 16 * ldb + j * VL);
                }
                UNROLL for (int i = 0; i < rows; i++)
                    UNROLL for (int j = 0; j < wide; j++)
                        acc[i][j] += a[i][k] * w[j];
            }
        }
    }
    NAME(tile_end)(t, acc, rows, wide);
}

/* Tiles side by side, whose rows lie at one distance from each other: a fifth of the pointers, and where a tile is has
 * not to be worked out again for each. With few channels that took as long as the FMAs. What is fetched meanwhile: `soon`,
 * the next tile's outputs, a row a step (all at once, they would take the few places where misses wait from the loads);
 * `later`, what comes then; `next`, the next tile's input, line by line or a line of every row (ahead 1 and 2). */
INLINE const T *NAME(along_steps)(const tile_args *t, V acc[TILE_ROWS][TILE_BROAD], const char *base,
                                  const ptrdiff_t *offset, const char **a, const T *b, ptrdiff_t k, ptrdiff_t end,
                                  const char *next, const char *later, const char *soon, const int rows,
                                  const int wide, const int each, const int fetch, const int ahead, const int outputs)
{
    const ptrdiff_t ldb = t->ldb, later_step = t->later_step, out_pixel = t->out_pixel, pixel = t->pixel;
    for (; k < end; k++, b += ldb) {
        V w[TILE_WIDE];
        if (each)
            UNROLL for (int i = 0; i < rows; i += 3)
                a[i / 3] = base + offset[k] + i * pixel;
        if (fetch)
            __builtin_prefetch(later + k * later_step, 0, 2);
        if (ahead > 1 && k % LINE == 0)
            UNROLL for (int i = 0; i < rows; i++)
                __builtin_prefetch(a[i / 3] + (rows + i % 3) * pixel);
        if (ahead == 1) { /* into L1, and, beyond the page that the hardware sees to, into L2 */
            __builtin_prefetch(next + k * 64);
            __builtin_prefetch(next + k * 64 + 6144, 0, 2);
        }
        if (outputs)
            UNROLL for (int j = 0; j < wide; j++)
                __builtin_prefetch(soon + k * out_pixel + j * VBYTES, 1);
        UNROLL for (int j = 0; j < wide; j++) {
            w[j] = LOAD(b + j * VL);
            if (fetch)
                __builtin_prefetch(b + 16 * ldb + j * VL);
        }
        UNROLL for (int i = 0; i < rows; i++)
            UNROLL for (int j = 0; j < wide; j++)
                acc[i][j] += *(const T *)(a[i / 3] + i % 3 * pixel) * w[j];
        if (!each)
            UNROLL for (int i = 0; i < rows; i += 3)
                a[i / 3] += sizeof(T);
    }
    return b;
}

/* Some steps of a run. The first `left` fetch outputs, in a loop of their own: to ask each step took 4 % of the time on a
 * Zen 4. */
INLINE const T *NAME(along_run)(const tile_args *t, V acc[TILE_ROWS][TILE_BROAD], const char *base,
                                const ptrdiff_t *offset, const char **a, const T *b, ptrdiff_t steps, const char *next,
                                const char *later, const char *soon, ptrdiff_t left, const int rows, const int wide,
                                const int each, const int fetch, const int ahead)
{
    UNROLL for (int i = 0; i < rows; i += 3)
        a[i / 3] = base + i * t->pixel;
    left = wide < 2 || left < 0 ? 0 : left < steps ? left : steps;
    if (wide > 1)
        b = NAME(along_steps)(t, acc, base, offset, a, b, 0, left, next, later, soon, rows, wide, each, fetch, ahead, 1);
    return NAME(along_steps)(t, acc, base, offset, a, b, left, steps, next, later, soon, rows, wide, each, fetch, ahead,
                             0);
}

/* The last step and the end of a tile, row by row, so that its stores do not come all at once: they would keep the next
 * tile's first steps waiting. */
INLINE void NAME(along_last)(V acc[TILE_ROWS][TILE_BROAD], const char *const *a, ptrdiff_t pixel, const T *b,
                             const char *bias, ptrdiff_t bias_row, char *out, ptrdiff_t next, double low, double high,
                             const int rows, const int wide, const int clamp)
{
    V w[TILE_WIDE];
    UNROLL for (int j = 0; j < wide; j++)
        w[j] = LOAD(b + j * VL);
    UNROLL for (int i = 0; i < rows; i++) {
        const T x = *(const T *)(a[i / 3] + i % 3 * pixel);
        UNROLL for (int j = 0; j < wide; j++) {
            acc[i][j] += x * w[j];
            acc[i][j] += LOAD((const T *)bias + j * VL);
            if (clamp)
                acc[i][j] = NAME(clamped)(acc[i][j], low, high);
        }
        UNROLL for (int j = 0; j < wide; j++)
            STORE((T *)out + j * VL, acc[i][j]);
        out += next;
        STEP_BY_STEP(out);
        bias += bias_row;
        STEP_BY_STEP(bias);
    }
}

INLINE void NAME(along_tiles)(const tile_args *t, const int rows, const int wide, const enum places places,
                              const int fetch, const int ahead)
{
    const ptrdiff_t out_pixel = t->out_pixel, bias_row = t->bias_row, steps = t->runs * t->run, row = wide * VBYTES;
    const int last = t->spare == 0 && !t->added && steps > 0; /* steps that are left to a plain end */
    const char *base = t->a[0], *later = t->later;
    char *start = t->out[0];
    for (ptrdiff_t n = 0; n < t->tiles; n++) {
        for (ptrdiff_t c = 0; c < t->blocks; c++) {
            V acc[TILE_ROWS][TILE_BROAD];
            UNROLL for (int i = 0; i < rows; i++)
                UNROLL for (int j = 0; j < wide; j++)
                    acc[i][j] = (V){0};
            const char *a[TILE_ROWS / 3 + 1], *bias = t->bias + (bias_row ? n * rows * bias_row : c * row);
            const T *b = (const T *)(t->b + c * t->panel);
            char *out = start + c * row;
            const char *soon = c + 1 < t->blocks ? out + row : start + rows * out_pixel;
            const char *next = c == 0 && t->ahead ? base + rows * t->pixel : base;
            if (wide > 1)
                for (ptrdiff_t i = steps; i < rows; i++) /* more rows than steps */
                    UNROLL for (int j = 0; j < wide; j++)
                        __builtin_prefetch(soon + i * out_pixel + j * VBYTES, 1);
            if (places == SOME_RUNS) {
                const char *then = later;
                for (ptrdiff_t r = 0; r < t->runs; r++) {
                    b = NAME(along_run)(t, acc, base + t->offset[r], NULL, a, b,
                                        r + 1 < t->runs ? t->run : t->run - last, next, then, soon,
                                        rows - r * t->run, rows, wide, 0, fetch, ahead);
                    then += t->run * t->later_step;
                    soon += t->run * out_pixel;
                }
            } else {
                b = NAME(along_run)(t, acc, base + (places == EACH_STEP ? 0 : t->offset[0]), t->offset, a, b,
                                    steps - last, next, later, soon, rows, rows, wide, places == EACH_STEP, fetch,
                                    ahead);
                if (places == EACH_STEP && last)
                    UNROLL for (int i = 0; i < rows; i += 3)
                        a[i / 3] = base + t->offset[steps - 1] + i * t->pixel;
            }
            if (last && t->clamp) {
                __asm__ volatile("" ::: "memory"); /* or the compiler would do what both ends have before it asks */
                NAME(along_last)(acc, a, t->pixel, b, bias, bias_row, out, out_pixel, t->low, t->high, rows, wide, 1);
            } else if (last) {
                NAME(along_last)(acc, a, t->pixel, b, bias, bias_row, out, out_pixel, 0, 0, rows, wide, 0);
            } else {
                NAME(tile_bias)(acc, bias, bias_row, rows, wide);
                const char *added = t->added ? t->added[0] + n * rows * t->added_pixel + c * row : NULL;
                if (added)
                    UNROLL for (int i = 0; i < rows; i++, added += t->added_pixel)
                        NAME(row_add)(acc[i], added, t->spare, wide);
                NAME(tile_store)(t, acc, NULL, out, out_pixel, rows, wide);
            }
        }
        base += rows * t->pixel;
        start += rows * out_pixel;
        later += steps * t->later_step;
    }
}

/* Few columns would leave most of a vector empty: the pixels are the lanes here. Their channels lie side by side and are
 * transposed in registers, which takes a shuffle for every log2(VL) / VL elements. */
INLINE void NAME(narrow)(const tile_args *t, const int columns)
{
    const ptrdiff_t run = t->run, pixel = t->pixel;
    const char *base = t->a[0];
    char *out = t->out[0];
    for (ptrdiff_t n = 0; n < t->tiles; n++, base += VL * pixel) {
        V acc[NARROW] = {{0}};
        T stores[NARROW][VL];
        const T *b = (const T *)t->b;
        for (ptrdiff_t r = 0; r < t->runs; r++)
            for (ptrdiff_t k = 0; k < run; k += VL) { /* the last ones moved back rather than cut */
                const ptrdiff_t from = k + VL > run ? run - VL : k;
                const char *a = base + t->offset[r] + from * sizeof(T);
                V v[VL];
                if (t->ahead) { /* as in a run: the next tile into L1, the one after it into L2 */
                    const char *next = base + VL * pixel + k * VBYTES;
                    UNROLL for (int i = 0; i < VL * VBYTES; i += 64) {
                        __builtin_prefetch(next + i);
                        __builtin_prefetch(next + i + 6144, 0, 2);
                    }
                }
                UNROLL for (int i = 0; i < VL; i++) {
                    v[i] = LOAD(a);
                    a += pixel;
                }
                NAME(transpose_registers)(v);
                if (from == k) {
                    UNROLL for (int i = 0; i < VL; i++)
                        UNROLL for (int j = 0; j < columns; j++)
                            acc[j] += v[i] * b[i * VL + j];
                    b += VL * VL;
                } else {
                    UNROLL for (int i = 1; i < VL; i++)
                        if (from + i >= k) {
                            UNROLL for (int j = 0; j < columns; j++)
                                acc[j] += v[i] * b[j];
                            b += VL;
                        }
                }
            }
        UNROLL for (int j = 0; j < columns; j++) {
            const V v = acc[j] + ((const T *)t->bias)[j];
            STORE(stores[j], t->clamp ? NAME(clamped)(v, t->low, t->high) : v);
        }
        for (int i = 0; i < VL; i++, out += t->out_pixel)
            UNROLL for (int j = 0; j < columns; j++)
                ((T *)out)[j] = stores[j][i];
    }
}
static void NAME(narrow_1)(const tile_args *t) { NAME(narrow)(t, 1); }
static void NAME(narrow_2)(const tile_args *t) { NAME(narrow)(t, 2); }
static void NAME(narrow_3)(const tile_args *t) { NAME(narrow)(t, 3); }
static void NAME(narrow_4)(const tile_args *t) { NAME(narrow)(t, 4); }

/* Channel by channel: a load of input and an FMA for every element. */
INLINE void NAME(depthwise)(const tile_args *t, const int rows, const int wide)
{
    V acc[TILE_ROWS][TILE_BROAD];
    NAME(tile_start)(t, acc, rows, wide);
    const T *b = (const T *)t->b;
    for (ptrdiff_t r = 0; r < t->runs; r++, b += t->ldb) {
        V w[TILE_WIDE];
        UNROLL for (int j = 0; j < wide; j++)
            w[j] = LOAD(b + j * VL);
        UNROLL for (int i = 0; i < rows; i++) {
            const T *a = (const T *)(t->a[r * t->a_step + i] + t->offset[r]) + t->column;
            UNROLL for (int j = 0; j < wide; j++)
                acc[i][j] += LOAD(a + j * VL) * w[j];
        }
    }
    NAME(tile_end)(t, acc, rows, wide);
}

static void NAME(add)(const add_args *a)
{
    for (ptrdiff_t i = 0; i < a->ni; i++)
        for (ptrdiff_t j = 0; j < a->nj; j++) {
            T *restrict s = (T *)a->sum + i * a->si + j * a->sj;
            const T *restrict t = (const T *)a->term + i * a->ti + j * a->tj;
            for (ptrdiff_t k = 0; k < a->n; k++)
                s[k] += t[k];
        }
}

#define TILE(kind, name, rows, wide)                                                                                   \
    static void NAME(kind##_##name##x##wide)(const tile_args *t) { NAME(kind)(t, rows, wide); }
/* Functions of their own: in one, the compiler keeps too much in memory. */
#define PART(part, name, rows, wide, ...)                                                                              \
    static __attribute__((noinline)) void NAME(part##_##name##x##wide)(const tile_args *t)                             \
    {                                                                                                                  \
        NAME(along_tiles)(t, rows, wide, __VA_ARGS__);                                                                 \
    }
#define ALONG(kind, name, rows, wide)                                                                                  \
    PART(one_few, name, rows, wide, ONE_RUN, 0, 1)                                                                     \
    PART(one_many, name, rows, wide, ONE_RUN, 1, 1)                                                                    \
    PART(each_few, name, rows, wide, EACH_STEP, 0, 0)                                                                  \
    PART(some_few, name, rows, wide, SOME_RUNS, 0, 0)                                                                  \
    PART(some_many, name, rows, wide, SOME_RUNS, 1, 0)                                                                 \
    PART(some_ahead, name, rows, wide, SOME_RUNS, 1, 2)                                                                \
    static void NAME(kind##_##name##x##wide)(const tile_args *t)                                                       \
    {                                                                                                                  \
        const int few = t->runs * t->run * wide <= FEW_VECTORS;                                                        \
        if (t->ahead > 1)                                                                                              \
            NAME(some_ahead_##name##x##wide)(t);                                                                       \
        else if (t->runs == 1 && few)                                                                                  \
            NAME(one_few_##name##x##wide)(t);                                                                          \
        else if (t->runs == 1 && t->ahead)                                                                             \
            NAME(one_many_##name##x##wide)(t);                                                                         \
        else if (t->run == 1 && few)                                                                                   \
            NAME(each_few_##name##x##wide)(t);                                                                         \
        else if (few)                                                                                                  \
            NAME(some_few_##name##x##wide)(t);                                                                         \
        else                                                                                                           \
            NAME(some_many_##name##x##wide)(t);                                                                        \
    }
#define SHORT_ALONG(kind, name, rows, wide)                                                                            \
    static void NAME(kind##_##name##x##wide)(const tile_args *t)                                                       \
    {                                                                                                                  \
        if (t->run == 1)                                                                                               \
            NAME(along_tiles)(t, rows, wide, EACH_STEP, 0, 0);                                                         \
        else                                                                                                           \
            NAME(along_tiles)(t, rows, wide, SOME_RUNS, 1, 0);                                                         \
    }
#if ROWS_2 > 8
#define EIGHT_ROWS(SHORT, kind) SHORT(kind, 8, 8, 2)
#else
#define EIGHT_ROWS(SHORT, kind)
#endif
#define TILES(SHORT, FULL, kind)                                                                                       \
    SHORT(kind, 1, 1, 1) SHORT(kind, 2, 2, 1) SHORT(kind, 4, 4, 1) SHORT(kind, 8, 8, 1) FULL(kind, full, ROWS_1, 1)    \
    SHORT(kind, 1, 1, 2) SHORT(kind, 2, 2, 2) SHORT(kind, 4, 4, 2) EIGHT_ROWS(SHORT, kind) FULL(kind, full, ROWS_2, 2)
TILES(TILE, TILE, gemm)
TILE(gemm, 1, 1, 4) TILE(gemm, 1, 1, 8) TILE(gemm, 2, 2, 4)
TILES(TILE, TILE, depthwise)
TILES(SHORT_ALONG, ALONG, along)
#undef TILE
#undef PART
#undef ALONG
#undef SHORT_ALONG
#undef EIGHT_ROWS
#undef TILES
