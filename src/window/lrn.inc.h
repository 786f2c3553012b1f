/* Local response normalisation for one compute type T, a pixel at a time. (Nobody asks for that of integers.) */

/* n^-beta; the exponents that networks use need square roots only. */
static void NAME(powers)(T *p, const T *n, ptrdiff_t count, double beta)
{
    if (beta == 0.5)
        for (ptrdiff_t i = 0; i < count; i++)
            p[i] = 1 / (sizeof(T) == 8 ? sqrt(n[i]) : sqrtf(n[i]));
    else if (beta == 0.75)
        for (ptrdiff_t i = 0; i < count; i++) {
            const T root = sizeof(T) == 8 ? sqrt(n[i]) : sqrtf(n[i]);
            p[i] = 1 / (root * (sizeof(T) == 8 ? sqrt(root) : sqrtf(root)));
        }
    else if (beta == 1)
        for (ptrdiff_t i = 0; i < count; i++)
            p[i] = 1 / n[i];
    else
        for (ptrdiff_t i = 0; i < count; i++)
            p[i] = sizeof(T) == 8 ? pow(n[i], -beta) : powf(n[i], -(float)beta);
}

/* sum of squares[j] over |j - i| <= radius, at the VL channels from i */
INLINE V
NAME(near)(const T *squares, ptrdiff_t i, ptrdiff_t radius)
{
    V sum = {0};
    for (ptrdiff_t j = i - radius; j <= i + radius; j++)
        sum += LOAD(squares + j);
    return sum;
}

/* y = x n^-beta, n = bias + alpha near(x^2); with dy: dx = dy n^-beta - 2 alpha beta x near(dy y / n) */
static void NAME(lrn)(const lrn_args *a)
{
    const T *x = a->x, *dy = a->dy, *y = a->y, alpha = (T)a->alpha, bias = (T)a->bias;
    T *out = a->out, *norm = a->norm, *squares = a->squares;
    for (ptrdiff_t i = 0; i < a->channels; i++)
        squares[i] = x[i] * x[i];
    for (ptrdiff_t i = 0; i < a->channels; i += VL)
        STORE(norm + i, NAME(near)(squares, i, a->radius) * alpha + bias);
    NAME(powers)(out, norm, a->channels, a->beta);
    if (!dy) {
        for (ptrdiff_t i = 0; i < a->channels; i++)
            out[i] *= x[i];
        return;
    }
    for (ptrdiff_t i = 0; i < a->channels; i++)
        squares[i] = dy[i] * y[i] / norm[i];
    const T factor = (T)(2 * a->alpha * a->beta);
    for (ptrdiff_t i = 0; i < a->channels; i += VL) {
        const V v = LOAD(dy + i) * LOAD(out + i) - factor * LOAD(x + i) * NAME(near)(squares, i, a->radius);
        STORE(out + i, v);
    }
}
