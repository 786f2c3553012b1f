/* Winograd transforms, vector over channels, for float32 (T, suffix TN) on one ISA.
 *
 * F(m, r) by Toom-Cook: outputs are a product of polynomials, evaluated at ALPHA - 1 points and infinity, multiplied
 * point by point, and interpolated. Points 0, 1, -1 for ALPHA = 4; +-1/2, +-5/4 for ALPHA = 5; 0, +-3/4, +-3/2 for
 * ALPHA = 6: of the dyadic pairs these have the smallest error (largest error over largest output, F(4x4, 3x3), 64
 * channels: 1.7e-6, against 8.4e-6 of the textbook's 0, +-1, +-2; F(3x3, 3x3): 0.9e-6). B^T does not depend on r, so
 * F(4,3), F(3,4) and F(2,5) share it. */

/* The pairs of points +-A and +-B. */
#define POINT_A(alpha) ((alpha) == 4 ? 1 : (alpha) == 5 ? 0.5 : 0.75)
#define POINT_B(alpha) ((alpha) == 5 ? 1.25 : 1.5)

/* d[0], d[step], ... become B^T d in place. Row p of B^T: the coefficients of the product of (x - q) over the other
 * points q; the last row, of all points. Points +-p come in pairs: even part +- odd part. */
INLINE void NAME(data_transform)(V *d, const int step, const int alpha)
{
    if (alpha == 4) {
        const V d0 = d[0], d1 = d[step], d2 = d[2 * step], d3 = d[3 * step];
        d[0] = d0 - d2; /* (x - 1)(x + 1), with the sign turned in G */
        d[step] = d2 + d1;
        d[2 * step] = d2 - d1;
        d[3 * step] = d3 - d1;
    } else {
        const T a = (T)POINT_A(alpha), b = (T)POINT_B(alpha), aa = a * a, bb = b * b;
        const int zero = alpha - 5, last = alpha - 1; /* whether 0 is a point, too */
        V x[ALPHA_MAX];
    UNROLL for (int i = 0; i < alpha; i++)
            x[i] = d[i * step];
        const V even_a = x[3 + zero] - bb * x[1 + zero], odd_a = a * (x[2 + zero] - bb * x[zero]);
        const V even_b = x[3 + zero] - aa * x[1 + zero], odd_b = b * (x[2 + zero] - aa * x[zero]);
        if (zero)
            d[0] = x[4] - (aa + bb) * x[2] + aa * bb * x[0];
        d += zero * step;
        d[0] = even_a + odd_a;
        d[step] = even_a - odd_a;
        d[2 * step] = even_b + odd_b;
        d[3 * step] = even_b - odd_b;
        d[4 * step] = x[last] - (aa + bb) * x[last - 2] + aa * bb * x[last - 4];
    }
}

/* x[0], x[step], ... become the m outputs A^T x in place: output k is the sum of p^k x[p], the last one + infinity's.
 */
INLINE void NAME(output_transform)(V *x, const int step, const int alpha, const int m)
{
    const T a = (T)POINT_A(alpha), b = (T)POINT_B(alpha);
    const int first = alpha == 5 ? 0 : step; /* of the pairs: 0 is a point of the others */
    const V last = x[(alpha - 1) * step];
    const V even_a = x[first] + x[first + step], odd_a = x[first] - x[first + step];
    V even_b = (V){0}, odd_b = (V){0}, zero = (V){0};
    if (alpha != 5)
        zero = x[0];
    if (alpha != 4) {
        even_b = x[first + 2 * step] + x[first + 3 * step];
        odd_b = x[first + 2 * step] - x[first + 3 * step];
    }
    T power_a = a, power_b = b;
    x[0] = zero + even_a;
    if (alpha != 4)
        x[0] += even_b;
    UNROLL for (int k = 1; k < m; k++, power_a *= a, power_b *= b) {
        V y = power_a * (k % 2 ? odd_a : even_a);
        if (k == m - 1)
            y += last;
        if (alpha != 4)
            y += power_b * (k % 2 ? odd_b : even_b);
        x[k * step] = y;
    }
}

/* Whether a value was infinite or NaN, in any lane, of which this is the sum; or if it has become so. */
INLINE int NAME(any_strange)(V sum)
{
    const VM finite = sum - sum == 0;
    int64_t part[VBYTES / 8], all = -1;
    memcpy(part, &finite, sizeof finite);
    UNROLL for (int i = 0; i < VBYTES / 8; i++)
        all &= part[i];
    return all != -1;
}

/* A last vector's channels are copied, with zeros behind them: loaded into d directly by memcpy they would keep all of it
 * in memory. Columns are transformed as they are loaded, for the same reason: 36 vectors are more than the registers hold. */
INLINE void NAME(input)(const input_args *t, const int alpha, const int axes)
{
    const int rows = axes == 2 ? alpha : 1;
    const ptrdiff_t xi = t->xi;
    for (ptrdiff_t c = 0; c < t->channels; c += VL) {
        const char *const *pixels = t->pixels;
        ptrdiff_t at = c * (ptrdiff_t)sizeof(T);
        const char *copies[ALPHA_MAX * ALPHA_MAX];
        V copy[ALPHA_MAX * ALPHA_MAX], d[ALPHA_MAX * ALPHA_MAX];
        if (t->channels - c < VL) {
            for (int i = 0; i < rows * alpha; i++) {
                copy[i] = (V){0};
                copies[i] = memcpy(&copy[i], pixels[i] + at, (size_t)(t->channels - c) * sizeof(T));
            }
            pixels = copies;
            at = 0;
        }
        const ptrdiff_t ahead = at + t->ahead;
        UNROLL for (int j = 0; j < alpha; j++) {
            UNROLL for (int i = 0; i < rows; i++) {
                const char *pixel = pixels[i * alpha + j];
                d[i * alpha + j] = LOAD(pixel + at);
                if (j > 1) /* the others are of the tile before, too */
                    __builtin_prefetch(pixel + ahead);
            }
            if (axes == 2)
                NAME(data_transform)(d + j, alpha, alpha);
        }
        char *v = t->v + c * (ptrdiff_t)sizeof(T);
        UNROLL for (int i = 0; i < rows; i++) {
            NAME(data_transform)(d + i * alpha, 1, alpha);
            UNROLL for (int j = 0; j < alpha; j++)
                STORE(v + j * xi, d[i * alpha + j]);
            v += alpha * xi;
            STEP_BY_STEP(v);
        }
    }
}

INLINE int NAME(output)(const output_args *t, const int alpha, const int m, const int axes)
{
    const int rows = axes == 2 ? alpha : 1, out_rows = axes == 2 ? m : 1;
    const ptrdiff_t xi = t->xi, row = alpha * xi;
    const V low = (V){0} + (T)t->low, high = (V){0} + (T)t->high;
    V sum = (V){0};
    for (int j = 0; j < t->wide; j++) {
        const ptrdiff_t at = j * VBYTES, ahead = at + t->ahead;
        const char *from = t->m + at;
        V x[ALPHA_MAX * ALPHA_MAX];
        UNROLL for (int k = 0; k < alpha; k++) {
            UNROLL for (int i = 0; i < rows; i++)
                x[i * alpha + k] = LOAD(from + i * row);
            from += xi;
            STEP_BY_STEP(from);
            if (axes == 2)
                NAME(output_transform)(x + k, alpha, alpha, m);
        }
        const V bias = LOAD(t->bias + at);
        UNROLL for (int i = 0; i < out_rows; i++) {
            V *y = x + i * alpha;
            NAME(output_transform)(y, 1, alpha, m);
            UNROLL for (int k = 0; k < m; k++) {
                sum += y[k];
                y[k] += bias;
            }
            if (t->added)
                UNROLL for (int k = 0; k < m; k++)
                    y[k] += LOAD(t->added[i * m + k] + at);
            if (t->clamp)
                UNROLL for (int k = 0; k < m; k++) {
                    y[k] = SELECT(y[k] < low, low, y[k]);
                    y[k] = SELECT(y[k] > high, high, y[k]);
                }
            UNROLL for (int k = 0; k < m; k++) {
                STORE(t->out[i * m + k] + at, y[k]);
                __builtin_prefetch(t->out[i * m + k] + ahead, 1);
            }
        }
    }
    return NAME(any_strange)(sum);
}

/* The polynomial of the taps g at the points p and -p, over their distances from the others: for -p it has the same sign
 * if 0 is a point, too. */
INLINE void NAME(filter_pair)(V *x, const int step, const V *g, const double p, const double distances, const int r,
                              const int same)
{
    V even = (T)(1 / distances) * g[0], odd = (T)(p / distances) * g[1];
    double power = p * p;
    UNROLL for (int k = 2; k < r; k++, power *= p) {
        if (k % 2)
            odd += (T)(power / distances) * g[k];
        else
            even += (T)(power / distances) * g[k];
    }
    x[0] = even + odd;
    x[step] = same ? even - odd : odd - even;
}

/* x[0], x[step], ... of which the first r are taps become the alpha values G x in place: the polynomial of the taps at
 * every point, over the product of the point's distances from the others. */
INLINE void NAME(filter_transform)(V *x, const int step, const int alpha, const int r)
{
    const double a = POINT_A(alpha), b = POINT_B(alpha);
    const int first = alpha == 5 ? 0 : 1; /* of the pairs */
    V g[ALPHA_MAX];
    UNROLL for (int i = 0; i < r; i++)
        g[i] = x[i * step];
    if (first)
        x[0] = g[0] * (T)(alpha == 4 ? 1 : 1 / (a * a * b * b)); /* the sign for 4 is turned in B^T */
    NAME(filter_pair)(x + first * step, step, g, a, alpha == 4 ? 2 * a * a : 2 * a * (first ? a : 1) * (a * a - b * b), r, first);
    if (alpha > 4)
        NAME(filter_pair)(x + (first + 2) * step, step, g, b, 2 * b * (first ? b : 1) * (b * b - a * a), r, first);
    x[(alpha - 1) * step] = g[r - 1];
}

/* U of one channel's filters. Where taps or columns are fewer than the transform's, zeros are in their places. */
INLINE int NAME(filter)(const filter_args *f, const int alpha, const int r, const int axes)
{
    const int rows = axes == 2 ? alpha : 1, taps_rows = axes == 2 ? r : 1;
    const ptrdiff_t xi = f->xi;
    V sum = (V){0};
    for (ptrdiff_t c = 0; c < f->width; c += VL) {
        const char *taps = f->w + c * (ptrdiff_t)sizeof(T);
        ptrdiff_t step_h = f->step_h, step_w = f->step_w;
        V copy[ALPHA_MAX][ALPHA_MAX], x[ALPHA_MAX * ALPHA_MAX];
        if (f->columns - c < VL) {
            const ptrdiff_t n = f->columns - c < 0 ? 0 : f->columns - c;
            memset(copy, 0, (size_t)taps_rows * sizeof copy[0]);
            for (int i = 0; i < f->taps_h; i++)
                for (int j = 0; j < f->taps_w; j++)
                    memcpy(&copy[i][j], taps + i * step_h + j * step_w, (size_t)n * sizeof(T));
            taps = (const char *)copy;
            step_h = sizeof copy[0];
            step_w = VBYTES;
        }
        UNROLL for (int j = 0; j < r; j++) {
            UNROLL for (int i = 0; i < taps_rows; i++) {
                V tap = (V){0};
                if (i < f->taps_h && j < f->taps_w) {
                    tap = LOAD(taps + i * step_h + j * step_w);
                    __builtin_prefetch(taps + i * step_h + j * step_w + f->ahead, 0, 2);
                }
                x[i * alpha + j] = tap;
                sum += tap;
            }
            if (axes == 2)
                NAME(filter_transform)(x + j, alpha, alpha, r);
        }
        char *u = f->u + c * (ptrdiff_t)sizeof(T);
        UNROLL for (int i = 0; i < rows; i++) {
            NAME(filter_transform)(x + i * alpha, 1, alpha, r);
            UNROLL for (int j = 0; j < alpha; j++)
                STORE(u + j * xi, x[i * alpha + j]);
            u += alpha * xi;
            STEP_BY_STEP(u);
        }
    }
    return NAME(any_strange)(sum);
}

/* Each along one axis and along two; F(m, r) by its alpha. */
#define AXES(result, kind, name, ...)                                                                                  \
    static result NAME(name##_1)(const kind##_args *t) { return NAME(kind)(t, __VA_ARGS__, 1); }                       \
    static result NAME(name##_2)(const kind##_args *t) { return NAME(kind)(t, __VA_ARGS__, 2); }
#define INPUT(alpha) AXES(void, input, input_##alpha, alpha)
#define F(alpha, m, r)                                                                                                 \
    AXES(int, output, output_##alpha##_##m, alpha, m)                                                                  \
    AXES(int, filter, filter_##alpha##_##r, alpha, r)
INPUT(4)
INPUT(5)
INPUT(6)
F(4, 2, 3)
F(4, 3, 2)
F(5, 3, 3)
F(5, 4, 2)
F(6, 2, 5)
F(6, 3, 4)
F(6, 4, 3)
F(6, 5, 2)
#undef AXES
#undef INPUT
#undef F
