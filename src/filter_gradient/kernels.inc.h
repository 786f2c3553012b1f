/* The kernels of the filter gradient driver in vector extensions, for one compute type T on one ISA.
 * kernels.h states what each computes; isa.inc.h puts them into the ISA's table. */

/* A vector stays in its register: else the compiler reads it from memory for each FMA, which takes longer than the FMAs
 * do. */
#ifdef __x86_64__
#define HELD(v) __asm__("" : "+v"(v))
#else
#define HELD(v)
#endif

#define CEIL(a, b) (((a) + (b) - 1) / (b))

/* So few rows would wait for their own sums: they get more of them, each of every PARTS-th pixel of a run. */
#define PARTS(rows) ((rows) > 3 ? 1 : VBYTES == 64 ? 4 : 2)

INLINE void NAME(tile_end)(const tile_args *t, V acc[TILE_ROWS][TILE_WIDE], const int rows, const int wide)
{
    T *out = (T *)t->out;
    const ptrdiff_t pitch = t->pitch;
    if (t->accumulate)
    UNROLL for (int i = 0; i < rows; i++)
            UNROLL for (int j = 0; j < wide; j++)
                acc[i][j] += LOAD(out + i * pitch + j * VL);
    UNROLL for (int i = 0; i < rows; i++)
        UNROLL for (int j = 0; j < wide; j++)
            STORE(out + i * pitch + j * VL, acc[i][j]);
}

/* rows*wide accumulators, `wide` vectors of b, one broadcast: 14x2 needs 31 of AVX-512's 32 registers, 6x2 needs 15 of
 * AVX2's 16. A pixel is rows + wide loads for rows*wide FMAs. The prefetches are for strides that the hardware does not
 * follow: pixels lie channels apart, and of each but a few are wanted. */
INLINE void NAME(outer_of)(const tile_args *t, const int rows, const int wide, const int far)
{
    const int parts = PARTS(rows);
    V acc[4][TILE_ROWS][TILE_WIDE];
    UNROLL for (int q = 0; q < parts; q++)
        UNROLL for (int i = 0; i < rows; i++)
            UNROLL for (int j = 0; j < wide; j++)
                acc[q][i][j] = (V){0};
    const char *later = t->later;
    const ptrdiff_t later_step = t->later_step;
    for (ptrdiff_t r = 0; r < t->count; r++) {
        const char *a = t->a + t->runs[r].a, *b = t->b + t->runs[r].b;
        ptrdiff_t n = t->runs[r].count;
        const ptrdiff_t a_step = t->a_step, b_step = t->b_step;
        for (; n >= parts; n -= parts)
            UNROLL for (int q = 0; q < parts; q++, a += a_step, b += b_step) {
                V w[TILE_WIDE];
                UNROLL for (int j = 0; j < wide; j++)
                    w[j] = LOAD((const T *)b + j * VL);
                UNROLL for (int j = 0; j < wide; j++)
                    if (parts > 1)
                        HELD(w[j]);
                    else
                        __builtin_prefetch(b + 8 * b_step + j * VBYTES);
                if (parts == 1)
                    __builtin_prefetch(a + 8 * a_step);
                if (far) {
                    __builtin_prefetch(a + 8 * a_step + (rows - 1) * (ptrdiff_t)sizeof(T)); /* most span two lines */
                    __builtin_prefetch(later, 0, 2);
                    later += later_step;
                }
                UNROLL for (int i = 0; i < rows; i++)
                    UNROLL for (int j = 0; j < wide; j++)
                        acc[q][i][j] += ((const T *)a)[i] * w[j];
            }
        if (parts > 1)
            for (; n > 0; n--, a += a_step, b += b_step)
                UNROLL for (int i = 0; i < rows; i++)
                    UNROLL for (int j = 0; j < wide; j++)
                        acc[0][i][j] += ((const T *)a)[i] * LOAD((const T *)b + j * VL);
    }
    UNROLL for (int q = 1; q < parts; q++)
        UNROLL for (int i = 0; i < rows; i++)
            UNROLL for (int j = 0; j < wide; j++)
                acc[0][i][j] += acc[q][i][j];
    NAME(tile_end)(t, acc[0], rows, wide);
}
INLINE void NAME(outer)(const tile_args *t, const int rows, const int wide)
{
    if (wide > 1 && rows > 7 && t->later) /* in smaller tiles, a pixel's loads take as long as its FMAs */
        NAME(outer_of)(t, rows, wide, 1);
    else
        NAME(outer_of)(t, rows, wide, 0);
}

/* Which lane comes `turn` after each, round in its group. */
INLINE VI NAME(lanes_turned)(const tile_args *t)
{
    const VI lanes = NAME(lane_numbers)();
    const __typeof__(lanes[0]) last = t->each - 1, turn = t->turn;
    return (lanes & ~last) | ((lanes + turn) & last);
}

/* One place along the outputs of a run, o, and the inputs that it is the first to meet: each is loaded once and meets a
 * tap of every output that is held, w[i] of the output i before this one. At an edge some of both are not there. */
INLINE void NAME(meet)(const tile_args *t, V acc[TILE_ROWS][TILE_WIDE], V w[TILE_ROWS][TILE_WIDE], const char *const *a,
                       const char *b, ptrdiff_t o, ptrdiff_t n, const int high, const int taps, const int stride,
                       const int wide, const int edge)
{
    const int held = CEIL(taps, stride);
    UNROLL for (int i = held - 1; i > 0; i--)
        UNROLL for (int j = 0; j < wide; j++)
            w[i][j] = w[i - 1][j];
    if (!edge || o < n)
        UNROLL for (int j = 0; j < wide; j++) {
            w[0][j] = LOAD((const T *)b + j * VL);
            if (t->each > 1)
                w[0][j] = __builtin_shuffle(w[0][j], NAME(lanes_turned)(t));
        }
    UNROLL for (int q = 0; q < stride && q < taps; q++) {
        const ptrdiff_t at = o * t->stride + q * t->dilation;
        if (edge && (at < t->inside[0] || at >= t->inside[1]))
            continue;
        UNROLL for (int h = 0; h < high; h++)
            UNROLL for (int j = 0; j < wide; j++) {
                V x = LOAD((const T *)(a[h] + q * t->row_step) + j * VL);
                if (held > 1)
                    HELD(x);
                UNROLL for (int i = 0; i < held; i++)
                    if (q + i * stride < taps && (!edge || (i <= o && o < n + i)))
                        acc[h * taps + q + i * stride][j] += x * w[i][j];
            }
    }
}

/* Channel by channel: a row is a tap, of `high` rows of them. What a vector of g meets is x, as wide: so a load for an FMA
 * or two, but that taps which lie as far apart as the outputs (stride 1), or half as far (2), share them. */
INLINE void NAME(depthwise)(const tile_args *t, const int high, const int taps, const int stride, const int wide)
{
    const int held = CEIL(taps, stride), ahead = 8;
    const int together = (high * taps + held + 1) * wide < (VBYTES == 64 ? 32 : 16) ? wide : 1;
    for (int first = 0; first < wide; first += together) {
        V acc[TILE_ROWS][TILE_WIDE], w[TILE_ROWS][TILE_WIDE];
        UNROLL for (int i = 0; i < high * taps; i++)
            UNROLL for (int j = 0; j < together; j++)
                acc[i][j] = (V){0};
        UNROLL for (int i = 0; i < held; i++)
            UNROLL for (int j = 0; j < together; j++)
                w[i][j] = (V){0};
        for (ptrdiff_t r = 0; r < t->count; r++) {
            const ptrdiff_t a_step = t->a_step, b_step = t->b_step, n = t->runs[r].count;
            const char *b = t->b + t->runs[r].b + first * VBYTES, *a[TALL];
            UNROLL for (int h = 0; h < high; h++)
                a[h] = t->a + t->runs[r].a + h * t->tall_step + first * VBYTES;
            ptrdiff_t from = CEIL(t->inside[0], t->stride), o = 0;
            ptrdiff_t to = CEIL(t->inside[1] - ((stride < taps ? stride : taps) - 1) * t->dilation, t->stride);
            from = from < held - 1 ? held - 1 : from;
            to = to < n ? to : n;
            for (; o < n + held - 1; o++, b += b_step) {
                if (from <= o && o < to) {
                    UNROLL for (int j = 0; j < together; j++) {
                        __builtin_prefetch(b + ahead * b_step + j * VBYTES);
                        UNROLL for (int h = 0; h < high; h++)
                            __builtin_prefetch(a[h] + ahead * a_step + j * VBYTES);
                    }
                    NAME(meet)(t, acc, w, a, b, o, n, high, taps, stride, together, 0);
                } else
                    NAME(meet)(t, acc, w, a, b, o, n, high, taps, stride, together, 1);
                UNROLL for (int h = 0; h < high; h++)
                    a[h] += a_step;
            }
        }
        tile_args part = *t;
        part.out = (T *)t->out + first * VL;
        NAME(tile_end)(&part, acc, high * taps, together);
    }
}

/* Of one channel, the taps of three rows at once: a third of the loads of b, and all the FMAs that the units can take.
 * Where registers are 16, a vector at a time. */
INLINE void NAME(tall)(const tile_args *t, const int wide)
{
    const int together = VBYTES == 64 ? wide : 1, ahead = 24;
    for (int first = 0; first < wide; first += together) {
        V acc[TILE_ROWS][TILE_WIDE];
        UNROLL for (int i = 0; i < TALL * TALL; i++)
            UNROLL for (int j = 0; j < together; j++)
                acc[i][j] = (V){0};
        for (ptrdiff_t r = 0; r < t->count; r++) {
            const char *b = t->b + t->runs[r].b + first * VBYTES, *a[TALL];
            const ptrdiff_t a_step = t->a_step, b_step = t->b_step;
            UNROLL for (int i = 0; i < TALL; i++)
                a[i] = t->a + t->runs[r].a + i * t->tall_step;
            for (ptrdiff_t n = t->runs[r].count; n > 0; n--, b += b_step) {
                V w[TILE_WIDE];
                UNROLL for (int j = 0; j < together; j++) {
                    w[j] = LOAD((const T *)b + j * VL);
                    HELD(w[j]);
                    __builtin_prefetch(b + ahead * b_step + j * VBYTES);
                }
                UNROLL for (int i = 0; i < TALL; i++) {
                    UNROLL for (int k = 0; k < TALL; k++)
                        UNROLL for (int j = 0; j < together; j++)
                            acc[i * TALL + k][j] += ((const T *)a[i])[k] * w[j];
                    a[i] += a_step;
                }
            }
        }
        tile_args part = *t;
        part.out = (T *)t->out + first * VL;
        NAME(tile_end)(&part, acc, TALL * TALL, together);
    }
}

static void NAME(add)(void *dst, const void *src, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i++)
        ((T *)dst)[i] += ((const T *)src)[i];
}

#define TILE(name, wide, kind, ...)                                                                                    \
    static void NAME(name##x##wide)(const tile_args *t) { NAME(kind)(t, __VA_ARGS__ wide); }
#define TILES(rows, wide, tn) TILE(outer_##rows, wide, outer, rows, ) TILE(depthwise0_##rows, wide, depthwise, 1, rows, rows, )
#define SLIDING(rows, wide, tn)                                                                                        \
    TILE(depthwise1_##rows, wide, depthwise, 1, rows, 1, ) TILE(depthwise2_##rows, wide, depthwise, 1, rows, 2, )
#define TALL_TILES(wide)                                                                                               \
    TILE(tall, wide, tall, )                                                                                           \
    TILE(tall0, wide, depthwise, TALL, TALL, TALL, )                                                                   \
    TILE(tall1, wide, depthwise, TALL, TALL, 1, )                                                                      \
    TILE(tall2, wide, depthwise, TALL, TALL, 2, )
ROWS_1(TILES, 1, TN)
ROWS_2(TILES, 2, TN)
SLIDING_ROWS(SLIDING, 1, TN)
SLIDING_ROWS(SLIDING, 2, TN)
TALL_TILES(1)
TALL_TILES(2)
#undef TILE
#undef TILES
#undef SLIDING
#undef TALL_TILES

/* ---- what depends on the storage type S ----------------------------------------------------------------------- */

#define STORE_ALL(S)                                                                                                   \
    static void NAME(store_##S)(char *dst, ptrdiff_t step, const void *src, ptrdiff_t from, ptrdiff_t n)               \
    {                                                                                                                  \
        if (step == sizeof(S) && from == 1)                                                                            \
            for (ptrdiff_t i = 0; i < n; i++)                                                                          \
                STORE_##S((S *)dst + i, ((const T *)src)[i]);                                                          \
        else                                                                                                           \
            for (ptrdiff_t i = 0; i < n; i++)                                                                          \
                STORE_##S(dst + i * step, ((const T *)src)[i * from]);                                                 \
    }

#define EXP(x) _Generic((T)0, float: expf, default: exp)(x)
#define BOUND __typeof__(_Generic((T)0, float: 0.0f, default: 0.0)) /* of a clamp: int32 has not all that one may be */

#define SLOPE_OF(S, FORMULA)                                                                                           \
    for (ptrdiff_t i = 0; i < n; i++) {                                                                                \
        const T y = LOAD_##S((const S *)from + i), dy = LOAD_##S((const S *)g + i);                                    \
        STORE_##S((S *)dst + i, (FORMULA));                                                                            \
    }                                                                                                                  \
    break;

/* As TensorFlow has it, no gradient passes at the ends of a clamp, and NaN counts as outside; an infinite end is none. */
#define SLOPE(S)                                                                                                       \
    static void NAME(slope_##S)(void *dst, const void *g, const void *from, ptrdiff_t n, int activation, double low_,  \
                                double high_)                                                                          \
    {                                                                                                                  \
        const BOUND low = (BOUND)low_, high = (BOUND)high_, top = (BOUND)INFINITY;                                     \
        switch (activation) {                                                                                          \
        case CLAMP: /* two comparisons fewer take 0.9 of the time */                                                   \
            if (isfinite(low_) && high_ == INFINITY) {                                                                 \
                SLOPE_OF(S, y > low ? dy : 0)                                                                          \
            }                                                                                                          \
            if (isfinite(low_) && isfinite(high_)) {                                                                   \
                SLOPE_OF(S, (y > low) & (y < high) ? dy : 0)                                                           \
            }                                                                                                          \
            SLOPE_OF(S, ((y > low) & (y < high)) | (y == top) | (y == -top) ? dy : 0)                                  \
        case LEAKY_RELU: SLOPE_OF(S, y > 0 ? dy : dy * low)                                                            \
        case ELU: SLOPE_OF(S, y < 0 ? dy * (y + 1) : dy)                                                               \
        case SIGMOID: SLOPE_OF(S, dy * y * (1 - y))                                                                    \
        case TANH: SLOPE_OF(S, dy * (1 - y * y))                                                                       \
        case SILU: SLOPE_OF(S, dy * (1 + y * (1 - 1 / (1 + EXP(-y)))) / (1 + EXP(-y)))                                 \
        case GELU:                                                                                                     \
            SLOPE_OF(S, dy * ((T)0.5 * (1 + ERF(y * (T)0.70710678118654752))                                           \
                              + y * (T)0.39894228040143268 * EXP((T)-0.5 * y * y)))                                    \
        }                                                                                                              \
    }
