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
#define NEXT /* not the other way round: GCC takes an UNROLL that ends a loop's body for the loop's, too */            \
    UNROLL for (int h = 0; h < high; h++) a[h] += a_step;                                                              \
    o++, b += b_step;

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

/* The pixels from[0] <= o < from[1] of a run have all taps; none has where some rows of taps are outside. Returns whether
 * any is inside. */
INLINE int NAME(whole)(const tile_args *t, const pixel_run *run, const int high, const int taps, ptrdiff_t *from)
{
    const ptrdiff_t h0 = run->high[0] > t->high ? run->high[0] : t->high;
    const ptrdiff_t h1 = run->high[1] < t->high + high ? run->high[1] : t->high + high;
    from[0] = CEIL(t->inside[0], t->stride);
    from[1] = CEIL(t->inside[1] - (taps - 1) * t->dilation, t->stride);
    if (from[1] > run->count)
        from[1] = run->count;
    if (h1 - h0 < high)
        from[1] = 0;
    return h1 > h0;
}

/* Whether tap k of row h is inside the input. */
INLINE int NAME(counts)(const tile_args *t, const pixel_run *run, ptrdiff_t o, const int h, const int k)
{
    ptrdiff_t at = o * t->stride;
    const ptrdiff_t row = t->high + h;
    STEP_BY_STEP(at);
    at += k * t->dilation;
    return at >= t->inside[0] && at < t->inside[1] && row >= run->high[0] && row < run->high[1];
}

/* One pixel of a run: each vector of g meets the taps of several rows. */
INLINE void NAME(fold)(const tile_args *t, V acc[TILE_ROWS][TILE_WIDE], const char *const *a, const char *b, ptrdiff_t o,
                       const pixel_run *run, const int high, const int taps, const int wide, const int edge)
{
    const int ahead = 24;
    V w[TILE_WIDE];
    UNROLL for (int j = 0; j < wide; j++) {
        w[j] = LOAD((const T *)b + j * VL);
        HELD(w[j]);
        __builtin_prefetch(b + ahead * t->b_step + j * VBYTES);
    }
    UNROLL for (int h = 0; h < high; h++)
        UNROLL for (int k = 0; k < taps; k++)
            if (!edge || NAME(counts)(t, run, o, h, k))
                UNROLL for (int j = 0; j < wide; j++)
                    acc[h * taps + k][j] += ((const T *)a[h])[k] * w[j];
}

/* Of a few channels, the taps along w and the channels, which lie side by side, of one to three rows. */
INLINE void NAME(folded)(const tile_args *t, const int high, const int taps, const int wide)
{
    const int together = (high * taps + 1) * wide + 1 < REGISTERS ? wide : 1;
    for (int first = 0; first < wide; first += together) {
        V acc[TILE_ROWS][TILE_WIDE];
        UNROLL for (int i = 0; i < high * taps; i++)
            UNROLL for (int j = 0; j < together; j++)
                acc[i][j] = (V){0};
        for (const pixel_run *run = t->runs; run < t->runs + t->count; run++) {
            const ptrdiff_t a_step = t->a_step, b_step = t->b_step;
            const char *b = t->b + run->b + first * VBYTES, *a[TILE_HIGH];
            ptrdiff_t from[2];
            UNROLL for (int h = 0; h < high; h++)
                a[h] = t->a + run->a + h * t->high_step;
            if (!NAME(whole)(t, run, high, taps, from))
                continue;
            for (ptrdiff_t o = 0; o < run->count;) {
                while (from[0] <= o && o < from[1]) {
                    NAME(fold)(t, acc, a, b, o, run, high, taps, together, 0);
                    NEXT
                }
                if (o == run->count)
                    break;
                NAME(fold)(t, acc, a, b, o, run, high, taps, together, 1);
                NEXT
            }
        }
        tile_args part = *t;
        part.out = (T *)t->out + first * VL;
        NAME(tile_end)(&part, acc, high * taps, together);
    }
}

/* Which lane comes `turn` after each, round in its group. */
INLINE VI NAME(lanes_turned)(const tile_args *t)
{
    const VI lanes = NAME(lane_numbers)();
    const __typeof__(lanes[0]) last = t->each - 1, turn = t->turn;
    return (lanes & ~last) | ((lanes + turn) & last);
}

/* How far from a pixel to fetch another meanwhile, in bytes. Pixels so far apart share few sets of L1, and what is fetched
 * early would be gone again: then it is the pixel itself. */
INLINE ptrdiff_t NAME(soon)(ptrdiff_t step) { return step % 1024 == 0 ? 0 : 8 * step; }

/* One place along a run, o, and the inputs that it is the first to meet: each is loaded once and meets a tap of every output
 * that is held, w[i] of the output i before this one. At an edge some of both are not there. */
INLINE void NAME(meet)(const tile_args *t, V acc[TILE_ROWS][TILE_WIDE], V w[TILE_ROWS][TILE_WIDE], const char *const *a,
                       const char *b, ptrdiff_t o, const ptrdiff_t *soon, const pixel_run *run, const int stride,
                       const int high, const int taps, const int wide, const int edge)
{
    const int held = CEIL(taps, stride);
    const ptrdiff_t n = run->count;
    UNROLL for (int i = held - 1; i > 0; i--)
        UNROLL for (int j = 0; j < wide; j++)
            w[i][j] = w[i - 1][j];
    if (!edge || held == 1 || o < n)
        UNROLL for (int j = 0; j < wide; j++) {
            w[0][j] = LOAD((const T *)b + j * VL);
            if (t->each > 1)
                w[0][j] = __builtin_shuffle(w[0][j], NAME(lanes_turned)(t));
            HELD(w[0][j]);
            __builtin_prefetch(b + soon[1] + j * VBYTES);
        }
    UNROLL for (int h = 0; h < high; h++)
        UNROLL for (int q = 0; q < stride; q++) {
            if (edge && !NAME(counts)(t, run, o, h, q))
                continue;
            UNROLL for (int j = 0; j < wide; j++) {
                V x = LOAD((const T *)(a[h] + q * t->row_step) + j * VL);
                HELD(x);
                if (q == 0)
                    __builtin_prefetch(a[h] + soon[0] + j * VBYTES);
                UNROLL for (int i = 0; i < held; i++)
                    if (q + i * stride < taps && (!edge || held == 1 || (i <= o && o < n + i)))
                        acc[h * taps + q + i * stride][j] += x * w[i][j];
            }
        }
}

/* Channel by channel: what a vector of g meets is x, as wide. So a load for an FMA or two, but that taps which lie as far
 * apart as the outputs (stride 1), or half as far (2), share them; stride `taps` is any. */
INLINE void NAME(depthwise)(const tile_args *t, const int stride, const int high, const int taps, const int wide)
{
    const int held = CEIL(taps, stride);
    const int together = (high * taps + held + 1) * wide < REGISTERS ? wide : 1;
    const ptrdiff_t soon[2] = {NAME(soon)(t->a_step), NAME(soon)(t->b_step)};
    for (int first = 0; first < wide; first += together) {
        V acc[TILE_ROWS][TILE_WIDE], w[TILE_ROWS][TILE_WIDE];
        UNROLL for (int i = 0; i < high * taps; i++)
            UNROLL for (int j = 0; j < together; j++)
                acc[i][j] = (V){0};
        UNROLL for (int i = 0; i < held; i++)
            UNROLL for (int j = 0; j < together; j++)
                w[i][j] = (V){0};
        for (const pixel_run *run = t->runs; run < t->runs + t->count; run++) {
            const ptrdiff_t a_step = t->a_step, b_step = t->b_step, end = run->count + held - 1;
            const char *b = t->b + run->b + first * VBYTES, *a[TILE_HIGH];
            ptrdiff_t from[2];
            if (!NAME(whole)(t, run, high, stride, from))
                continue;
            from[0] = from[0] < held - 1 ? held - 1 : from[0];
            UNROLL for (int h = 0; h < high; h++)
                a[h] = t->a + run->a + h * t->high_step + first * VBYTES;
            for (ptrdiff_t o = 0; o < end;) {
                while (from[0] <= o && o < from[1]) {
                    NAME(meet)(t, acc, w, a, b, o, soon, run, stride, high, taps, together, 0);
                    NEXT
                }
                if (o == end)
                    break;
                NAME(meet)(t, acc, w, a, b, o, soon, run, stride, high, taps, together, 1);
                NEXT
            }
        }
        tile_args part = *t;
        part.out = (T *)t->out + first * VL;
        NAME(tile_end)(&part, acc, high * taps, together);
    }
}

static void NAME(add)(void *dst, const void *src, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i++)
        ((T *)dst)[i] += ((const T *)src)[i];
}

#define TILES(rows, wide, tn)                                                                                          \
    static void NAME(outer_##rows##x##wide)(const tile_args *t) { NAME(outer)(t, rows, wide); }                        \
    static void NAME(folded1_##rows##x##wide)(const tile_args *t) { NAME(folded)(t, 1, rows, wide); }         \
    static void NAME(depthwise0_1_##rows##x##wide)(const tile_args *t) { NAME(depthwise)(t, rows, 1, rows, wide); }
#define HIGHER(high, taps, wide, tn)                                                                                   \
    static void NAME(folded##high##_##taps##x##wide)(const tile_args *t) { NAME(folded)(t, high, taps, wide); }
#define SLIDING(stride, high, taps, wide, tn)                                                                          \
    static void NAME(depthwise##stride##_##high##_##taps##x##wide)(const tile_args *t)                                 \
    {                                                                                                                  \
        NAME(depthwise)(t, stride ? stride : taps, high, taps, wide);                                                  \
    }
ROWS_1(TILES, 1, TN)
ROWS_2(TILES, 2, TN)
FOLDED_2(HIGHER, 1, TN)
FOLDED_2(HIGHER, 2, TN)
FOLDED_3(HIGHER, 1, TN)
FOLDED_3(HIGHER, 2, TN)
SLIDING_TILES(SLIDING, 1, TN)
SLIDING_TILES(SLIDING, 2, TN)
#undef TILES
#undef HIGHER
#undef SLIDING

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
